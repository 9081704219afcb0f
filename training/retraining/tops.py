"""Fitting the top of a network, its last block and linear layer, to activations below it.

All that is below stays as it is, so the images that the network came from need not be at hand: their
activations are (`models.reference`). First the linear layer alone, by its own optimum; then the block
with it, a little, which would be spoilt by a linear layer that still knows nothing (Kumar et al.
2022, arXiv:2202.10054). Last, on what came of that, what tells the line's surface from the first images
(`models.domain_classifier`).
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.domain_classifier import DomainClassifier
from models.network import SurfaceNetwork, half_precision
from training.fitting.augmentation import Augmentation
from training.retraining.linear_optimum import linear_optimum
from training.retraining.run_folder import RunError

_MILD: Final = Augmentation(
    min_area=0.75,
    tilt_degrees=5.0,
    gradient=0.4,
    contrast=0.3,
    exposure=15.0,
    noise=8.0,
    blur=0.1,
    blur_pixels=3.0,
)
"""What a heavy one blurs or cuts away may be the defect."""


@dataclass(frozen=True, kw_only=True)
class TopRecipe:
    """Settings of a retraining.

    Attributes:
        views: augmented copies of each image of the line, at most; they pass through the frozen
            part once.
        most_views: of all images together: 50 kB each at 200 pixels.
        shrink: of the linear layer's weights when it is fitted alone, on features of unit variance.
        domain_shrink: likewise, of the domain classifier's.
        averaged: share of the newest weights in the average that is kept, at each step.
    """

    views: int = 4
    most_views: int = 4000
    shrink: float = 1e-3
    domain_shrink: float = 3e-4
    epochs: int = 2
    batch: int = 32
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    averaged: float = 0.05
    augmentation: Augmentation = _MILD


TOP: Final = TopRecipe()


@dataclass(frozen=True, kw_only=True)
class Activated:
    """Images as their activations below the last block.

    Attributes:
        views: float16 `(V, N, 512, h, w)`, the first of them the image itself.
        labels: class indices, `(N,)`.
        textures: of the images themselves, float32 `(N, 256)`; None where they are not kept.
    """

    views: Tensor
    labels: Tensor
    textures: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, chosen: NDArray[np.bool_]) -> "Activated":
        index = torch.from_numpy(np.flatnonzero(chosen))
        return replace(
            self,
            views=self.views[:, index],
            labels=self.labels[index],
            textures=None if self.textures is None else self.textures[index],
        )


@torch.inference_mode()
def activate(
    network: SurfaceNetwork,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    recipe: TopRecipe,
    seed: int,
    on_batch: Callable[[int, int], None] = lambda _, __: None,
) -> Activated:
    """Pass images of the line, and augmented copies of them, through the frozen part."""
    random = torch.Generator().manual_seed(seed)
    count = min(recipe.views, max(0, recipe.most_views // max(1, len(pixels)) - 1))
    images, side = torch.from_numpy(pixels), pixels.shape[-1]
    views: list[Tensor] = []
    textures: list[Tensor] = []
    for number in range(count + 1):
        done: list[Tensor] = []
        for chunk in images.split(recipe.batch):
            seen = recipe.augmentation(chunk, size=side, random=random) if number else chunk
            middle, texture = network.middle_and_texture(seen)
            done.append(middle.half())
            if not number:
                textures.append(texture)
            on_batch(number * len(pixels) + recipe.batch * len(done), (count + 1) * len(pixels))
        views.append(torch.cat(done))
    return Activated(
        views=torch.stack(views), labels=torch.from_numpy(labels), textures=torch.cat(textures)
    )


def fit_top(
    network: SurfaceNetwork,
    kept: Activated,
    line: Activated,
    *,
    classes: int,
    recipe: TopRecipe,
    seed: int,
    on_epoch: Callable[[int, int], None] = lambda _, __: None,
) -> SurfaceNetwork:
    """A network whose top knows what is kept of the first images (one view) and the line's.

    Deterministic by `seed` on one machine with one number of threads.

    Returns:
        A new one of `classes` outputs, rounded as `half_precision` rounds it.

    Raises:
        RunError: when the loss is no longer a number.
    """
    torch.manual_seed(seed)
    made = SurfaceNetwork(classes, normalisation=network.normalisation)
    made.take_weights_of(network)
    made.eval()  # the statistics of its batch norms stay those of all images that it came from
    data = _Data(kept, line, classes)
    _fit_linear_layer(made, data, recipe)
    averaged = copy.deepcopy(made)
    _fit_all(made, averaged, data, recipe, seed, on_epoch)
    half_precision(averaged)
    averaged.domain = _fit_domain(averaged, kept, line, classes=classes, recipe=recipe)
    return averaged.eval()


class _Data:
    """Both kinds of images under one numbering, the line's with their views."""

    def __init__(self, kept: Activated, line: Activated, classes: int) -> None:
        self._kept, self._line = kept, line
        self.labels = torch.cat([kept.labels, line.labels])
        counts = torch.bincount(self.labels, minlength=classes).float()
        # The root: a class of five images counts for more than its share, and not for a fifth.
        self.weight = (counts.sum() / classes / counts.clamp(min=1)).sqrt()

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, random: torch.Generator) -> Tensor:
        view = torch.randint(len(self._line.views), (len(indices),), generator=random)
        first = len(self._kept)
        rows = [
            self._kept.views[0, i] if i < first else self._line.views[v, i - first]
            for i, v in zip(indices.tolist(), view.tolist(), strict=True)
        ]
        return torch.stack(rows).float()

    @torch.inference_mode()
    def features(self, network: SurfaceNetwork) -> tuple[Tensor, Tensor, Tensor]:
        """Of every view: features, labels, and what each counts for."""
        views = len(self._line.views)
        chunks = [*self._kept.views[0].split(64), *self._line.views.flatten(0, 1).split(64)]
        features = torch.cat([network.top(chunk.float()).features for chunk in chunks])
        labels = torch.cat([self._kept.labels, self._line.labels.repeat(views)])
        share = torch.ones(len(labels))
        share[len(self._kept) :] = 1 / views
        return features.clone(), labels, share * self.weight[labels]


