"""From the network's numbers to a verdict: confidence, novelty, thresholds. Numpy only.

Everything is derived when a model is loaded, from held-out images of its own training run (its
evidence) and from the policy, so that a changed policy needs no retraining.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.binomial import most_misses_allowed, upper_bound
from models.taxonomy import Reason, Verdict

NEIGHBOURS: Final = 5
KNOWN_CALLED_UNKNOWN: Final = 0.01
"""How often a new image of a known kind may be called unknown."""
KNOWN_CALLED_UNSURE: Final = 0.10
"""How often a new image of a known kind may be `unsure` for its novelty while commissioning.

A network that was never shown a clean surface names a defect on it, and is confident. Until it has
learned one, only what looks much like the defects that it knows is called a defect.
"""

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What the operator chose.

    Attributes:
        normal_classes: classes that are not defects.
        max_missed_defect_rate: the share of defects that may pass, 0..1.
        min_defect_confidence: calibrated confidence below which a defect is `unsure`, 0..1.
        max_wrong_class_rate: the share of images called one defect that may be of another class,
            0..1; a class that exceeds it gets a threshold above `min_defect_confidence`.
    """

    normal_classes: tuple[str, ...]
    max_missed_defect_rate: float
    min_defect_confidence: float
    max_wrong_class_rate: float = 0.02


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Held-out images of a training run, as the runtime that serves sees them.

    Attributes:
        reference: features of fitted images, `(R, 512)`; what is known.
        logits: of the held-out images, `(N, classes)`.
        novelty: of the held-out images, `(N,)`.
        labels: their true classes, integers `(N,)`.

    Raises:
        ValueError: when the arrays do not belong together, are empty, or hold what is no number
            (a threshold that is no number would let everything through).
    """

    reference: Floats
    logits: Floats
    novelty: Floats
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        images = len(self.labels)
        fits = (
            images > 0
            and self.labels.shape == self.novelty.shape == (images,)
            and self.logits.ndim == self.reference.ndim == 2
            and len(self.logits) == images
            and len(self.reference) > 0
            and 0 <= self.labels.min() <= self.labels.max() < self.logits.shape[1]
        )
        if not fits:
            raise ValueError(
                f"logits {self.logits.shape}, novelty {self.novelty.shape}, labels "
                f"{self.labels.shape} and reference {self.reference.shape} do not belong together"
            )
        for name in ("reference", "logits", "novelty"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} holds what is no number")

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """For the model folder; the reference is rounded to fp16."""
        return {
            "reference": self.reference.astype(np.float16),
            "logits": self.logits,
            "novelty": self.novelty,
            "labels": self.labels,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Evidence":
        """Raises KeyError when an array is missing, ValueError when they do not fit."""
        return cls(
            reference=arrays["reference"].astype(np.float32),
            logits=arrays["logits"].astype(np.float32),
            novelty=arrays["novelty"].astype(np.float32),
            labels=arrays["labels"].astype(np.int64),
        )


def collect_evidence(
    *, fitted_features: Floats, features: Floats, logits: Floats, labels: NDArray[np.int64]
) -> Evidence:
    """Evidence from the features of the fitted images and the outputs for the held-out ones."""
    # Rounded first, so that novelty is measured against what the file will hold.
    reference = fitted_features.astype(np.float16).astype(np.float32)
    return Evidence(
        reference=reference,
        logits=logits.astype(np.float32),
        novelty=novelty_of(features, reference),
        labels=labels,
    )


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is decided about one image.

    Attributes:
        predicted_class: the network's first choice, believed or not.
        confidence: calibrated probability of that class, 0..1.
        novelty: from 0 (seen before); above the model's threshold the image is unknown.
    """

    verdict: Verdict
    reason: Reason
    predicted_class: str
    confidence: float
    novelty: float

    @property
    def unknown(self) -> bool:
        return self.reason is Reason.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class ClassThreshold:
    """From which confidence an image called one defect is believed, and what that rests on.

    Attributes:
        threshold: calibrated confidence, 0..1; below it the image is `unsure`.
        called: held-out images called this class at or above the threshold, and not novel.
        wrong: how many of them are of another class.
        upper_bound: the share of wrong names that `called` and `wrong` exclude at 95 %, exactly
            (Clopper and Pearson 1934). It takes the threshold as given, though it was chosen on
            the same images: with one that was raised, it is a little too low.
    """

    threshold: float
    called: int
    wrong: int
    upper_bound: float


