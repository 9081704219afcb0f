"""Labels that are likely wrong, by confident learning (Northcutt et al. 2021, arXiv:1911.00068).

The method is a few lines of numpy, so it is here and not a dependency. It asks for probabilities of
every image by a model that was not fitted on that image; `out_of_fold` gives them from features.

Features of a network that was itself fitted on some of these images lean towards the labels that
it was given, right or wrong, and so hide some of the errors: more are found with a network that saw
none of them, as in cross-validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.text import counted

FOLDS: Final = 5
_SHRINK: Final = 0.1
"""Of the covariance towards a multiple of the identity: there are as many features as images."""


@dataclass(frozen=True, kw_only=True)
class LabelError:
    """An image whose label a person should look at.

    Attributes:
        index: into what was given.
        given: class index of its label.
        likelier: class index that the images call for.
        probability: of `likelier`.
        confident: whether confident learning counts it as an error. If not, the model merely
            finds another class more probable than the given one.
        margin: how much more probable the given label is than any other, -1 to 1; the lower, the
            likelier an error (the paper's normalised margin).
    """

    index: int
    given: int
    likelier: int
    probability: float
    confident: bool
    margin: float


def find_label_errors(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> list[LabelError]:
    """Labels to look at, the likeliest error first.

    An image counts for a class where its probability reaches that class's threshold, the mean over
    the images that are labelled so; of several, for the most probable. One that counts for another
    class than its label, so off the diagonal of the paper's confident joint, is `confident`.
    Listed are these and those whose most probable class is another: with 3 % of NEU-DET's labels
    changed at random the former found 90 % of them, all rightly, both together all, 92 % rightly.

    Args:
        probabilities: `(N, K)`, each row summing to 1, by a model not fitted on that image.
        labels: `(N,)`, class indices under K. No image counts for a class without images.
    """
    rows, size = np.arange(len(labels)), probabilities.shape[1]
    own = [probabilities[labels == k, k] for k in range(size)]
    thresholds = np.array([each.mean() if len(each) else np.inf for each in own])
    counted = np.where(probabilities >= thresholds, probabilities, -1.0)
    confident = (counted.max(axis=1) > 0) & (counted.argmax(axis=1) != labels)
    likelier = np.where(confident, counted.argmax(axis=1), probabilities.argmax(axis=1))
    others = probabilities.copy()
    others[rows, labels] = -1.0
    margins = probabilities[rows, labels] - others.max(axis=1)
    listed = np.flatnonzero(likelier != labels)
    return [
        LabelError(
            index=int(i),
            given=int(labels[i]),
            likelier=int(likelier[i]),
            probability=float(probabilities[i, likelier[i]]),
            confident=bool(confident[i]),
            margin=float(margins[i]),
        )
        for i in listed[np.argsort(margins[listed], kind="stable")]
    ]


def out_of_fold(
    features: NDArray[np.float32], labels: NDArray[np.int64], groups: Sequence[str]
) -> NDArray[np.float64]:
    """Class probabilities `(N, K)` of every image by a discriminant that was fitted on others.

    Linear discriminant with a shrunk covariance (Ledoit and Wolf's form at a fixed weight), at the
    temperature under which the held-out images are likeliest.

    Args:
        features: `(N, D)`.
        labels: `(N,)`, class indices.
        groups: a hexadecimal hash for each image; those that share one fall into one fold.

    Raises:
        ValueError: if all images fall into one fold.
    """
    fold = np.array([int(group[:8], 16) % FOLDS for group in groups])
    size = int(labels.max()) + 1
    if len(set(fold.tolist())) < 2:
        raise ValueError(
            f"too few to divide into {FOLDS} folds: {counted(len(labels), 'image')} in all"
        )
    # What a feature is cannot depend on the images of a fold: length 1 is taken image by image.
    rows = features.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    scores = np.empty((len(labels), size))
    for number in sorted(set(fold.tolist())):
        out = fold == number
        scores[out] = _discriminant(rows[~out], labels[~out], rows[out], size)
    return _softmax(scores * _sharpness(scores, labels))


def _discriminant(
    fitted: NDArray[np.float64], labels: NDArray[np.int64], asked: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """Log-odds `(M, size)` up to a constant per row; a class without images gets a very low one."""
    present = [k for k in range(size) if (labels == k).any()]
    means = np.stack([fitted[labels == k].mean(axis=0) for k in present])
    centred = fitted - means[np.searchsorted(present, labels)]
    covariance = centred.T @ centred / len(fitted)
    width = len(covariance)
    even = np.trace(covariance) / width + 1e-12
    shrunk = (1 - _SHRINK) * covariance + _SHRINK * even * np.eye(width)
    slopes = np.linalg.solve(shrunk, means.T)
    found = asked @ slopes - 0.5 * (means * slopes.T).sum(axis=1)
    scores = np.full((len(asked), size), found.min() - 1e3)
    scores[:, present] = found
    return scores


def _sharpness(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The factor on the scores that makes the labels likeliest, from a grid."""
    grid = np.geomspace(0.001, 10, 60)
    rows = np.arange(len(labels))
    likelihood = [np.log(_softmax(scores * t)[rows, labels] + 1e-12).mean() for t in grid]
    return float(grid[int(np.argmax(likelihood))])


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares
