"""Teaching what a flaw is on made-up surfaces: what a line's own network starts from (`line_start`).

The layers of the first network know six classes, and little of what else may be wrong with a surface; a
few dozen labels do not teach it (docs/experiments.md).

`python -m training.retraining.flaw_teaching` makes one, of the model that ships; the one that ships was
taught on a GPU (docs/experiments.md has its arguments).
"""

import argparse
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from models.line_network import FIRST_STAGE, LineNetwork
from models.network import SurfaceNetwork, half_precision, load_network
from models.registry import LINE_START, PRETRAINED
from training.fitting.precision import fast_precision
from training.retraining.line_fitting import follow
from training.retraining.line_start import save_start
from training.synthetic.flaws import KINDS, draw_flawed
from training.synthetic.grounds import Fields

_TOLD: Final = len(KINDS) + 1
"""Each kind, and whether there is any."""
_RARE: Final = 3.0
"""What a place with a flaw counts, where one without counts 1."""


@dataclass(frozen=True, kw_only=True)
class FlawRecipe:
    """Settings of the teaching.

    Attributes:
        drawn: pictures that are drawn for a step; where they are fewer than `batch`, each is taken more than
            once, turned and mirrored: a fast GPU learns from more than its processor draws.
        kept: drawn pictures that a step chooses from where it does.
        side: of the pictures, in pixels.
        averaged: share of the newest weights in the average that is kept, at each step.
        places: what the places of the second, the third and the last stage count, beside the picture.
    """

    steps: int = 4000
    batch: int = 24
    drawn: int = 24
    kept: int = 4096
    side: int = 200
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    averaged: float = 0.004
    places: tuple[float, float, float] = (0.3, 0.7, 0.7)


class _FlawNetwork(nn.Module):
    """A line's network with a linear layer on each stage but the first, which tells the flaws of each place.

    The first stage is that of the network that it begins with, and stays: it is not taught.
    """

    def __init__(self, network: SurfaceNetwork) -> None:
        super().__init__()
        self.line = LineNetwork(_TOLD, _TOLD, first_side=1)  # which is not asked for here
        self.heads = nn.ModuleList(nn.Conv2d(width, _TOLD, 1) for width in (128, 256, 512))
        self.line.begin_with(network.backbone.state_dict())
        for each in self._untaught():
            each.requires_grad_(requires_grad=False)
        self.to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> "_FlawNetwork":
        super().train(mode)
        for each in self._untaught():
            each.eval()
        return self

    def _untaught(self) -> list[nn.Module]:
        return [self.line.get_submodule(name) for name in FIRST_STAGE]

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits of the pictures, `(N, told)`, and of the places of three stages, `(N, told, h, w)`."""
        maps = self.line.maps(pictures)
        return self.line.told(*maps[1:]), [
            head(each) for head, each in zip(self.heads, maps, strict=True)
        ]


class _Drawn(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches without end: pictures, uint8 `(N, side, side)`, and where what shows, bool `(N, told, side, side)`."""

    def __init__(self, recipe: FlawRecipe, seed: int) -> None:
        self._recipe = recipe
        self._seed = seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        rng = np.random.default_rng(self._seed if worker is None else [self._seed, worker.id])
        fields = Fields(rng, self._recipe.side)
        while True:
            drawn = [draw_flawed(fields) for _ in range(self._recipe.drawn)]
            pixels, kinds = (np.stack(each) for each in zip(*drawn, strict=True))
            flaws = np.concatenate([kinds, kinds.any(axis=1, keepdims=True)], axis=1)
            yield torch.from_numpy(pixels), torch.from_numpy(flaws)


