"""Fitting a line's own network (`models.line_network`) to that line's labels alone.

Frozen features do not tell a line's clean surface from its defects; features that may change do
(docs/experiments.md), and so do larger pictures. What the first network knows of its six classes is not
at stake: it stays.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from models.line_network import LineNetwork
from models.network import half_precision
from training.fitting.augmentation import Augmentation
from training.fitting.precision import fast_precision
from training.retraining.line_start import load_start
from training.retraining.run_folder import RunError

_AT_A_TIME: Final = 32
_GENTLE: Final = Augmentation(
    min_area=0.92,
    tilt_degrees=3.0,
    quarter_turns=False,
    gradient=0.5,
    contrast=0.4,
    exposure=15.0,
    noise=5.0,
    blur=0.0,
)
"""Light changes and a camera is knocked; a line does not turn, and blur hides small defects."""


@dataclass(frozen=True, kw_only=True)
class LineRecipe:
    """Settings of a line's own network.

    Attributes:
        fewest_clean: fitted images without which there is no such network.
        fewest_defects: likewise.
        must_gain: by how many nats an image must be told better with it than without it, by networks
            that were not fitted to that image; else it costs time for nothing.
        side: of the pictures that it sees, in pixels; larger ones show what is small.
        steps: the same for few labels and for many, so a run takes as long.
        clean: images of normal classes in a batch.
        defects: of the line's defects, each class by turns.
        learning_rate: the peak, of all that it starts with.
        faster: by how much the linear layer, which starts from nothing, goes ahead.
        averaged: share of the newest weights in the average that is kept, at each step.
    """

    fewest_clean: int = 100
    fewest_defects: int = 40
    must_gain: float = 0.02
    side: int = 320
    steps: int = 300
    clean: int = 9
    defects: int = 7
    learning_rate: float = 5e-4
    faster: float = 5.0
    weight_decay: float = 0.05
    smoothing: float = 0.02
    averaged: float = 0.03
    augmentation: Augmentation = _GENTLE

    def side_above(self, first_side: int) -> int:
        """Of its pictures beside a first network that sees pictures so large."""
        return max(self.side, first_side)


LINE: Final = LineRecipe()


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a line's own network is asked, in indices of the model's classes.

    Attributes:
        classes: of the model.
        own: labelled on this line.
        alone: known from this line alone.
        clean: those of `own` that are no defects.
    """

    classes: int
    own: NDArray[np.int64]
    alone: NDArray[np.int64]
    clean: NDArray[np.int64]

    def has_both(self, labels: NDArray[np.int64]) -> bool:
        """Whether images with these labels, all of `own`, show what is clean and what is not."""
        clean = np.isin(labels, self.clean)
        return bool(clean.any() and not clean.all())


def question_of(
    labels: NDArray[np.int64],
    *,
    classes: int,
    kept: NDArray[np.int64],
    normal: NDArray[np.bool_],
    recipe: LineRecipe,
) -> Question | None:
    """What there is to ask; None where too little is labelled for a network of the line's own.

    Args:
        labels: of the line's fitted images.
        kept: classes of which the model keeps first images.
        normal: whether each class is no defect, `(classes,)`.
    """
    enough = (
        int(normal[labels].sum()) >= recipe.fewest_clean
        and int((~normal[labels]).sum()) >= recipe.fewest_defects
    )
    own = np.unique(labels)
    clean = own[normal[own]]
    # A clean surface that the first images show as well is the first network's to know.
    if not enough or np.isin(clean, kept).any():
        return None
    alone = np.setdiff1d(np.arange(classes), kept)
    return Question(classes=classes, own=own, alone=alone, clean=clean)


