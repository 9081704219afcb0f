"""Fitting the head of a network, its linear layer, to the features of images.

All that is below stays as it is, so the images that the network came from need not be at hand: their
activations are (`models.reference`). Fitting the last block as well told no image better, and took ten
times as long (docs/experiments.md). Then, on the same features, what tells the line's surface from the first
images (`models.domain_classifier`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.domain_classifier import DomainClassifier
from models.network import SurfaceNetwork, half_precision
from models.reference import Reference, Use
from models.runtimes.protocol import Outputs, Runtime
from training.fitting.augmentation import Augmentation
from training.retraining.linear_optimum import linear_optimum

_AT_A_TIME: Final = 32
_POOLED: Final = 512
"""Features that the linear layer sees; the texture stands behind them."""
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
class HeadRecipe:
    """Settings of a retraining.

    Attributes:
        views: augmented copies of each image of the line, at most.
        most_views: of all images together: each is a pass through the network.
        shrink: of the linear layer's weights, for features of unit variance.
        domain_shrink: likewise, of the domain classifier's.
    """

    views: int = 4
    most_views: int = 4000
    shrink: float = 1e-3
    domain_shrink: float = 3e-4
    augmentation: Augmentation = _MILD


HEAD: Final = HeadRecipe()


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Images as the network sees them last.

    Attributes:
        views: the pooled last feature map, float32 `(V, N, 512)`, the first view the image itself.
        labels: class indices, `(N,)`.
        textures: of the images themselves, float32 `(N, 256)`; None where they are not kept.
    """

    views: Tensor
    labels: Tensor
    textures: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, chosen: NDArray[np.bool_]) -> "Pooled":
        index = torch.from_numpy(np.flatnonzero(chosen))
        return replace(
            self,
            views=self.views[:, index],
            labels=self.labels[index],
            textures=None if self.textures is None else self.textures[index],
        )


def pool_kept(reference: Reference, features: NDArray[np.float32]) -> Pooled:
    """The first images that may be fitted to, whose features are float32 `(N, 512 + ...)`."""
    textures = reference.textures_of(Use.FIT)
    return Pooled(
        views=torch.from_numpy(features[:, :_POOLED]).unsqueeze(0),
        labels=torch.from_numpy(reference.labels_of(Use.FIT)),
        textures=None if textures is None else torch.from_numpy(textures),
    )


def pool_line(
    below: Runtime,
    pixels: NDArray[np.uint8],
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    recipe: HeadRecipe,
    seed: int,
    on_batch: Callable[[int, int], None] = lambda _, __: None,
) -> Pooled:
    """Images of the line `(N, side, side)`, and augmented copies of them.

    Args:
        below: what sees the copies.
        features: of the images themselves, by the same, float32 `(N, 512 + 256)`.
    """
    random = torch.Generator().manual_seed(seed)
    count = min(recipe.views, max(0, recipe.most_views // max(1, len(pixels)) - 1))
    images, side = torch.from_numpy(pixels), pixels.shape[-1]
    views = [features[:, :_POOLED]]
    for number in range(count):
        done: list[NDArray[np.float32]] = []
        for chunk in images.split(_AT_A_TIME):
            copies = recipe.augmentation(chunk, size=side, random=random)
            seen = below.infer(copies.round().to(torch.uint8).numpy())
            done.append(seen.features[:, :_POOLED])
            on_batch(number * len(pixels) + _AT_A_TIME * len(done), count * len(pixels))
        views.append(np.concatenate(done))
    return Pooled(
        views=torch.from_numpy(np.stack(views)),
        labels=torch.from_numpy(labels),
        textures=torch.from_numpy(features[:, _POOLED:].copy()),
    )


@torch.inference_mode()
def judged(
    network: SurfaceNetwork,
    features: NDArray[np.float32],
    own: NDArray[np.float32] | None = None,
) -> Outputs:
    """What a network says of images whose features are known, `(N, 512)` or with the texture behind.

    Args:
        own: what its line's own network says, `(N, own classes)`; None for images that it cannot see.
    """
    pooled, texture = torch.from_numpy(features).split(
        [_POOLED, features.shape[1] - _POOLED], dim=1
    )
    logits = network.head(pooled, texture if texture.shape[1] else None)
    if network.line is not None:
        logits = network.line.join(logits, None if own is None else torch.from_numpy(own))
    return Outputs(logits=logits.numpy(), features=features)


def fit_head(
    network: SurfaceNetwork, kept: Pooled, line: Pooled, *, classes: int, recipe: HeadRecipe
) -> SurfaceNetwork:
    """A network whose head knows what is kept of the first images (one view) and the line's.

    Returns:
        A new one of `classes` outputs, rounded as `half_precision` rounds it.

    Raises:
        RunError: for features that are no numbers.
    """
    made = SurfaceNetwork(classes, normalisation=network.normalisation)
    made.take_weights_of(network)
    _fit_linear_layer(made, kept, line, recipe)
    half_precision(made)
    made.domain = _fit_domain(kept, line, classes=classes, recipe=recipe)
    return made.eval()


def _fit_linear_layer(made: SurfaceNetwork, kept: Pooled, line: Pooled, recipe: HeadRecipe) -> None:
    linear, views = made.backbone.fc, len(line.views)
    both = torch.cat([kept.labels, line.labels])
    counts = torch.bincount(both, minlength=linear.out_features).float()
    # The root: a class of five images counts for more than its share, and not for a fifth.
    weight = (counts.sum() / linear.out_features / counts.clamp(min=1)).sqrt()
    labels = torch.cat([kept.labels, line.labels.repeat(views)])
    share = weight[labels]
    share[len(kept) :] /= views
    slopes, offsets = linear_optimum(
        torch.cat([kept.views[0], line.views.flatten(0, 1)]),
        share / share.sum(),
        outputs=linear.out_features,
        shrink=recipe.shrink,
        loss=lambda logits: functional.cross_entropy(logits, labels, reduction="none"),
    )
    with torch.no_grad():
        linear.weight.copy_(slopes)
        linear.bias.copy_(offsets)


def _fit_domain(
    kept: Pooled, line: Pooled, *, classes: int, recipe: HeadRecipe
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
    pooled = torch.cat([kept.views[0], line.views[0]])
    features = torch.cat([pooled, torch.cat([kept.textures, line.textures])], dim=1)
    targets = torch.cat([torch.zeros(len(kept)), of_line])
    share = torch.ones(len(targets))
    # The root: few images count for more than their share, and not for as much as many.
    share[len(kept) :] = (len(kept) / len(line)) ** 0.5
    slopes, offsets = linear_optimum(
        features,
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
