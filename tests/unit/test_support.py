from dataclasses import replace

import numpy as np
import pytest

from models.binomial import most_misses_allowed, upper_bound
from models.decision import Decider, Policy
from models.evidence import Evidence, collect_evidence
from models.support import Support

CLASSES = ("crazing", "scratches", "no_defect")
POLICY = Policy(
    normal_classes=("no_defect",), max_missed_defect_rate=0.005, min_defect_confidence=0.5
)


def evidence_of(*counts: int) -> Evidence:
    """So many held-out images of each class, all of them named rightly."""
    labels = np.repeat(np.arange(len(counts)), counts)
    random = np.random.default_rng(0)
    fitted = random.normal(size=(60, 16)).astype(np.float32)
    return collect_evidence(
        fitted_features=fitted,
        features=random.normal(size=(len(labels), 16)).astype(np.float32),
        logits=(9 * np.eye(len(counts))[labels]).astype(np.float32),
        labels=labels,
    )


def support_of(evidence: Evidence, policy: Policy = POLICY) -> Support:
    classes = CLASSES[: evidence.logits.shape[1]]
    return Support.of(Decider(classes=classes, evidence=evidence, policy=policy), evidence, policy)


def test_all_defects_together_and_each_by_itself_say_what_they_can_promise() -> None:
    support = support_of(evidence_of(30, 20, 70))
    assert [each.held_out for each in support.classes] == [30, 20, 70]
    assert support.missed.held_out == 50
    crazing, scratches, normal = (each.missed for each in support.classes)
    assert crazing is not None
    assert scratches is not None
    assert normal is None
    for missed, count in ((support.missed, 50), (crazing, 30), (scratches, 20)):
        assert missed.held_out == count
        assert missed.lowest_rate == pytest.approx(1 - 0.05 ** (1 / count), abs=1e-8)
        assert most_misses_allowed(count, missed.lowest_rate + 1e-6) == 0
        assert missed.further_needed == 598 - count


def test_defects_of_another_line_promise_nothing_for_this_one() -> None:
    evidence = evidence_of(30, 20, 70)
    own = np.arange(120) % 2 == 0
    support = support_of(replace(evidence, own=own))
    assert [each.held_out for each in support.classes] == [30, 20, 70]
    assert [each.missed.held_out for each in support.classes if each.missed] == [15, 10]
    assert (support.missed.held_out, support.missed.further_needed) == (25, 573)


@pytest.mark.parametrize(("rate", "further"), [(0.005, 548), (0.05, 9), (0.06, 0), (0.5, 0)])
def test_no_more_are_needed_than_the_policy_s_rate_takes(rate: float, further: int) -> None:
    evidence = evidence_of(30, 20, 70)
    support = support_of(evidence, replace(POLICY, max_missed_defect_rate=rate))
    assert support.missed.further_needed == further
    assert support.pass_rule is not None
    assert support.pass_rule.kept == (further == 0)


def test_it_is_told_what_other_rates_would_let_pass() -> None:
    evidence = evidence_of(40, 40, 100)
    # Defects and normal images that look the more like the others the later they come.
    for first, class_ in ((0, 0), (40, 1), (80, 2)):
        last = first + (100 if class_ == 2 else 40)
        doubt = np.linspace(0, 9, last - first, dtype=np.float32)
        evidence.logits[first:last, 2 if class_ != 2 else 0] = doubt
    evidence = replace(evidence, own=np.arange(180) % 20 != 0)
    rate = 0.03
    support = support_of(evidence, replace(POLICY, max_missed_defect_rate=rate))
    assert [each.rate for each in support.points] == [0.005, 0.01, 0.02, 0.03, 0.05]
    assert (support.missed.held_out, support.normal) == (76, 95)
    passed = [each.passed for each in support.points]
    assert passed == sorted(passed)
    assert passed[0] < passed[-1] < 95
    for each in support.points:
        alone = support_of(evidence, replace(POLICY, max_missed_defect_rate=each.rate)).pass_rule
        assert alone is not None
        assert (each.threshold, each.promised, each.kept) == (
            alone.threshold,
            alone.promised,
            alone.kept,
        )
        assert each.missed == alone.missed


def test_thresholds_are_told_with_what_they_rest_on() -> None:
    crazing, scratches, normal = support_of(evidence_of(30, 0, 70)).classes
    assert crazing.threshold is not None
    assert scratches.threshold is not None
    assert normal.threshold is None
    assert (crazing.threshold.threshold, crazing.threshold.wrong) == (0.5, 0)
    assert crazing.threshold.upper_bound == upper_bound(0, crazing.threshold.called)
    assert (scratches.threshold.called, scratches.threshold.upper_bound) == (0, 1.0)


def test_a_model_that_knows_no_normal_class_still_says_what_its_defects_could_promise() -> None:
    support = support_of(evidence_of(30, 20))
    assert support.pass_rule is None
    assert support.points == ()
    assert support.missed.further_needed == 548


@pytest.mark.parametrize(("images", "expected"), [(120, 1 / 121), (472, 1 / 473), (500, 2 / 501)])
def test_how_often_a_known_image_is_called_unknown_is_said(images: int, expected: float) -> None:
    evidence = evidence_of(images)
    support = support_of(evidence)
    assert support.known_called_unknown == pytest.approx(expected)
    above = (evidence.novelty > support.novelty_threshold).sum()
    assert support.known_called_unknown == pytest.approx((above + 1) / (images + 1))
