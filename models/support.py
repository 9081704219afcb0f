"""What the held-out images of a model can promise, and what they cannot. Numpy only."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from models.binomial import trials_needed, upper_bound
from models.decision import KNOWN_CALLED_UNKNOWN, ClassThreshold, Decider, PassRule, Policy
from models.evidence import Evidence
from models.taxonomy import Verdict

RATES: Final = (0.005, 0.01, 0.02, 0.05)
"""Missed-defect rates of which it is told what they would let pass, besides the policy's."""


@dataclass(frozen=True, kw_only=True)
class MissedDefects:
    """What so many held-out defects say of the share of defects that would pass.

    Attributes:
        held_out: defects that were held out, of the line that the model serves.
        lowest_rate: the missed-defect rate that they can promise at 95 %, were none of them missed
            (exact; about 3 / held_out).
        further_needed: how many more it takes, none of them missed, to promise the policy's rate.
    """

    held_out: int
    lowest_rate: float
    further_needed: int

    @classmethod
    def of(cls, held_out: int, policy: Policy) -> "MissedDefects":
        return cls(
            held_out=held_out,
            lowest_rate=upper_bound(0, held_out),
            further_needed=max(0, trials_needed(policy.max_missed_defect_rate) - held_out),
        )


@dataclass(frozen=True, kw_only=True)
class ClassSupport:
    """One class.

    Attributes:
        held_out: its images that were held out, of whatever set.
        threshold: from which confidence it is believed; None for a normal class.
        missed: what is known of its defects that pass; None for a normal class.
    """

    name: str
    held_out: int
    threshold: ClassThreshold | None
    missed: MissedDefects | None


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """What one missed-defect rate would come to on the held-out images of the line.

    Attributes:
        rate: as `policy.max_missed_defect_rate`, 0..1.
        threshold: calibrated confidence from which a normal image would pass.
        promised: the missed-defect rate that would be promised at 95 %.
        kept: whether that is the rate. If not, the defects are too few for it.
        missed: held-out defects that would pass, of as many as `Support.missed` tells.
        passed: held-out normal images that would, of `Support.normal`.
    """

    rate: float
    threshold: float
    promised: float
    kept: bool
    missed: int
    passed: int


@dataclass(frozen=True, kw_only=True)
class Support:
    """A model's thresholds under one policy, and how far the held-out images bear them out.

    Attributes:
        temperature: what logits are divided by, fitted to the held-out images.
        novelty_threshold: above it an image is unknown.
        known_called_unknown: how often a new image of a known kind is, when it comes from where the
            others came from: it is as likely to have any rank among them.
        pass_rule: from when a normal image passes, and which missed-defect rate that promises; None
            when nothing may.
        missed: of all defects together. The promise is made for them, not for each class.
        normal: images of a normal class that were held out, of the line that the model serves.
        points: what the policy's rate and others would let pass; none where nothing may.
    """

    policy: Policy
    temperature: float
    novelty_threshold: float
    known_called_unknown: float
    pass_rule: PassRule | None
    missed: MissedDefects
    normal: int
    points: tuple[OperatingPoint, ...]
    classes: tuple[ClassSupport, ...]

    @classmethod
    def of(cls, decider: Decider, evidence: Evidence, policy: Policy) -> "Support":
        """`decider` must come from the same evidence and policy."""
        size = len(decider.classes)
        counts = np.bincount(evidence.labels, minlength=size).tolist()
        own = np.bincount(evidence.labels[evidence.is_own], minlength=size).tolist()
        classes = tuple(
            ClassSupport(
                name=name,
                held_out=count,
                threshold=decider.defect_thresholds.get(name),
                missed=None if normal else MissedDefects.of(of_line, policy),
            )
            for name, count, of_line, normal in zip(
                decider.classes, counts, own, decider.normal, strict=True
            )
        )
        of_defects = sum(each.missed.held_out for each in classes if each.missed)
        known = evidence.known_novelty(KNOWN_CALLED_UNKNOWN)
        exceeding = int((known > decider.novelty_threshold).sum())
        return cls(
            policy=policy,
            temperature=decider.temperature,
            novelty_threshold=decider.novelty_threshold,
            known_called_unknown=(exceeding + 1) / (len(known) + 1),
            pass_rule=decider.pass_rule,
            missed=MissedDefects.of(of_defects, policy),
            normal=int(np.array(own)[decider.normal].sum()),
            points=_points(decider, evidence, policy),
            classes=classes,
        )


def _points(decider: Decider, evidence: Evidence, policy: Policy) -> tuple[OperatingPoint, ...]:
    points = []
    normal = decider.normal[evidence.labels] & evidence.is_own
    for rate in sorted({*RATES, policy.max_missed_defect_rate}):
        asked = replace(policy, max_missed_defect_rate=rate)
        other = Decider(classes=decider.classes, evidence=evidence, policy=asked)
        if other.pass_rule is None:
            return ()
        decisions = other.decide_measured(evidence.logits, evidence.novelty, evidence.distances)
        passes = np.array([each.verdict is Verdict.PASS for each in decisions])
        points.append(
            OperatingPoint(
                rate=rate,
                threshold=other.pass_rule.threshold,
                promised=other.pass_rule.promised,
                kept=other.pass_rule.kept,
                missed=other.pass_rule.missed,
                passed=int(passes[normal].sum()),
            )
        )
    return tuple(points)