def _fit_linear_layer(network: SurfaceNetwork, data: _Data, recipe: TopRecipe) -> None:
    features, labels, share = data.features(network)
    labels, share = labels.clone(), share.clone()
    linear = network.backbone.fc
    slopes, offsets = linear_optimum(
        features,
        share / share.sum(),
        outputs=linear.out_features,
        shrink=recipe.shrink,
        loss=lambda logits: functional.cross_entropy(logits, labels, reduction="none"),
    )
    with torch.no_grad():
        linear.weight.copy_(slopes)
        linear.bias.copy_(offsets)


def _fit_all(
    network: SurfaceNetwork,
    averaged: SurfaceNetwork,
    data: _Data,
    recipe: TopRecipe,
    seed: int,
    on_epoch: Callable[[int, int], None],
) -> None:
    random = torch.Generator().manual_seed(seed)
    tops = [_top_parameters(each) for each in (network, averaged)]
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    for parameter in tops[0]:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(
        tops[0], lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    steps = recipe.epochs * math.ceil(len(data) / recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=recipe.learning_rate, total_steps=max(10, steps), pct_start=0.2
    )
    for epoch in range(recipe.epochs):
        for indices in torch.randperm(len(data), generator=random).split(recipe.batch):
            logits = network.top(data.batch(indices, random)).logits
            loss = functional.cross_entropy(logits, data.labels[indices], weight=data.weight)
            if not math.isfinite(float(loss.detach())):
                raise RunError(
                    f"the loss was no longer a number in epoch {epoch + 1}; the current model is "
                    "as it was: look at the labels that the run lists and retrain"
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                for mean, newest in zip(tops[1], tops[0], strict=True):
                    mean.lerp_(newest, recipe.averaged)
        on_epoch(epoch + 1, recipe.epochs)


def _fit_domain(
    network: SurfaceNetwork, kept: Activated, line: Activated, *, classes: int, recipe: TopRecipe
) -> DomainClassifier | None:
    """By the images themselves, not their augmented copies: what is blurred is not the line's for that.

    Returns:
        None where there is nothing to tell apart: every class of the line is one of the first images',
        or what those look like was not kept.
    """
    alone = torch.ones(classes)
    alone[kept.labels] = 0
    of_line = alone[line.labels]
    if kept.textures is None or line.textures is None or not of_line.any():
        return None
    with torch.inference_mode():
        chunks = [*kept.views[0].split(64), *line.views[0].split(64)]
        pooled = torch.cat([network.top(chunk.float()).features for chunk in chunks])
        features = torch.cat([pooled, torch.cat([kept.textures, line.textures])], dim=1)
    targets = torch.cat([torch.zeros(len(kept)), of_line])
    share = torch.ones(len(targets))
    # The root: few images count for more than their share, and not for as much as many.
    share[len(kept) :] = (len(kept) / len(line)) ** 0.5
    slopes, offsets = linear_optimum(
        features.clone(),
        share / share.sum(),
        outputs=1,
        shrink=recipe.domain_shrink,
        loss=lambda odds: functional.binary_cross_entropy_with_logits(
            odds[:, 0], targets, reduction="none"
        ),
    )
    made = DomainClassifier(alone, features.shape[1])
    with torch.no_grad():
        made.weight.copy_(slopes[0])
        made.bias.copy_(offsets)
    return made


def _top_parameters(network: SurfaceNetwork) -> list[nn.Parameter]:
    net = network.backbone
    return [*net.layer4[1].parameters(), *net.fc.parameters()]