class Decider:
    """Turns the outputs of one model into decisions under one policy.

    Attributes:
        temperature: what logits are divided by.
        novelty_threshold: above it an image is unknown.
        familiar_threshold: above it an image is not believed to be a defect while commissioning.
        normal: whether each class is no defect, bool `(classes,)`.
        pass_threshold: confidence from which a normal image passes; None when nothing may.
        defect_thresholds: by name of each class that is a defect.
    """

    def __init__(self, *, classes: Sequence[str], evidence: Evidence, policy: Policy) -> None:
        self.classes = tuple(classes)
        self.temperature = fit_temperature(evidence.logits, evidence.labels)
        self.novelty_threshold = exceeded_by(evidence.novelty, KNOWN_CALLED_UNKNOWN)
        self.familiar_threshold = exceeded_by(evidence.novelty, KNOWN_CALLED_UNSURE)
        self.normal = np.array([name in policy.normal_classes for name in classes])
        held_out = _HeldOut.of(
            evidence, temperature=self.temperature, novelty_threshold=self.novelty_threshold
        )
        self.pass_threshold = self._derive_pass_threshold(held_out, policy)
        self.defect_thresholds = {
            name: held_out.threshold_of(index, policy)
            for index, name in enumerate(classes)
            if not self.normal[index]
        }
        self._reference = evidence.reference

    def decide(self, logits: Floats, features: Floats) -> list[Decision]:
        """One decision for each row of `logits` `(N, classes)` and `features` `(N, 512)`."""
        probabilities = softmax(logits / self.temperature)
        choices = probabilities.argmax(axis=1)
        novelty = novelty_of(features, self._reference)
        return [
            self._decide_one(int(choice), float(row[choice]), float(score))
            for choice, row, score in zip(choices, probabilities, novelty, strict=True)
        ]

    def _decide_one(self, choice: int, confidence: float, novelty: float) -> Decision:
        verdict, reason = self._judge(choice, confidence, novelty)
        return Decision(
            verdict=verdict,
            reason=reason,
            predicted_class=self.classes[choice],
            confidence=confidence,
            novelty=novelty,
        )

    def _judge(self, choice: int, confidence: float, novelty: float) -> tuple[Verdict, Reason]:
        if novelty > self.novelty_threshold:
            return Verdict.UNSURE, Reason.UNKNOWN
        if self.normal[choice]:
            if self.pass_threshold is not None and confidence >= self.pass_threshold:
                return Verdict.PASS, Reason.CONFIDENT
            return Verdict.UNSURE, Reason.LOW_CONFIDENCE
        commissioning = not self.normal.any()
        if commissioning and novelty > self.familiar_threshold:
            return Verdict.UNSURE, Reason.COMMISSIONING
        if confidence >= self.defect_thresholds[self.classes[choice]].threshold:
            return Verdict.DEFECT, Reason.CONFIDENT
        return Verdict.UNSURE, Reason.COMMISSIONING if commissioning else Reason.LOW_CONFIDENCE

    def _derive_pass_threshold(self, held_out: "_HeldOut", policy: Policy) -> float | None:
        """The lowest confidence at which the held-out defects keep the promised bound.

        None when no threshold does: then nothing passes. A miss is a held-out defect whose first
        choice is a normal class, at or above the threshold, and not novel.
        """
        if not self.normal.any():
            return None
        defects = ~self.normal[held_out.labels]
        could_pass = defects & self.normal[held_out.choices] & held_out.familiar
        confidences = np.sort(held_out.confidences[could_pass])[::-1]
        allowed = most_misses_allowed(int(defects.sum()), policy.max_missed_defect_rate)
        if allowed is None:
            return None
        if allowed >= len(confidences):
            return 0.0
        return _just_above(confidences[allowed])


