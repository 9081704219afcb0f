"""How far an image lies from all that a network was fitted to. Numpy only."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.binomial import cumulative, most_misses_allowed

NEIGHBOURS: Final = 5
POOLED: Final = 512
"""How many of an image's features are its pooled last feature map; those behind it are its texture."""
TEXTURE: Final = 256
_FAR: Final = 1e3
_ROWS: Final = 256
"""Of distances among themselves that are held at a time: of a few thousand images all are 100 MB."""
_ROWS_IN_CACHE: Final = 16
"""Their distances to a thousand images stay in a processor's cache: 20 us an image in place of 38 for 128."""
_DOUBT: Final = 0.05

Floats = NDArray[np.float32]


def novelty_of(features: Floats, reference: Floats) -> Floats:
    """The mean distance to the nearest fitted images, `(N,)` from 0, in their mean length.

    The k-nearest-neighbour distance of Sun et al. 2022 (arXiv:2204.06507), k = 5, of textures: the
    last feature map sees a new kind of defect as one of those that it was trained to tell apart, the
    second stage as what it looks like (docs/experiments.md). Of the whole features where the
    reference has no textures.
    """
    return KnownImages(texture_of(reference)).novelty(texture_of(features))


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
        return self._root(self._squared(features))

    def novelty(self, features: Floats) -> Floats:
        """The mean distance of each image to the nearest reference images, `(N,)`; see `novelty_of`."""
        nearest = min(NEIGHBOURS, len(self._features))
        found = [np.empty(0)]
        for first in range(0, len(features), _ROWS_IN_CACHE):
            squared = self._squared(features[first : first + _ROWS_IN_CACHE])
            squared.partition(nearest - 1, axis=1)
            found.append(self._root(squared[:, :nearest]).mean(axis=1))
        return np.concatenate(found).astype(np.float32)

    def _squared(self, features: Floats) -> NDArray[np.float64]:
        seen = features.astype(np.float64)
        squared: NDArray[np.float64] = seen @ self._features.T
        squared *= -2
        squared += self._squares
        squared += (seen**2).sum(axis=1)[:, None]
        return squared

    def _root(self, squared: NDArray[np.float64]) -> NDArray[np.float64]:
        # Of an image and itself the square may come out a little below nothing.
        root: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0.0)) / self._scale
        return root

    def novelty_among_themselves(self) -> Floats:
        """Of each reference image against all the others, `(R,)`; empty for one image alone."""
        if len(self._features) < 2:
            return np.empty(0, np.float32)
        found: list[Floats] = []
        for first in range(0, len(self._features), _ROWS):
            some = self._features[first : first + _ROWS]
            distance = self.distance(some.astype(np.float32))
            distance[np.arange(len(some)), first + np.arange(len(some))] = np.inf
            found.append(to_nearest(distance, most=len(self._features) - 1))
        return np.concatenate(found)


def to_nearest(distance: NDArray[np.float64], *, most: int = NEIGHBOURS) -> Floats:
    """The mean of the smallest distances in each row, `(N,)`: five, or `most` if that is fewer."""
    novelty: Floats = _nearest(distance, min(NEIGHBOURS, most)).astype(np.float32)
    return novelty


def to_nearest_of_classes(
    distance: NDArray[np.float64], labels: NDArray[np.int64], *, classes: int
) -> Floats:
    found = np.full((len(distance), classes), _FAR, np.float32)
    for index in np.unique(labels):
        found[:, index] = _nearest(distance[:, labels == index])
    return found


def _nearest(distance: NDArray[np.float64], count: int = NEIGHBOURS) -> NDArray[np.float64]:
    nearest = min(count, distance.shape[1])
    mean: NDArray[np.float64] = np.partition(distance, nearest - 1, axis=1)[:, :nearest].mean(
        axis=1
    )
    return mean


def alike(held_out: Floats, others: Floats, share: float) -> bool:
    """Whether held-out images bear out the limit that they and others set together.

    Not where so many of them exceed it as would happen once in twenty times.
    """
    limit = exceeded_by(np.concatenate([held_out, others]), share)
    beyond = int((held_out > limit).sum())
    return 1 - cumulative(beyond - 1, len(held_out), share) > _DOUBT


def exceeded_by(novelty: Floats, share: float) -> float:
    """The lowest of these that a new image of the same kind exceeds at most this often, at 95 %.

    The nonparametric tolerance limit (Wilks 1941, Ann. Math. Statist. 12:91). The greatest of them
    where they are too few for any limit, 299 for 1 %: a new one exceeds that once in n + 1 times.
    """
    ordered = np.sort(novelty)
    exceeding = most_misses_allowed(len(ordered), share) or 0
    return float(ordered[len(ordered) - 1 - exceeding])
