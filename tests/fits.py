"""Trainings that take a second: a few drawn surfaces, small, for a few epochs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.dataset import Dataset
from training.fitting.augmentation import Augmentation
from training.fitting.fit import Epoch, Fitted, fit
from training.fitting.recipe import STEEL, Recipe
from training.fitting.resuming import Saved
from training.synthetic import draw_surface

SURFACES = ("no_defect", "crazing", "scratches")
TINY = replace(
    STEEL,
    epochs=4,
    batch=8,
    first_size=48,
    train_size=48,
    input_size=48,
    learning_rate=1e-3,
    ema_decay=0.5,
    augmentation=Augmentation(
        min_area=0.9, gradient=0.1, contrast=0.1, exposure=10.0, noise=3.0, blur=0.0
    ),
)
CONSTANT = replace(TINY, epochs=3, optimiser="adam", ema_decay=0.0)
AVERAGED = replace(TINY, optimiser="adamw_averaged", ema_decay=0.0)
CPU = torch.device("cpu")


def drawn(seeds: range, side: int = 48) -> Dataset:
    pixels = [
        draw_surface(name, seed=seed, height=side, width=side)
        for name in SURFACES
        for seed in seeds
    ]
    labels = np.repeat(np.arange(len(SURFACES)), len(seeds)).astype(np.int64)
    return Dataset(pixels=np.stack(pixels), labels=labels)


def train(
    fit_part: Dataset,
    select_part: Dataset,
    recipe: Recipe = TINY,
    *,
    seed: int = 1,
    boxed: NDArray[np.float32] | None = None,
    weights: Path | None = None,
    saved: Saved | None = None,
    seen: list[Epoch] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Fitted:
    return fit(
        fit_part,
        select_part,
        classes=len(SURFACES),
        recipe=recipe,
        seed=seed,
        device=CPU,
        boxed=boxed,
        weights=weights,
        saved=saved,
        on_epoch=on_epoch if seen is None else seen.append,
    )


def upper_halves(part: Dataset) -> NDArray[np.float32]:
    """As if people had boxed the upper half of every picture."""
    boxed = np.zeros((len(part), 2, 8, 8), dtype=np.float32)
    boxed[:, 0, :4] = 1
    return boxed
