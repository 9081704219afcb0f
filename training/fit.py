"""Fitting a network to a manifest. Reads top to bottom like the algorithm."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Generator, Tensor
from torch.nn import functional
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.decision import fit_temperature
from models.network import SurfaceNetwork, half_precision, load_network
from training.dataset import Dataset
from training.recipe import Recipe


class FitError(Exception):
    """Training cannot go on; nothing was written."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one pass over the fit part came to. Losses are cross-entropies in nats."""

    number: int
    epochs: int
    fit_loss: float
    select_loss: float
    select_accuracy: float
    kept: bool


@dataclass(frozen=True, kw_only=True)
class Fitted:
    network: SurfaceNetwork
    history: tuple[Epoch, ...]


def fit(
    fit_part: Dataset,
    select_part: Dataset,
    *,
    classes: int,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    weights: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Fitted:
    """Train on `fit_part`; keep the weights of the epoch with the least loss on `select_part`.

    Args:
        fit_part: decoded at any size of at least `recipe.train_size`.
        select_part: decoded at `recipe.input_size`.
        weights: a model folder, or torchvision's ImageNet ResNet18, to start from; from scratch
            when None.

    Returns:
        The kept network on the processor, rounded as `half_precision` rounds it.

    Raises:
        FitError: when the loss is no longer a number.
        CheckpointError: for `weights` that are no whole model folder.
        OSError, ValueError: for `weights`, see `SurfaceNetwork.take_imagenet_weights`.
    """
    torch.manual_seed(seed)
    random = torch.Generator(device).manual_seed(seed)
    network = SurfaceNetwork(classes)
    if weights is not None and weights.is_dir():
        network.take_weights_of(load_network(weights)[0])
    elif weights is not None:
        network.take_imagenet_weights(weights)
    network = network.to(device).to(memory_format=torch.channels_last)
    averaged = _averaged(network, recipe)
    judged = cast("SurfaceNetwork", averaged.module) if averaged else network
    data = _OnDevice(
        pixels=torch.from_numpy(fit_part.pixels).to(device),
        labels=torch.from_numpy(fit_part.labels).to(device),
    )
    optimiser, schedule = _optimiser(network, recipe, math.ceil(len(fit_part) / recipe.batch))

    history: list[Epoch] = []
    best_loss, best = math.inf, copy.deepcopy(judged)
    for number in range(1, recipe.epochs + 1):
        network.train()
        total = 0.0
        order = torch.randperm(len(fit_part), generator=random, device=device)
        for indices in order.split(recipe.batch):
            loss = _loss(network, data, indices, recipe, random)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if averaged:
                averaged.update_parameters(network)
            total += float(loss.detach()) * len(indices)
        select_loss, accuracy = _judge(judged, select_part, recipe.batch, device)
        if not (math.isfinite(total) and math.isfinite(select_loss)):
            raise FitError(
                f"the loss was no longer a number in epoch {number}; lower the learning rate "
                f"(now {recipe.learning_rate})"
            )
        kept = select_loss < best_loss
        if kept:
            best_loss, best = select_loss, copy.deepcopy(judged)
        epoch = Epoch(
            number=number,
            epochs=recipe.epochs,
            fit_loss=total / len(fit_part),
            select_loss=select_loss,
            select_accuracy=accuracy,
            kept=kept,
        )
        history.append(epoch)
        on_epoch(epoch)
    network = best.cpu().eval()
    half_precision(network)
    return Fitted(network=network, history=tuple(history))


@dataclass(frozen=True, kw_only=True)
class _OnDevice:
    pixels: Tensor
    labels: Tensor


def _loss(
    network: SurfaceNetwork, data: _OnDevice, indices: Tensor, recipe: Recipe, random: Generator
) -> Tensor:
    """Cross-entropy of one augmented batch, the pass through the network in bfloat16."""
    images = recipe.augmentation(data.pixels[indices], size=recipe.train_size, random=random)
    with torch.autocast(images.device.type, dtype=torch.bfloat16):
        logits = network(images)
    return functional.cross_entropy(
        logits.float(), data.labels[indices], label_smoothing=recipe.label_smoothing
    )


def _averaged(network: SurfaceNetwork, recipe: Recipe) -> AveragedModel | None:
    if recipe.ema_decay == 0:
        return None
    # Buffers too: averaged weights need the batch-norm statistics that go with them.
    return AveragedModel(
        network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True
    )


def _optimiser(
    network: SurfaceNetwork, recipe: Recipe, steps: int
) -> tuple[Optimizer, LRScheduler]:
    if recipe.optimiser == "adam":
        adam = Adam(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        return adam, LambdaLR(adam, lambda _: 1.0)
    decayed = [p for p in network.parameters() if p.dim() > 1]
    plain = [p for p in network.parameters() if p.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    adamw = AdamW(groups, lr=recipe.learning_rate)
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