def fit_line(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    question: Question,
    *,
    first_side: int,
    recipe: LineRecipe,
    seed: int,
    on_step: Callable[[int, int], None] = lambda _, __: None,
) -> LineNetwork:
    """A network of the line's own, which starts from what ships for it (`load_start`).

    Deterministic by `seed` on one machine with one number of threads.

    Args:
        pixels: `(N, side, side)`.
        labels: must have both (`Question.has_both`), `(N,)`.
        first_side: of the pictures that the first network sees.

    Raises:
        RunError: when the loss is no longer a number, or there is nothing to start from.
    """
    torch.manual_seed(seed)
    made = _begun(question, first_side)
    averaged = copy.deepcopy(made).eval().requires_grad_(requires_grad=False)
    linear = list(made.linear.parameters())
    taken = [each for name, each in made.named_parameters() if not name.startswith("linear.")]
    optimiser = torch.optim.AdamW(
        [
            {"params": taken, "lr": recipe.learning_rate},
            {"params": linear, "lr": recipe.learning_rate * recipe.faster},
        ],
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=[group["lr"] for group in optimiser.param_groups],
        total_steps=max(10, recipe.steps),
        pct_start=0.15,
    )
    random = torch.Generator().manual_seed(seed)
    batches = _batches(labels, question, recipe, np.random.default_rng(seed))
    made.train()
    for step in range(recipe.steps):
        chosen = next(batches)
        images = recipe.augmentation(
            torch.from_numpy(pixels[chosen]), size=pixels.shape[-1], random=random
        )
        with fast_precision(torch.device("cpu")):
            logits = made(images)
        loss = functional.cross_entropy(
            logits.float(),
            made.place[torch.from_numpy(labels[chosen])],
            label_smoothing=recipe.smoothing,
        )
        if not math.isfinite(float(loss.detach())):
            raise RunError(
                f"the loss of the line's own network was no longer a number in step {step + 1}; "
                "the current model is as it was: look at the labels that the run lists and retrain"
            )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        follow(averaged, made, max(recipe.averaged, (step + 1) ** -0.7))
        on_step(step + 1, recipe.steps)
    half_precision(averaged)
    return averaged


def mean_of(networks: Sequence[LineNetwork]) -> LineNetwork:
    """One network with the mean of their weights, which began alike and were fitted to the same question.

    It is better than each, and costs no more to ask (Wortsman et al. 2022, arXiv:2203.05482).
    """
    mean = copy.deepcopy(networks[0])
    for number, each in enumerate(networks[1:], start=2):
        follow(mean, each, 1 / number)
    return mean


@torch.inference_mode()
def own_logits(line: LineNetwork, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a line's own network says alone, `(N, own classes)`; images `(N, side, side)`, grey."""
    found = [line(chunk) for chunk in torch.from_numpy(pixels).split(_AT_A_TIME)]
    return torch.cat(found).float().numpy()


def _begun(question: Question, first_side: int) -> LineNetwork:
    made = LineNetwork.for_classes(
        question.classes,
        question.own,
        first_side=first_side,
        alone=question.alone,
        clean=question.clean,
    )
    made.begin_with(load_start())
    torch.nn.init.zeros_(made.linear.weight)
    torch.nn.init.zeros_(made.linear.bias)
    return made.to(memory_format=torch.channels_last)


def _batches(
    labels: NDArray[np.int64], question: Question, recipe: LineRecipe, random: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Indices of images: as many clean ones as the recipe says, and each defect by turns."""
    clean = _shuffled(np.flatnonzero(np.isin(labels, question.clean)), random)
    kinds = [
        _shuffled(np.flatnonzero(labels == kind), random)
        for kind in np.setdiff1d(question.own, question.clean)
        if kind in labels
    ]
    turn = 0
    while True:
        chosen = [next(clean) for _ in range(recipe.clean)]
        for _ in range(recipe.defects):
            chosen.append(next(kinds[turn % len(kinds)]))
            turn += 1
        yield np.array(chosen)


def _shuffled(indices: NDArray[np.intp], random: np.random.Generator) -> Iterator[int]:
    while True:
        yield from random.permutation(indices).tolist()


@torch.no_grad()
def follow(averaged: nn.Module, newest: nn.Module, share: float) -> None:
    """Statistics of batch norms too: averaged weights need those that go with them."""
    for mean, value in zip(
        averaged.state_dict().values(), newest.state_dict().values(), strict=True
    ):
        if value.is_floating_point():
            mean.lerp_(value, share)
        else:
            mean.copy_(value)
