"""From the network's numbers to a verdict: confidence, novelty, thresholds. Numpy only.

Everything is derived when a model is loaded, from held-out images of its own training run (its
evidence) and from the policy, so that a changed policy needs no retraining.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.binomial import most_misses_allowed
from models.taxonomy import Reason, Verdict

NEIGHBOURS: Final = 5
KNOWN_CALLED_UNKNOWN: Final = 0.01
"""The share of known held-out images that the novelty threshold may call unknown."""
KNOWN_CALLED_UNSURE: Final = 0.10
"""The share of known held-out images that may be `unsure` for their novelty while commissioning.

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
    """

    normal_classes: tuple[str, ...]
    max_missed_defect_rate: float
    min_defect_confidence: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Held-out images of a training run, as the runtime that serves sees them.

    Attributes:
        reference: features of fitted images, `(R, 512)`, each of unit length; what is known.
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
    reference = unit_length(fitted_features).astype(np.float16).astype(np.float32)
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
        novelty: 0 (seen before) to 2; above the model's threshold the image is unknown.
    """

    verdict: Verdict
    reason: Reason
    predicted_class: str
    confidence: float
    novelty: float

    @property
    def unknown(self) -> bool:
        return self.reason is Reason.UNKNOWN


class Decider:
    """Turns the outputs of one model into decisions under one policy."""

    def __init__(self, *, classes: Sequence[str], evidence: Evidence, policy: Policy) -> None:
        self.classes = tuple(classes)
        self.temperature = fit_temperature(evidence.logits, evidence.labels)
        self.novelty_threshold = exceeded_by(evidence.novelty, KNOWN_CALLED_UNKNOWN)
        self.familiar_threshold = exceeded_by(evidence.novelty, KNOWN_CALLED_UNSURE)
        self.normal = np.array([name in policy.normal_classes for name in classes])
        self.pass_threshold = self._derive_pass_threshold(evidence, policy)
        self._reference = evidence.reference
        self._policy = policy

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
        if confidence >= self._policy.min_defect_confidence:
            return Verdict.DEFECT, Reason.CONFIDENT
        return Verdict.UNSURE, Reason.COMMISSIONING if commissioning else Reason.LOW_CONFIDENCE

    def _derive_pass_threshold(self, evidence: Evidence, policy: Policy) -> float | None:
        """The lowest confidence at which the held-out defects keep the promised bound.

        None when no threshold does: then nothing passes. A miss is a held-out defect whose first
        choice is a normal class, at or above the threshold, and not novel.
        """
        if not self.normal.any():
            return None
        probabilities = softmax(evidence.logits / self.temperature)
        choices = probabilities.argmax(axis=1)
        defects = ~self.normal[evidence.labels]
        count = int(defects.sum())
        could_pass = defects & self.normal[choices] & (evidence.novelty <= self.novelty_threshold)
        confidences = np.sort(probabilities.max(axis=1)[could_pass])[::-1]
        allowed = most_misses_allowed(count, policy.max_missed_defect_rate)
        if allowed is None:
            return None
        if allowed >= len(confidences):
            return 0.0
        return float(np.nextafter(confidences[allowed], np.float32(2)))


def fit_temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """The temperature that makes held-out labels most likely (Guo et al. 2017, arXiv:1706.04599).

    Each of N labels counts as certain only to (N + 1) / (N + 2), as in Platt 1999 ("Probabilistic
    outputs for support vector machines"): N images without a mistake do not prove certainty. A
    golden-section search on its logarithm over 0.05..20; the likelihood has one peak there.
    """
    doubt = 1 / (len(labels) + 2)

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(scaled).sum(axis=1))
        told = scaled[np.arange(len(labels)), labels]
        return float((log_sum - (1 - doubt) * told - doubt * scaled.mean(axis=1)).mean())

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
    """One less the mean cosine similarity to the nearest fitted images, `(N,)` in 0..2.

    The k-nearest-neighbour distance of Sun et al. 2022 (arXiv:2204.06507), k = 5.
    """
    similarity = unit_length(features) @ reference.T
    nearest = min(NEIGHBOURS, similarity.shape[1])
    best = np.partition(similarity, -nearest, axis=1)[:, -nearest:]
    novelty: Floats = (1.0 - best.mean(axis=1)).astype(np.float32)
    return novelty


def softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def unit_length(features: Floats) -> Floats:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: Floats = (features / np.maximum(length, 1e-12)).astype(np.float32)
    return scaled


def exceeded_by(novelty: Floats, share: float) -> float:
    """The value that at most this share of the held-out images exceed."""
    ordered = np.sort(novelty)
    exceeding = int(share * len(ordered))
    return float(ordered[len(ordered) - 1 - exceeding])
