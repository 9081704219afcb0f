"""From the network's numbers to a verdict: thresholds, and what they rest on. Numpy only.

Everything is derived when a model is loaded, from held-out images of its own training run (its
evidence) and from the policy, so that a changed policy needs no retraining.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.binomial import most_misses_allowed, trials_needed, upper_bound
from models.calibration import fit_temperature, softmax
from models.evidence import Evidence
from models.novelty import (
    KnownImages,
    exceeded_by,
    pooled_of,
    texture_of,
    to_nearest_of_classes,
)
from models.taxonomy import Reason, Verdict

KNOWN_CALLED_UNKNOWN: Final = 0.01
"""How often a new image of a known kind may be called unknown."""
KNOWN_CALLED_UNSURE: Final = 0.10
"""How often a new image of a known kind may be `unsure` for its novelty while commissioning.

A network that was never shown a clean surface names a defect on it, and is confident. Until it has
learned one, only what looks much like the defects that it knows is called a defect.
"""

FEWEST_DEFECTS: Final = 20
"""Held-out defects without which nothing passes: with fewer, not even one miss in seven is excluded."""
_TAIL: Final = 10
"""How many of the most pass-like held-out defects say how the tail of all defects goes on."""
_ANY_ODDS: Final = -700.0
"""Of a confidence of 0 as near as a float comes to it; finite, as it is written to JSON."""

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


@dataclass(frozen=True, kw_only=True)
class PassRule:
    """From when a normal image passes, and what that rests on.

    Attributes:
        threshold: calibrated confidence that it is normal, 0..1.
        odds: the same as its logarithmic odds, in which the rule is kept: near certainty there are
            too few numbers below 1.
        defects: that were held out.
        own: those of them that are of the line that the model serves: of others nothing follows for it.
        missed: how many of its own would pass.
        promised: the missed-defect rate that its own exclude at 95 % (exact).
        kept: whether that is the policy's. If not, they are too few to promise it, and the
            threshold is the strictest that all of them support.
    """

    threshold: float
    odds: float
    defects: int
    own: int
    missed: int
    promised: float
    kept: bool


class Decider:
    """Turns the outputs of one model into decisions under one policy.

    Attributes:
        temperature: what logits are divided by.
        novelty_threshold: above it an image is unknown.
        familiar_threshold: above it an image is not believed to be a defect while commissioning.
        normal: whether each class is no defect, bool `(classes,)`.
        normal_threshold: a normal image farther than this from the known ones of its class does not
            pass, though it may not be novel: it may lie among the defects. None where that is not
            known.
        pass_rule: from when a normal image passes; None when nothing may.
        defect_thresholds: by name of each class that is a defect.
    """

    def __init__(self, *, classes: Sequence[str], evidence: Evidence, policy: Policy) -> None:
        self.classes = tuple(classes)
        self.temperature = fit_temperature(evidence.logits, evidence.labels)
        self.novelty_threshold = evidence.novelty_limit(KNOWN_CALLED_UNKNOWN)
        self.familiar_threshold = evidence.novelty_limit(KNOWN_CALLED_UNSURE)
        self.normal = np.array([name in policy.normal_classes for name in classes])
        self._width = evidence.reference.shape[1]
        self._known = KnownImages(texture_of(evidence.reference))
        self._known_by_class = None
        if evidence.reference_labels is not None:
            self._known_by_class = KnownImages(pooled_of(evidence.reference))
        self._reference_labels = evidence.reference_labels
        self.normal_threshold = self._derive_normal_threshold(evidence)
        held_out = _HeldOut.of(evidence, self)
        self.pass_rule = self._derive_pass_rule(held_out, policy)
        self.defect_thresholds = {
            name: held_out.threshold_of(index, policy)
            for index, name in enumerate(classes)
            if not self.normal[index]
        }

    @property
    def pass_threshold(self) -> float | None:
        """Confidence from which a normal image may pass; None when nothing may."""
        return self.pass_rule.threshold if self.pass_rule else None

    def decide(self, logits: Floats, features: Floats) -> list[Decision]:
        """One decision for each row of `logits` `(N, classes)` and `features` `(N, 512 + 256)`."""
        if len(logits) == 0:
            return []
        # A model from before novelty was measured on textures has none in its reference.
        seen = features[:, : self._width]
        novelty = self._known.novelty(texture_of(seen))
        distances = None
        if self._reference_labels is not None and self._known_by_class is not None:
            distances = to_nearest_of_classes(
                self._known_by_class.distance(pooled_of(seen)),
                self._reference_labels,
                classes=len(self.classes),
            )
        return self.decide_measured(logits, novelty, distances)

    def decide_measured(
        self, logits: Floats, novelty: Floats, distances: Floats | None
    ) -> list[Decision]:
        """The same where novelty `(N,)` and distances `(N, classes)` are known, as in evidence."""
        probabilities = softmax(logits / self.temperature)
        choices = probabilities.argmax(axis=1)
        odds = self.odds_of_normal(logits)
        near = self.near_normal(choices, distances)
        return [
            self._decide_one(
                int(choice), float(row[choice]), float(score), float(odd), near=bool(close)
            )
            for choice, row, score, odd, close in zip(
                choices, probabilities, novelty, odds, near, strict=True
            )
        ]

    def _decide_one(
        self, choice: int, confidence: float, novelty: float, odds: float, *, near: bool
    ) -> Decision:
        verdict, reason = self._judge(choice, confidence, novelty, odds, near=near)
        return Decision(
            verdict=verdict,
            reason=reason,
            predicted_class=self.classes[choice],
            confidence=confidence,
            novelty=novelty,
        )

    def _judge(
        self, choice: int, confidence: float, novelty: float, odds: float, *, near: bool
    ) -> tuple[Verdict, Reason]:
        normal = bool(self.normal[choice])
        if novelty > self.novelty_threshold or (normal and not near):
            return Verdict.UNSURE, Reason.UNKNOWN
        if normal:
            if self.pass_rule is not None and odds >= self.pass_rule.odds:
                return Verdict.PASS, Reason.CONFIDENT
            return Verdict.UNSURE, Reason.LOW_CONFIDENCE
        commissioning = not self.normal.any()
        if commissioning and novelty > self.familiar_threshold:
            return Verdict.UNSURE, Reason.COMMISSIONING
        if confidence >= self.defect_thresholds[self.classes[choice]].threshold:
            return Verdict.DEFECT, Reason.CONFIDENT
        return Verdict.UNSURE, Reason.COMMISSIONING if commissioning else Reason.LOW_CONFIDENCE

    def odds_of_normal(self, logits: Floats) -> NDArray[np.float64]:
        """Logarithmic odds, calibrated, that an image is of a normal class, `(N,)`."""
        scaled = logits.astype(np.float64) / self.temperature
        if not self.normal.any():
            return np.full(len(logits), -np.inf)
        if self.normal.all():
            return np.full(len(logits), np.inf)
        return _log_of_sum(scaled[:, self.normal]) - _log_of_sum(scaled[:, ~self.normal])

    def _derive_normal_threshold(self, evidence: Evidence) -> float | None:
        """As the novelty threshold, by the held-out normal images and their own class."""
        clean = np.flatnonzero(self.normal[evidence.labels])
        if evidence.distances is None or len(clean) == 0:
            return None
        own = evidence.distances[clean, evidence.labels[clean]]
        return exceeded_by(own, KNOWN_CALLED_UNKNOWN)

    def near_normal(
        self, choices: NDArray[np.int64], distances: Floats | None
    ) -> NDArray[np.bool_]:
        """Whether each image lies as near to the known ones of its first choice as normal ones do.

        `choices` `(N,)`; `distances` `(N, classes)`. Said of any choice, meant for normal ones.
        """
        if distances is None or self.normal_threshold is None:
            return np.full(len(choices), fill_value=True)
        near: NDArray[np.bool_] = (
            distances[np.arange(len(choices)), choices] <= self.normal_threshold
        )
        return near

    def _derive_pass_rule(self, held_out: "_HeldOut", policy: Policy) -> PassRule | None:
        """The lowest confidence at which the line's own held-out defects keep the promised bound, and all do.

        A miss is one whose first choice is a normal class, at or above the threshold, and not novel.
        Where its own are too few to promise the rate, none may pass, and the threshold lies beyond the
        most pass-like of all by what their tail calls for. None, and so nothing passes, with fewer in
        all than `FEWEST_DEFECTS`.
        """
        defects = ~self.normal[held_out.labels]
        if not self.normal.any() or int(defects.sum()) < FEWEST_DEFECTS:
            return None
        own = defects & held_out.own
        count, of_line = int(defects.sum()), int(own.sum())
        could_pass = self.normal[held_out.choices] & held_out.familiar
        rate = policy.max_missed_defect_rate
        allowed, own_allowed = most_misses_allowed(count, rate), most_misses_allowed(of_line, rate)
        if allowed is None or own_allowed is None:
            least = _beyond_the_tail(held_out.odds[defects], rate)
        else:
            least = max(
                _beyond_most(held_out.odds[defects & could_pass], allowed),
                _beyond_most(held_out.odds[own & could_pass], own_allowed),
            )
        missed = int((held_out.odds[own & could_pass] >= least).sum())
        return PassRule(
            threshold=float(1 / (1 + np.exp(-least))),
            odds=least,
            defects=count,
            own=of_line,
            missed=missed,
            promised=upper_bound(missed, of_line),
            kept=own_allowed is not None,
        )


def _beyond_most(odds: NDArray[np.float64], allowed: int) -> float:
    """Odds that at most so many of these `(N,)` reach."""
    if allowed >= len(odds):
        return _ANY_ODDS
    return float(np.nextafter(np.sort(odds)[::-1][allowed], np.inf))


def _beyond_the_tail(odds: NDArray[np.float64], rate: float) -> float:
    """Odds as far beyond all of these `(N,)` as the greatest of enough to promise `rate` would be.

    Above a high value the rest of a distribution falls off about exponentially (the peaks over
    threshold of Pickands 1975, Ann. Statist. 3:119, with shape 0), with the mean excess m of those
    that exceed it. The greatest of M such values then lies m * ln(M / N) above the greatest of N.
    """
    ordered = np.sort(odds)[::-1]
    tail = min(_TAIL, len(ordered) - 1)
    excess = float((ordered[:tail] - ordered[tail]).mean())
    farther = excess * float(np.log(max(1.0, trials_needed(rate) / len(ordered))))
    return float(np.nextafter(ordered[0] + farther, np.inf))


def _log_of_sum(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(sum(exp)) of each row, without overflow."""
    highest = scaled.max(axis=1, keepdims=True)
    total: NDArray[np.float64] = np.log(np.exp(scaled - highest).sum(axis=1)) + highest[:, 0]
    return total


@dataclass(frozen=True, kw_only=True)
class _HeldOut:
    """The held-out images as they would be judged, `(N,)` each.

    Attributes:
        choices: the network's first choice.
        confidences: calibrated, of that choice.
        odds: logarithmic, calibrated, that the image is normal.
        familiar: whether the image is not called unknown.
        own: whether it is of the line that the model serves.
    """

    labels: NDArray[np.int64]
    choices: NDArray[np.int64]
    confidences: Floats
    odds: NDArray[np.float64]
    familiar: NDArray[np.bool_]
    own: NDArray[np.bool_]

    @classmethod
    def of(cls, evidence: Evidence, decider: Decider) -> "_HeldOut":
        """`decider` has its temperature and its thresholds of novelty."""
        probabilities = softmax(evidence.logits / decider.temperature)
        choices = probabilities.argmax(axis=1)
        novel = evidence.novelty > decider.novelty_threshold
        far = decider.normal[choices] & ~decider.near_normal(choices, evidence.distances)
        return cls(
            labels=evidence.labels,
            choices=choices,
            confidences=probabilities.max(axis=1),
            odds=decider.odds_of_normal(evidence.logits),
            familiar=~novel & ~far,
            own=evidence.is_own,
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