def taken_again(
    drawn: Iterator[tuple[Tensor, Tensor]], recipe: FlawRecipe, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the pictures that were drawn lately, each as one of the eight that its symmetries make of it."""
    kept: list[tuple[Tensor, Tensor]] = []
    for number, new in enumerate(drawn):
        here = tuple(each.to(device) for each in new)
        slot = number % (recipe.kept // recipe.drawn)
        kept[slot : slot + 1] = [(here[0], here[1])]
        chosen = torch.randint(len(kept) * recipe.drawn, (recipe.batch,)).tolist()
        taken = [
            [part[each % recipe.drawn] for part in kept[each // recipe.drawn]] for each in chosen
        ]
        pixels, flaws = (_turned(torch.stack(each)) for each in zip(*taken, strict=True))
        yield pixels, flaws


def _turned(pictures: Tensor) -> Tensor:
    """An eighth of them, `(N, ..., side, side)`, by each of a square's eight symmetries."""
    eighths = pictures.tensor_split(8)
    quarters = [torch.rot90(each, turns, (-2, -1)) for turns, each in enumerate(eighths)]
    return torch.cat([*quarters[:4], *(each.flip(-1) for each in quarters[4:])])


def teach(
    network: SurfaceNetwork,
    *,
    recipe: FlawRecipe,
    seed: int,
    workers: int = 0,
    on_step: Callable[[int, float], None] = lambda _, __: None,
) -> LineNetwork:
    """A network whose first stage is that of `network`, and whose linear layer tells the flaws.

    Args:
        workers: processes that draw; 0 draws between the steps. Other pictures come from each number.
        on_step: told the number of each step and its loss, in nats.
    """
    torch.manual_seed(seed)
    device = next(network.parameters()).device
    made = _FlawNetwork(network).to(device).train()
    drawn = iter(DataLoader(_Drawn(recipe, seed), batch_size=None, num_workers=workers))
    batches = drawn if recipe.drawn == recipe.batch else taken_again(drawn, recipe, device)
    averaged = copy.deepcopy(made).eval().requires_grad_(requires_grad=False)
    optimiser = torch.optim.AdamW(
        made.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=max(10, recipe.steps), pct_start=0.15
    )
    for step in range(1, recipe.steps + 1):
        pixels, flaws = (each.to(device) for each in next(batches))
        with fast_precision(device):
            picture, places = made(pixels)
        loss = _loss(picture, places, flaws.float(), recipe)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(made.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        follow(averaged, made, max(recipe.averaged, step**-0.7))
        on_step(step, float(loss.detach()))
    half_precision(averaged)
    return averaged.line


def _loss(picture: Tensor, places: list[Tensor], flaws: Tensor, recipe: FlawRecipe) -> Tensor:
    """A place shows a flaw where any of its pixels does."""
    there = flaws.amax(dim=(2, 3))
    loss = functional.binary_cross_entropy_with_logits(picture.float(), there)
    rare = torch.tensor(_RARE, device=flaws.device)
    for logits, weight in zip(places, recipe.places, strict=True):
        cells = functional.adaptive_max_pool2d(flaws, (logits.shape[2], logits.shape[3]))
        loss = loss + weight * functional.binary_cross_entropy_with_logits(
            logits.float(), cells, pos_weight=rare
        )
    return loss


def main() -> None:
    """Teach the start that ships."""
    parser = argparse.ArgumentParser(prog="training.retraining.flaw_teaching", description=__doc__)
    parser.add_argument("--model", type=Path, default=PRETRAINED, help="of which model")
    parser.add_argument("--out", type=Path, default=LINE_START, help="where to write it")
    parser.add_argument("--steps", type=int, default=FlawRecipe.steps)
    parser.add_argument("--batch", type=int, default=FlawRecipe.batch, help="pictures in a step")
    parser.add_argument("--drawn", type=int, help="of them newly drawn; else all")
    parser.add_argument("--learning-rate", type=float, default=FlawRecipe.learning_rate)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw them")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = load_network(asked.model)[0].to(device)
    lately = 0.0

    def tell(step: int, loss: float) -> None:
        nonlocal lately
        lately = loss if step == 1 else 0.98 * lately + 0.02 * loss
        if step % 100 == 0:
            print(f"step {step} of {asked.steps}  loss {lately:.3f}", flush=True)  # noqa: T201

    drawn = asked.batch if asked.drawn is None else asked.drawn
    recipe = FlawRecipe(
        steps=asked.steps, batch=asked.batch, drawn=drawn, learning_rate=asked.learning_rate
    )
    taught = teach(network, recipe=recipe, seed=asked.seed, workers=asked.workers, on_step=tell)
    save_start(taught, asked.out)


if __name__ == "__main__":
    main()
