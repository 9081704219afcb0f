"""How a network is trained: every setting of a run in one frozen value."""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from training.augmentation import Augmentation


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a training run.

    Attributes:
        train_size: side of the crops that are trained on, in pixels.
        input_size: side at which the network is then judged and served, in pixels. A little
            larger than the crops, whose content is enlarged (Touvron et al. 2019,
            arXiv:1906.06423).
        learning_rate: the peak of a one-cycle schedule, or constant for `adam`.
        ema_decay: per step, of the averaged weights that are judged and kept; 0 for none.
    """

    name: str
    optimiser: Literal["adam", "adamw_one_cycle"]
    epochs: int
    batch: int
    train_size: int
    input_size: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    ema_decay: float
    augmentation: Augmentation = field(default_factory=Augmentation)


BETTER: Final = Recipe(
    name="better",
    optimiser="adamw_one_cycle",
    epochs=56,
    batch=48,
    train_size=128,
    input_size=160,
    learning_rate=2e-3,
    weight_decay=0.05,
    label_smoothing=0.1,
    ema_decay=0.98,
)
"""From scratch, on a processor, in tens of minutes."""

ORIGINAL: Final = Recipe(
    name="original",
    optimiser="adam",
    epochs=20,
    batch=32,
    train_size=224,
    input_size=224,
    learning_rate=1e-3,
    weight_decay=0.0,
    label_smoothing=0.0,
    ema_decay=0.0,
    augmentation=Augmentation(
        min_area=1.0,
        tilt_degrees=15.0,
        quarter_turns=False,
        gradient=0.0,
        contrast=0.2,
        exposure=25.0,
        noise=0.0,
        blur=0.0,
    ),
)
"""The first project's: Adam at 1e-3, flips, rotation and lighting jitter; meant for ImageNet weights."""

REFINE: Final = Recipe(
    name="refine",
    optimiser="adamw_one_cycle",
    epochs=16,
    batch=48,
    train_size=176,
    input_size=200,
    learning_rate=1e-3,
    weight_decay=0.05,
    label_smoothing=0.1,
    ema_decay=0.98,
    augmentation=Augmentation(
        min_area=0.6, gradient=0.4, contrast=0.5, exposure=30.0, noise=12.0, blur=0.2
    ),
)
"""A second, calmer phase for a model that is nearly good, at the scale that it is served at."""

STURDY: Final = replace(
    REFINE,
    name="sturdy",
    epochs=24,
    augmentation=Augmentation(
        min_area=0.6,
        gradient=0.6,
        contrast=0.5,
        exposure=20.0,
        over=0.7,
        noise=28.0,
        blur=0.4,
        blur_pixels=13.0,
        compressed=0.3,
    ),
)
"""A second phase that shows the network what a bad day on the line does to its pictures."""

RECIPES: Final = {recipe.name: recipe for recipe in (BETTER, REFINE, STURDY, ORIGINAL)}
