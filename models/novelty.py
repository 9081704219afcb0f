"""How far an image lies from all that a network was fitted to. Numpy only."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS: Final = 5
POOLED: Final = 512
"""How many of an image's features are its pooled last feature map; those behind it are its texture."""
TEXTURE: Final = 256
_FAR: Final = 1e3

Floats = NDArray[np.float32]


def novelty_of(features: Floats, reference: Floats) -> Floats:
    """The mean distance to the nearest fitted images, `(N,)` from 0, in their mean length.

    The k-nearest-neighbour distance of Sun et al. 2022 (arXiv:2204.06507), k = 5, of textures: the
    last feature map sees a new kind of defect as one of those that it was trained to tell apart, the
    second stage as what it looks like (docs/experiments.md). Of the whole features where the
    reference has no textures.
    """
    return to_nearest(KnownImages(texture_of(reference)).distance(texture_of(features)))


def texture_of(features: Floats) -> Floats:
    """The texture in features `(N, 512 + 256)`; narrower ones have none, and are taken whole."""
    return features[:, POOLED:] if features.shape[1] > POOLED else features


def pooled_of(features: Floats) -> Floats:
    """The pooled last feature map in features, with a texture behind it or without, `(N, 512)`."""
    return features[:, :POOLED]


def distances_to_classes(
    features: Floats, reference: Floats, labels: NDArray[np.int64], *, classes: int
) -> Floats:
    """The distance to the nearest of each class, labelled `(R,)`: float32 `(N, classes)`.

    Of pooled features, as they tell classes apart. `_FAR` for a class that has none.
    """
    distance = KnownImages(pooled_of(reference)).distance(pooled_of(features))
    return to_nearest_of_classes(distance, labels, classes=classes)


class KnownImages:
    """Reference images `(R, D)`, with what is computed of them alone: once, not for each batch."""

    def __init__(self, features: Floats) -> None:
        # In float64: float32 would lose a small distance between two long features.
        self._features = features.astype(np.float64)
        self._squares = (self._features**2).sum(axis=1)
        self._scale = max(float(np.linalg.norm(self._features, axis=1).mean()), 1e-12)

    def distance(self, features: Floats) -> NDArray[np.float64]:
        """Of each image to each reference image, in the mean length of the latter, `(N, R)`."""
        seen = features.astype(np.float64)
        squares = (seen**2).sum(axis=1)[:, None] + self._squares - 2 * seen @ self._features.T
        distance: NDArray[np.float64] = np.sqrt(np.maximum(squares, 0.0)) / self._scale
        return distance


def to_nearest(distance: NDArray[np.float64]) -> Floats:
    novelty: Floats = _nearest(distance).astype(np.float32)
    return novelty


def to_nearest_of_classes(
    distance: NDArray[np.float64], labels: NDArray[np.int64], *, classes: int
) -> Floats:
    found = np.full((len(distance), classes), _FAR, np.float32)
    for index in np.unique(labels):
        found[:, index] = _nearest(distance[:, labels == index])
    return found


def _nearest(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    nearest = min(NEIGHBOURS, distance.shape[1])
    mean: NDArray[np.float64] = np.partition(distance, nearest - 1, axis=1)[:, :nearest].mean(
        axis=1
    )
    return mean


def exceeded_by(novelty: Floats, share: float) -> float:
    """The lowest held-out novelty that a new image of the same kind exceeds at most this often.

    The split conformal quantile (Vovk et al. 2005, "Algorithmic Learning in a Random World"): when
    k of n held-out images exceed a value, a new one does with probability (k + 1) / (n + 1), for it
    is as likely to have any rank among them. With too few for any k that is the greatest of them,
    which a new one exceeds with probability 1 / (n + 1).
    """
    ordered = np.sort(novelty)
    exceeding = max(0, int(share * (len(ordered) + 1)) - 1)
    return float(ordered[len(ordered) - 1 - exceeding])