@dataclass(frozen=True, kw_only=True)
class _HeldOut:
    """The held-out images as they would be judged, `(N,)` each.

    Attributes:
        choices: the network's first choice.
        confidences: calibrated, of that choice.
        familiar: whether the image is not called unknown.
    """

    labels: NDArray[np.int64]
    choices: NDArray[np.int64]
    confidences: Floats
    familiar: NDArray[np.bool_]

    @classmethod
    def of(cls, evidence: Evidence, *, temperature: float, novelty_threshold: float) -> "_HeldOut":
        probabilities = softmax(evidence.logits / temperature)
        return cls(
            labels=evidence.labels,
            choices=probabilities.argmax(axis=1),
            confidences=probabilities.max(axis=1),
            familiar=evidence.novelty <= novelty_threshold,
        )

    def threshold_of(self, index: int, policy: Policy) -> ClassThreshold:
        """The lowest confidence at which the share of wrong names is within the policy.

        The share is the one seen on the held-out images, neither smoothed nor a bound: to bound
        2 % at 95 %, 149 images called this class without a wrong name would be needed, where a
        training run holds out some 25. So one wrong name in fewer than 50 raises the threshold
        above it, and no wrong name, or no image, leaves `min_defect_confidence`.
        """
        called = self.familiar & (self.choices == index)
        # As float64, so that they compare with the threshold as in `Decider.decide`.
        confidences = self.confidences[called].astype(np.float64)
        wrong = self.labels[called] != index
        # Just above a wrong name: nowhere else can the share come to lie within the policy.
        floor = policy.min_defect_confidence
        raised = sorted({_just_above(each) for each in self.confidences[called][wrong]})
        for threshold in (floor, *(each for each in raised if each > floor)):
            at_least = confidences >= threshold
            count, errors = int(at_least.sum()), int(wrong[at_least].sum())
            if errors <= policy.max_wrong_class_rate * count:
                break
        return ClassThreshold(
            threshold=threshold, called=count, wrong=errors, upper_bound=upper_bound(errors, count)
        )


def _just_above(confidence: np.float32) -> float:
    return float(np.nextafter(confidence, np.float32(2)))


def fit_temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """The temperature that makes held-out labels most likely (Guo et al. 2017, arXiv:1706.04599).

    N images without a mistake do not prove certainty. So two more are counted, each as uncertain as
    the least certain one seen: of its two first choices, one had the first and one had the second
    (Laplace's rule of succession, where the next mistake is likeliest). A golden-section search on
    the logarithm over 0.05..20; the likelihood has one peak there.
    """
    rows = np.arange(len(labels))
    ordered = np.sort(logits, axis=1).astype(np.float64)
    least = int((ordered[:, -1] - ordered[:, -2]).argmin()) if logits.shape[1] > 1 else 0

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        log_likelihood = scaled - scaled.max(axis=1, keepdims=True)
        log_likelihood -= np.log(np.exp(log_likelihood).sum(axis=1, keepdims=True))
        doubted = np.sort(log_likelihood[least])[-2:]
        return float(-log_likelihood[rows, labels].sum() - doubted.sum())

    low, high = float(np.log(0.05)), float(np.log(20.0))
    ratio = (np.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def novelty_of(features: Floats, reference: Floats) -> Floats:
    """The mean distance to the nearest fitted images, `(N,)` from 0, in their mean length.

    The k-nearest-neighbour distance of Sun et al. 2022 (arXiv:2204.06507), k = 5, with one change:
    features keep their length. Brought to unit length, they told NEU-DET from clean magnetic tiles
    with an AUROC of 0.944; with their own, 0.984 (docs/experiments.md).
    """
    # In float64: float32 would lose a small distance between two long features.
    seen, known = features.astype(np.float64), reference.astype(np.float64)
    squares = (seen**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * seen @ known.T
    nearest = min(NEIGHBOURS, len(known))
    closest = np.partition(squares, nearest - 1, axis=1)[:, :nearest]
    distance = np.sqrt(np.maximum(closest, 0.0)).mean(axis=1)
    scale = max(float(np.linalg.norm(known, axis=1).mean()), 1e-12)
    novelty: Floats = (distance / scale).astype(np.float32)
    return novelty


def softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


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
