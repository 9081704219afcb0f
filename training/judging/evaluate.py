"""How good a model is, from its outputs and the true classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.binomial import interval
from models.calibration import softmax
from models.runtimes.protocol import Outputs, Runtime
from training.data.dataset import Dataset

_BINS = 15
_DRAWN = 400


@dataclass(frozen=True, kw_only=True)
class Rate:
    """So many of so many.

    Attributes:
        interval: 95 %, exact binomial; 0 to 1 where nothing was tried.
    """

    count: int
    of: int
    interval: tuple[float, float]

    @classmethod
    def measured(cls, count: int, of: int) -> "Rate":
        return cls(count=count, of=of, interval=interval(count, of) if of else (0.0, 1.0))

    @property
    def share(self) -> float:
        """0 where nothing was tried."""
        return self.count / max(1, self.of)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The images whose confidence lies in one of 15 equal steps from 0 to 1.

    Attributes:
        confidence: their mean confidence; 0 without images, as is `accuracy`.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class ClassFigures:
    """Precision is 0 for a class never predicted; recall is 0 for a class without images."""

    precision: float
    recall: float
    images: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures over one part of a manifest.

    Attributes:
        accuracy_interval: 95 %, exact binomial.
        confusion: rows are the true class, columns the predicted one.
        expected_calibration_error: over 15 equal bins of confidence (Guo et al. 2017).
        mistakes: index of each image whose first choice was wrong.
    """

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    classes: dict[str, ClassFigures]
    confusion: list[list[int]]
    cross_entropy: float
    expected_calibration_error: float
    mistakes: list[int]


def run(runtime: Runtime, part: Dataset, *, batch: int = 32) -> Outputs:
    """The outputs for every image of a part, in order."""
    chunks = [runtime.infer(part.pixels[i : i + batch]) for i in range(0, len(part), batch)]
    return Outputs(
        logits=np.concatenate([chunk.logits for chunk in chunks]),
        features=np.concatenate([chunk.features for chunk in chunks]),
    )


def evaluate(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    *,
    temperature: float = 1.0,
) -> Evaluation:
    """Figures from logits `(N, classes)` and true labels `(N,)`; N at least 1."""
    probabilities = softmax(logits / temperature)
    choices = probabilities.argmax(axis=1)
    correct = choices == labels
    size = len(classes)
    confusion = np.bincount(labels * size + choices, minlength=size * size).reshape(size, size)
    likelihood = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Evaluation(
        images=len(labels),
        accuracy=float(correct.mean()),
        accuracy_interval=interval(int(correct.sum()), len(labels)),
        classes={
            name: ClassFigures(
                precision=float(confusion[i, i] / max(1, confusion[:, i].sum())),
                recall=float(confusion[i, i] / max(1, confusion[i].sum())),
                images=int(confusion[i].sum()),
            )
            for i, name in enumerate(classes)
        },
        confusion=confusion.tolist(),
        cross_entropy=float(-np.log(np.maximum(likelihood, 1e-12)).mean()),
        expected_calibration_error=calibration_error(probabilities.max(axis=1), correct),
        mistakes=np.flatnonzero(~correct).tolist(),
    )


def reliability(confidence: NDArray[np.float32], correct: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """How often images are right, by how sure the network was of them, `(N,)` each."""
    step = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return tuple(
        _bin(number, confidence[step == number], correct[step == number]) for number in range(_BINS)
    )


def error_by_chance(confidence: NDArray[np.float32]) -> float:
    """The calibration error that confidences `(N,)` exceed once in twenty though they are true.

    A few dozen images show one however well a network is calibrated. Labels are drawn anew from the
    confidences (the consistency resampling of Broecker and Smith 2007, Weather and Forecasting 22:651).
    """
    random = np.random.default_rng(0)
    drawn = random.random((_DRAWN, len(confidence))) < confidence
    return float(np.quantile([calibration_error(confidence, right) for right in drawn], 0.95))


def auroc(lower: NDArray[np.floating], higher: NDArray[np.floating]) -> float:
    """The chance that one of `higher` scores above one of `lower`, a tie counting half.

    The area under the receiver operating characteristic, by ranks (Mann and Whitney 1947); both
    `(N,)` and not empty.
    """
    ordered = np.sort(lower)
    below = np.searchsorted(ordered, higher, side="left")
    not_above = np.searchsorted(ordered, higher, side="right")
    return float((below + not_above).mean() / 2 / len(lower))


def _bin(number: int, confidence: NDArray[np.float32], correct: NDArray[np.bool_]) -> Bin:
    images = len(confidence)
    return Bin(
        low=number / _BINS,
        high=(number + 1) / _BINS,
        images=images,
        confidence=float(confidence.mean()) if images else 0.0,
        accuracy=float(correct.mean()) if images else 0.0,
    )


def calibration_error(confidence: NDArray[np.float32], correct: NDArray[np.bool_]) -> float:
    """The mean gap between confidence and accuracy over 15 bins, weighted by their images, `(N,)` each."""
    bins = reliability(confidence, correct)
    return sum(abs(each.confidence - each.accuracy) * each.images for each in bins) / len(correct)
