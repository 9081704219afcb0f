"""Fitting a network to a manifest. Reads top to bottom like the algorithm."""

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_avg_fn

from models.calibration import fit_temperature
from models.network import SurfaceNetwork, half_precision, load_network
from training.data.dataset import Dataset
from training.fitting.box_teaching import BoxHead, box_loss, logits_and_places
from training.fitting.precision import fast_precision
from training.fitting.recipe import Recipe
from training.fitting.resuming import Saved


class FitError(Exception):
    """Training cannot go on; nothing was written."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one pass over the fit part came to.

    Losses are cross-entropies in nats; that of the fit part is of augmented images, with smoothed
    labels and what boxes add, and so the greater.
    """

    number: int
    epochs: int
    fit_loss: float
    select_loss: float
    select_accuracy: float
    kept: bool


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Attributes: box_head: what boxes taught the network with, None without boxes."""

    network: SurfaceNetwork
    box_head: BoxHead | None
    history: tuple[Epoch, ...]


def fit(
    fit_part: Dataset,
    select_part: Dataset,
    *,
    classes: int,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    boxed: NDArray[np.float32] | None = None,
    weights: Path | None = None,
    saved: Saved | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Fitted:
    """Train on `fit_part` and keep the weights of one epoch.

    The last one's when the learning rate falls to nothing or all steps are averaged, which is then the
    best but for chance; else those with the least loss on `select_part`.

    Args:
        fit_part: decoded at any size of at least `recipe.train_size`.
        select_part: decoded at `recipe.input_size`.
        boxed: what people boxed on the pictures of `fit_part`, as `training.data.boxes.coverage`.
        weights: a model folder, or torchvision's ImageNet ResNet18, to start from; from scratch
            when None.
        saved: where progress is kept from time to time, and gone on with if some is there; nowhere
            when None.

    Returns:
        The kept network on the processor, rounded as `half_precision` rounds it.

    Raises:
        FitError: when the loss is no longer a number.
        ResumeError: for progress that cannot be gone on with.
        CheckpointError: for `weights` that are no whole model folder.
        OSError, ValueError: for `weights`, see `SurfaceNetwork.take_imagenet_weights`.
    """
    torch.manual_seed(seed)
    network = _first_network(classes, weights).to(device)
    data = _OnDevice(
        pixels=torch.from_numpy(fit_part.pixels).to(device),
        labels=torch.from_numpy(fit_part.labels).to(device),
        boxed=None if boxed is None else torch.from_numpy(boxed).to(device),
    )
    head = None
    if boxed is not None and recipe.box_weight:
        head = _first_head(classes, weights).to(device)
    fitting = _Fitting(network, head, recipe, _steps(len(fit_part), recipe.batch), seed, device)
    if saved and (state := saved.read(device)):
        fitting.restore(state)
    written = -math.inf
    for number in range(len(fitting.history) + 1, recipe.epochs + 1):
        fit_loss = fitting.one_epoch(data, number)
        select_loss, accuracy = _judge(fitting.judged, select_part, recipe.batch, device)
        if not (math.isfinite(fit_loss) and math.isfinite(select_loss)):
            raise FitError(
                f"the loss was no longer a number in epoch {number} at a learning rate of "
                f"{recipe.learning_rate}; train with another recipe or seed"
            )
        epoch = fitting.settle(number, fit_loss, select_loss, accuracy)
        due = saved and time.monotonic() - written >= saved.seconds_apart
        if saved and (due or number == recipe.epochs):
            saved.write(fitting.state())
            written = time.monotonic()
        on_epoch(epoch)
    kept = fitting.best.cpu().eval()
    half_precision(kept)
    return Fitted(network=kept, box_head=head, history=tuple(fitting.history))


class _Fitting:
    """All that changes while a network is fitted."""

    def __init__(
        self,
        network: SurfaceNetwork,
        box_head: BoxHead | None,
        recipe: Recipe,
        steps: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._recipe = recipe
        self._random = torch.Generator(device).manual_seed(seed)
        self._network = network
        self._box_head = box_head
        self._averaged = _averaged(network, recipe)
        self._optimiser, self._schedule = _optimiser(
            [network] if box_head is None else [network, box_head], recipe, steps
        )
        self.judged = (
            cast("SurfaceNetwork", self._averaged.module) if self._averaged else self._network
        )
        self.best = copy.deepcopy(self.judged)
        self.history: list[Epoch] = []

    def one_epoch(self, data: "_OnDevice", number: int) -> float:
        """One pass over the fit part, but for what fills no batch; its mean loss.

        A few pictures make a noisy step, by batch-norm statistics of their own. Chance leaves out others
        in each epoch.
        """
        self._network.train()
        size, count = self._recipe.size_in(number), len(data.labels)
        total, steps = 0.0, _steps(count, self._recipe.batch)
        order = torch.randperm(count, generator=self._random, device=data.labels.device)
        for indices in order.split(self._recipe.batch)[:steps]:
            loss = self._loss(data, indices, size)
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
            self._schedule.step()
            if self._averaged:
                self._averaged.update_parameters(self._network)
            total += float(loss.detach())
        return total / steps

    def _loss(self, data: "_OnDevice", indices: Tensor, size: int) -> Tensor:
        """Cross-entropy of one augmented batch; see `fast_precision` for the pass through the network."""
        augmentation, head, random = self._recipe.augmentation, self._box_head, self._random
        pixels, labels = data.pixels[indices], data.labels[indices]
        smoothing = self._recipe.label_smoothing
        if data.boxed is None or head is None:
            images = augmentation(pixels, size=size, random=random)
            with fast_precision(images.device):
                logits = self._network(images)
            return functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
        images, boxed = augmentation.with_boxes(
            pixels, data.boxed[indices], size=size, random=random
        )
        with fast_precision(images.device):
            logits, places = logits_and_places(self._network, head, images)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
        of_boxes = torch.stack([box_loss(stage.float(), labels, boxed) for stage in places])
        return loss + self._recipe.box_weight * of_boxes.sum()

    def settle(self, number: int, fit_loss: float, select_loss: float, accuracy: float) -> Epoch:
        """Keep the weights, or not."""
        least = min((epoch.select_loss for epoch in self.history), default=math.inf)
        last = number == self._recipe.epochs
        kept = last if self._recipe.keeps_last else select_loss < least
        if kept:
            self.best = copy.deepcopy(self.judged)
        epoch = Epoch(
            number=number,
            epochs=self._recipe.epochs,
            fit_loss=fit_loss,
            select_loss=select_loss,
            select_accuracy=accuracy,
            kept=kept,
        )
        self.history.append(epoch)
        return epoch

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on as if nothing had happened."""
        return {
            "network": self._network.state_dict(),
            "box_head": self._box_head.state_dict() if self._box_head else None,
            "averaged": self._averaged.state_dict() if self._averaged else None,
            "best": self.best.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "random": self._random.get_state(),
            "history": [asdict(epoch) for epoch in self.history],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._network.load_state_dict(state["network"])
        if self._box_head:
            self._box_head.load_state_dict(state["box_head"])
        if self._averaged:
            self._averaged.load_state_dict(state["averaged"])
        self.best.load_state_dict(state["best"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._random.set_state(state["random"].cpu())
        self.history = [Epoch(**epoch) for epoch in state["history"]]


def _first_network(classes: int, weights: Path | None) -> SurfaceNetwork:
    network = SurfaceNetwork(classes)
    if weights is not None and weights.is_dir():
        network.take_weights_of(load_network(weights)[0])
    elif weights is not None:
        network.take_imagenet_weights(weights)
    return network


def _first_head(classes: int, weights: Path | None) -> BoxHead:
    head = BoxHead(classes)
    if weights is not None and weights.is_dir():
        head.take(weights)
    return head


@dataclass(frozen=True, kw_only=True)
class _OnDevice:
    pixels: Tensor
    labels: Tensor
    boxed: Tensor | None


def _steps(count: int, batch: int) -> int:
    """Batches in an epoch: full ones, or one of all there is."""
    return max(1, count // batch)


def _averaged(network: SurfaceNetwork, recipe: Recipe) -> AveragedModel | None:
    # Buffers too: averaged weights need the batch-norm statistics that go with them.
    if recipe.averages_all:
        return AveragedModel(network, avg_fn=get_swa_avg_fn(), use_buffers=True)
    if recipe.ema_decay == 0:
        return None
    return AveragedModel(
        network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True
    )


def _optimiser(
    modules: Iterable[nn.Module], recipe: Recipe, steps: int
) -> tuple[Optimizer, LRScheduler]:
    parameters = [parameter for module in modules for parameter in module.parameters()]
    if recipe.optimiser == "adam":
        adam = Adam(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        return adam, LambdaLR(adam, lambda _: 1.0)
    decayed = [p for p in parameters if p.dim() > 1]
    plain = [p for p in parameters if p.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    adamw = AdamW(groups, lr=recipe.learning_rate, fused=True)
    if recipe.averages_all:
        return adamw, LambdaLR(adamw, lambda _: 1.0)
    # A cycle of 4 steps would have a rise of length 0, and torch divides by it.
    total_steps = max(5, recipe.epochs * steps)
    return adamw, OneCycleLR(
        adamw, max_lr=recipe.learning_rate, total_steps=total_steps, pct_start=0.25
    )


@torch.inference_mode()
def _judge(
    network: torch.nn.Module, part: Dataset, batch: int, device: torch.device
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy as served: whole pictures, no augmentation, calibrated.

    At the best temperature, because that is what is served, and because label smoothing makes the
    plain loss prefer early epochs.
    """
    network.eval()
    pixels, labels = torch.from_numpy(part.pixels), torch.from_numpy(part.labels)
    outputs: list[Tensor] = [
        network(chunk.to(device)).float().cpu() for chunk in pixels.split(batch)
    ]
    logits = torch.cat(outputs)
    if not logits.isfinite().all():
        return math.nan, 0.0
    temperature = fit_temperature(logits.numpy(), part.labels)
    loss = functional.cross_entropy(logits / temperature, labels)
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    return float(loss), float(accuracy)
