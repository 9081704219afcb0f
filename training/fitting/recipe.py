"""How a network is trained: every setting of a run in one frozen value."""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from training.fitting.augmentation import Augmentation


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a training run.

    Attributes:
        first_size: side of the crops in the first epoch, in pixels; it grows to `train_size` in the
            last, as small pictures teach the first epochs as well in less time (Tan and Le 2021,
            arXiv:2104.00298).
        train_size: side of the crops in the last epoch, in pixels.
        input_size: side at which the network is then judged and served, in pixels. A little
            larger than the crops, whose content is enlarged (Touvron et al. 2019,
            arXiv:1906.06423).
        optimiser: `adamw_averaged` keeps the mean of the weights after every step, at a constant rate
            that leads it around a good place (Izmailov et al. 2018, arXiv:1803.05407).
        learning_rate: the peak of a one-cycle schedule, else constant.
        ema_decay: per step, of the averaged weights that are judged and kept; 0 for none, or for the
            mean of all.
        box_weight: of `training.fitting.box_teaching.box_loss`, added for each of the two stages to the
            cross-entropy of the labels where people boxed defects; 0 for none.
    """

    name: str
    optimiser: Literal["adam", "adamw_one_cycle", "adamw_averaged"]
    epochs: int
    batch: int
    first_size: int
    train_size: int
    input_size: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    ema_decay: float
    box_weight: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def averages_all(self) -> bool:
        """Whether the weights after every step are averaged alike."""
        return self.optimiser == "adamw_averaged"

    @property
    def keeps_last(self) -> bool:
        """Whether the last epoch is the best but for chance: the rate falls to nothing, or all are averaged."""
        return self.optimiser != "adam"

    def size_in(self, epoch: int) -> int:
        """Side of the crops in an epoch, counted from 1; a multiple of 8 until it is full."""
        grown = (epoch - 1) / max(1, self.epochs - 1)
        side = self.first_size + grown * (self.train_size - self.first_size)
        return self.train_size if epoch == self.epochs else round(side / 8) * 8


STEEL: Final = Recipe(
    name="steel",
    optimiser="adamw_one_cycle",
    epochs=280,
    batch=48,
    first_size=96,
    train_size=184,
    input_size=200,
    learning_rate=2e-3,
    weight_decay=0.05,
    label_smoothing=0.1,
    ema_decay=0.99,
    box_weight=0.4,
    augmentation=Augmentation(
        min_area=0.5,
        keep_boxed=0.5,
        gradient=0.8,
        contrast=0.5,
        exposure=25.0,
        over=1.1,
        noise=28.0,
        blur=0.55,
        blur_pixels=24.0,
        together=0.3,
        compressed=0.4,
        quality=8,
    ),
)
"""From scratch, on two cores, in an hour; shown what a bad day on the line does to a picture."""

CALM: Final = replace(
    STEEL,
    name="calm",
    optimiser="adamw_averaged",
    epochs=30,
    first_size=184,
    learning_rate=3e-4,
    ema_decay=0.0,
    augmentation=Augmentation(
        min_area=0.6,
        keep_boxed=0.5,
        gradient=0.6,
        contrast=0.5,
        exposure=25.0,
        over=0.8,
        noise=20.0,
        blur=0.3,
        blur_pixels=22.0,
        together=0.3,
        compressed=0.2,
        quality=8,
    ),
)
"""After `steel`, from its weights: better days again, so that good pictures are not the exception."""

ORIGINAL: Final = Recipe(
    name="original",
    optimiser="adam",
    epochs=20,
    batch=32,
    first_size=224,
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

RECIPES: Final = {recipe.name: recipe for recipe in (STEEL, CALM, ORIGINAL)}
