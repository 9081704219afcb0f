from dataclasses import replace

import numpy as np
import pytest
from evidence import (
    CLASSES,
    FEATURES,
    NORMAL,
    POLICY,
    Floats,
    certain,
    decide,
    decider_of,
    directions,
    evidence_of,
    held_out,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.binomial import most_misses_allowed, upper_bound
from models.calibration import softmax
from models.decision import Decider
from models.evidence import Evidence, collect_evidence
from models.novelty import TEXTURE
from models.taxonomy import Reason, Verdict

# Pass


def test_a_clean_surface_passes_when_the_promise_can_be_kept() -> None:
    decider = decider_of(evidence_of(held_out(700)))
    decision = decide(decider, NORMAL, 0.99)
    assert (decision.verdict, decision.reason) == (Verdict.PASS, Reason.CONFIDENT)
    assert decision.predicted_class == "no_defect"
    assert decision.confidence == pytest.approx(0.99, abs=1e-4)
    assert not decision.unknown


@pytest.mark.parametrize(("defects", "kept"), [(598, True), (597, False)])
def test_half_a_percent_is_promised_from_598_held_out_defects_without_a_miss(
    defects: int, kept: bool
) -> None:
    rule = decider_of(evidence_of(held_out(defects))).pass_rule
    assert rule is not None
    assert (rule.kept, rule.defects, rule.missed) == (kept, defects, 0)
    assert (rule.promised <= POLICY.max_missed_defect_rate) == kept


def test_with_too_few_defects_to_promise_the_rate_none_of_them_passes_nor_any_like_them() -> None:
    evidence = missed([0.55 + 0.004 * number for number in range(100)], 300)
    decider = decider_of(evidence)
    odds = decider.odds_of_normal(evidence.logits)[:300]
    rule = decider.pass_rule
    assert rule is not None
    assert not rule.kept
    assert rule.missed == 0
    assert rule.promised == upper_bound(0, 300)
    spacing = float(np.sort(odds)[-1] - np.sort(odds)[-10])
    assert rule.odds > odds.max() + spacing / 4, "beyond the most pass-like by what its tail says"


@pytest.mark.parametrize(("own", "kept"), [(598, True), (597, False), (0, False)])
def test_the_promise_rests_on_defects_of_this_line_alone(own: int, kept: bool) -> None:
    """Those of the set that a model came from were never on it, and are easier to tell."""
    evidence = missed([0.9, 0.8], 700)
    decider = decider_of(replace(evidence, own=np.arange(800) >= 700 - own))
    rule = decider.pass_rule
    assert rule is not None
    assert (rule.defects, rule.own, rule.missed, rule.kept) == (700, own, 0, kept)
    assert rule.promised == upper_bound(0, own)
    odds = decider.odds_of_normal(evidence.logits)[:700]
    assert kept or rule.odds > odds.max(), "else beyond all that are known"


@pytest.mark.parametrize(("defects", "passes"), [(20, True), (19, False)])
def test_with_very_few_held_out_defects_nothing_passes(defects: int, passes: bool) -> None:
    assert (decider_of(evidence_of(held_out(defects))).pass_rule is not None) == passes


def test_a_clean_surface_that_is_unlike_the_known_clean_ones_does_not_pass() -> None:
    labels = held_out(700)
    fitted = np.arange(300) % 3
    evidence = collect_evidence(
        fitted_features=directions(fitted, seed=1),
        features=directions(labels, seed=2),
        logits=certain(labels),
        labels=labels,
        fitted_labels=fitted,
    )
    decider = decider_of(Evidence.from_arrays(evidence.arrays()))
    logits = certain(np.array([NORMAL, NORMAL]), 0.999)
    clean = directions(np.array([NORMAL]), seed=3)
    among_defects = directions(np.array([0]), seed=3)
    passed, stopped = decider.decide(logits, np.concatenate([clean, among_defects]))
    assert passed.verdict is Verdict.PASS
    assert stopped.novelty <= decider.novelty_threshold, "known, but not as clean"
    assert (stopped.verdict, stopped.reason) == (Verdict.UNSURE, Reason.UNKNOWN)


def test_nothing_passes_without_held_out_defects() -> None:
    decider = decider_of(evidence_of(held_out(0, 500)))
    assert decider.pass_threshold is None
    assert decide(decider, NORMAL, 0.9999).verdict is Verdict.UNSURE


def missed(confidences: list[float], defects: int) -> Evidence:
    """Held-out defects of which the first were taken for clean, this surely each."""
    labels = held_out(defects)
    logits = certain(labels)
    count = len(confidences)
    for row, confidence in enumerate(confidences):
        logits[row] = certain(np.array([NORMAL]), confidence)[0]
    evidence = evidence_of(labels, logits)
    # Where the network errs, the picture looks normal to it.
    novelty = evidence.novelty.copy()
    novelty[:count] = 0
    return replace(evidence, novelty=novelty)


@pytest.mark.parametrize("misses", [1, 3, 6])
@pytest.mark.parametrize("defects", [700, 1100])
def test_the_pass_threshold_lies_just_above_the_misses_that_are_too_many(
    misses: int, defects: int
) -> None:
    evidence = missed([0.6 + 0.05 * number for number in range(misses)], defects)
    decider = decider_of(evidence)
    allowed = most_misses_allowed(defects, POLICY.max_missed_defect_rate)
    assert allowed is not None
    threshold = decider.pass_threshold
    assert threshold is not None
    sure = softmax(evidence.logits / np.float32(decider.temperature))[:misses].max(axis=1)
    rule = decider.pass_rule
    assert rule is not None
    assert (decider.odds_of_normal(evidence.logits)[:misses] >= rule.odds).sum() == rule.missed
    assert rule.missed == min(misses, allowed)
    if misses > allowed:
        just_passed = np.sort(sure)[::-1][allowed]
        assert threshold == pytest.approx(just_passed, rel=1e-5)
    assert rule.promised == upper_bound(rule.missed, defects) <= POLICY.max_missed_defect_rate


def test_below_the_pass_threshold_a_clean_surface_is_unsure() -> None:
    decider = decider_of(missed([0.9, 0.8], 700))
    assert decider.pass_threshold is not None
    below = decide(decider, NORMAL, decider.pass_threshold - 0.01)
    assert (below.verdict, below.reason) == (Verdict.UNSURE, Reason.LOW_CONFIDENCE)
    assert decide(decider, NORMAL, decider.pass_threshold + 0.005).verdict is Verdict.PASS


def test_a_miss_that_is_called_unknown_cannot_pass_and_does_not_count() -> None:
    evidence = missed([0.9], 700)
    counted = decider_of(evidence)
    novelty = evidence.novelty.copy()
    novelty[0] = 1.9
    spared = decider_of(replace(evidence, novelty=novelty))
    assert counted.pass_threshold is not None
    assert spared.pass_threshold is not None
    assert spared.pass_threshold < counted.pass_threshold


def test_a_looser_promise_lets_more_pass_and_needs_no_retraining() -> None:
    evidence = missed([0.95, 0.9, 0.8, 0.7], 700)
    thresholds = []
    for rate in (0.005, 0.01, 0.02):
        decider = decider_of(evidence, replace(POLICY, max_missed_defect_rate=rate))
        assert decider.pass_threshold is not None
        thresholds.append(decider.pass_threshold)
    assert thresholds[0] > thresholds[1] > thresholds[2] == pytest.approx(0.0)


# Defect and unsure


@pytest.mark.parametrize("label", [0, 1])
def test_a_sure_defect_is_a_defect(label: int) -> None:
    decision = decide(decider_of(evidence_of(held_out(700))), label, 0.8)
    assert (decision.verdict, decision.reason) == (Verdict.DEFECT, Reason.CONFIDENT)
    assert decision.predicted_class == CLASSES[label]


@pytest.mark.parametrize(
    ("normal_classes", "reason"),
    [(("no_defect",), Reason.LOW_CONFIDENCE), (("clean",), Reason.COMMISSIONING)],
)
def test_an_unsure_defect_is_unsure_and_says_whether_the_line_is_still_commissioned(
    normal_classes: tuple[str, ...], reason: Reason
) -> None:
    policy = replace(POLICY, min_defect_confidence=0.7, normal_classes=normal_classes)
    decider = decider_of(evidence_of(held_out(700)), policy)
    decision = decide(decider, 0, 0.65)
    assert (decision.verdict, decision.reason) == (Verdict.UNSURE, reason)
    assert decide(decider, 0, 0.75).verdict is Verdict.DEFECT


def misnamed(
    confidences: list[float], scratches: int, *, crazing: int = 30, right: float = 0.999
) -> Evidence:
    """Held-out scratches of which the first are called crazing, this surely each."""
    labels = np.repeat([1, 0], [scratches, crazing])
    logits = certain(labels, right)
    for row, confidence in enumerate(confidences):
        logits[row] = certain(np.array([0]), confidence)[0]
    evidence = evidence_of(labels, logits)
    return replace(evidence, novelty=np.full(len(labels), 0.5, np.float32))


def calibrated(evidence: Evidence, decider: Decider, row: int) -> np.float32:
    """The confidence of a held-out image's first choice."""
    value: np.float32 = softmax(evidence.logits / decider.temperature)[row].max()
    return value


def test_one_wrong_name_in_thirty_raises_the_threshold_of_that_class_above_it() -> None:
    evidence = misnamed([0.9], 40)
    decider = decider_of(evidence)
    raised, other = decider.defect_thresholds["crazing"], decider.defect_thresholds["scratches"]
    assert raised.threshold == np.nextafter(calibrated(evidence, decider, 0), np.float32(2))
    assert (raised.called, raised.wrong) == (30, 0)
    assert raised.upper_bound == upper_bound(0, 30)
    assert (other.threshold, other.called, other.wrong) == (0.5, 39, 0)
    below, above = raised.threshold - 0.005, raised.threshold + 0.005
    assert decide(decider, 0, below).verdict is Verdict.UNSURE
    assert decide(decider, 0, below).reason is Reason.LOW_CONFIDENCE
    assert decide(decider, 0, above).verdict is Verdict.DEFECT
    assert decide(decider, 1, below).verdict is Verdict.DEFECT


def test_one_wrong_name_in_fifty_is_what_the_policy_allows() -> None:
    within = decider_of(misnamed([0.9], 40, crazing=49)).defect_thresholds["crazing"]
    assert (within.threshold, within.called, within.wrong) == (0.5, 50, 1)
    assert within.upper_bound == pytest.approx(upper_bound(1, 50))
    beyond = decider_of(misnamed([0.9], 40, crazing=48)).defect_thresholds["crazing"]
    assert beyond.threshold > 0.5


def test_a_policy_that_allows_more_wrong_names_lowers_the_threshold() -> None:
    evidence = misnamed([0.95, 0.9, 0.8, 0.7], 40)
    found = []
    for rate in (0.0, 0.07, 0.1, 0.12):
        policy = replace(POLICY, max_wrong_class_rate=rate)
        found.append(decider_of(evidence, policy).defect_thresholds["crazing"])
    assert [each.wrong for each in found] == [0, 2, 3, 4]
    assert found[0].threshold > found[1].threshold > found[2].threshold > found[3].threshold == 0.5


def test_wrong_names_below_the_least_confidence_change_nothing() -> None:
    evidence = misnamed([0.9, 0.8], 40)
    raised = decider_of(evidence).defect_thresholds["crazing"].threshold
    assert raised > 0.5
    policy = replace(POLICY, min_defect_confidence=raised + 0.01)
    assert decider_of(evidence, policy).defect_thresholds["crazing"].threshold == raised + 0.01


def test_a_class_whose_surest_image_is_another_s_is_not_believed() -> None:
    evidence = misnamed([0.9999], 40, crazing=20, right=0.99)
    found = decider_of(evidence).defect_thresholds["crazing"]
    assert (found.called, found.wrong, found.upper_bound) == (0, 0, 1.0)
    assert found.threshold > calibrated(evidence, decider_of(evidence), 50)


def test_a_class_that_no_held_out_image_is_called_keeps_the_least_confidence() -> None:
    found = decider_of(misnamed([], 40, crazing=0)).defect_thresholds["crazing"]
    assert (found.threshold, found.called, found.upper_bound) == (0.5, 0, 1.0)


def test_a_wrong_name_on_what_is_called_unknown_does_not_count() -> None:
    evidence = misnamed([0.9], 40)
    novelty = evidence.novelty.copy()
    novelty[0] = 1.9
    novelty[1] = 1.95  # the threshold for novelty is the greatest but this
    novelty[2:] = 0
    labels = np.concatenate([evidence.labels, np.zeros(440, np.int64)])
    logits = np.concatenate([evidence.logits, certain(np.zeros(440, np.int64))])
    spared = replace(
        evidence,
        labels=labels,
        logits=logits,
        novelty=np.append(novelty, np.zeros(440, np.float32)),
    )
    strict = replace(POLICY, max_wrong_class_rate=0.0)
    decider = decider_of(spared, strict)
    assert decider.novelty_threshold == pytest.approx(1.9)
    assert decider.defect_thresholds["crazing"].threshold > 0.5  # not novel enough
    novel = replace(spared, novelty=np.where(spared.labels == 1, spared.novelty, 0))
    novel.novelty[0] = 1.96
    assert decider_of(novel, strict).defect_thresholds["crazing"].threshold == 0.5


def test_a_normal_class_has_no_threshold_for_defects() -> None:
    assert set(decider_of(evidence_of(held_out(60))).defect_thresholds) == {"crazing", "scratches"}


@settings(max_examples=60)
@given(
    images=st.integers(1, 120), seed=st.integers(0, 10_000), rate=st.sampled_from([0, 0.02, 0.2])
)
def test_no_lower_threshold_would_keep_the_wrong_names_within_the_policy(
    images: int, seed: int, rate: float
) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(3, size=images)
    logits = (3 * np.eye(3)[labels] + random.normal(0, 2, (images, 3))).astype(np.float32)
    evidence = replace(evidence_of(labels, logits), novelty=np.zeros(images, np.float32))
    decider = decider_of(evidence, replace(POLICY, max_wrong_class_rate=rate))
    probabilities = softmax(logits / decider.temperature)
    for index, name in enumerate(CLASSES[:2]):
        called = probabilities.argmax(axis=1) == index
        sure, wrong = probabilities.max(axis=1)[called], labels[called] != index

        def share(least: float, sure: Floats = sure, wrong: NDArray[np.bool_] = wrong) -> float:
            above = sure.astype(np.float64) >= least
            return float(wrong[above].sum() / max(1, above.sum()))

        threshold = decider.defect_thresholds[name].threshold
        assert threshold >= POLICY.min_defect_confidence
        assert share(threshold) <= rate
        lower = [c for c in map(float, sure) if POLICY.min_defect_confidence <= c < threshold]
        assert all(share(each) > rate for each in lower)


def test_before_a_normal_class_is_learned_nothing_passes() -> None:
    policy = replace(POLICY, normal_classes=("clean",))
    decider = decider_of(evidence_of(held_out(5000)), policy)
    assert decider.pass_threshold is None
    for label in range(3):
        for confidence in (0.4, 0.9, 0.99999):
            assert decide(decider, label, confidence).verdict is not Verdict.PASS


def test_each_image_of_a_batch_gets_its_own_decision() -> None:
    decider = decider_of(evidence_of(held_out(700)))
    labels = np.array([0, NORMAL, 1])
    logits = certain(labels, 0.9) * np.float32(decider.temperature)
    features = directions(labels, spread=0.0)
    features[2] *= -1
    decisions = decider.decide(logits, features)
    assert [decision.verdict for decision in decisions] == ["defect", "pass", "unsure"]
    assert [decision.unknown for decision in decisions] == [False, False, True]
    assert decisions[0] == decider.decide(logits[:1], features[:1])[0]


def test_a_model_from_before_textures_judges_by_the_pooled_features_alone() -> None:
    decider = decider_of(evidence_of(held_out(700)))
    labels = np.array([0, NORMAL, 1])
    logits = certain(labels, 0.9) * np.float32(decider.temperature)
    features = directions(labels, spread=0.0)
    behind = np.random.default_rng(1).random((3, TEXTURE), np.float32)
    assert decider.decide(logits, np.hstack([features, behind])) == decider.decide(logits, features)


# Evidence


def test_evidence_comes_back_from_its_file_as_it_was() -> None:
    evidence = evidence_of(held_out(50))
    again = Evidence.from_arrays(evidence.arrays())
    for name in ("reference", "logits", "novelty", "labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(evidence, name))
    assert decider_of(again).novelty_threshold == decider_of(evidence).novelty_threshold
    own = np.arange(150) % 2 == 0
    again = Evidence.from_arrays(replace(evidence, own=own).arrays())
    np.testing.assert_array_equal(again.is_own, own)


def test_evidence_that_lacks_an_array_names_it() -> None:
    arrays = evidence_of(held_out(5)).arrays()
    del arrays["novelty"]
    with pytest.raises(KeyError, match="novelty"):
        Evidence.from_arrays(arrays)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": np.array([], dtype=np.int64)},
        {"labels": np.array([0, 1, 3])},
        {"labels": np.array([0, 1, -1])},
        {"labels": np.array([0, 1])},
        {"novelty": np.zeros(4, np.float32)},
        {"novelty": np.array([0, np.nan, 0], np.float32)},
        {"logits": np.zeros((2, 3), np.float32)},
        {"logits": np.zeros(3, np.float32)},
        {"logits": np.full((3, 3), np.inf, np.float32)},
        {"reference": np.zeros((0, FEATURES), np.float32)},
        {"reference": np.full((4, FEATURES), np.nan, np.float32)},
        {"own": np.array([True, False])},
        {"own": np.array([0, 1, 1])},
    ],
)
def test_evidence_from_which_no_threshold_follows_is_refused(
    change: dict[str, NDArray[np.generic]],
) -> None:
    labels = np.array([0, 1, 2])
    arrays = evidence_of(labels).arrays()
    Evidence.from_arrays(arrays)
    with pytest.raises(ValueError, match=r"do not belong together|holds what is no number"):
        Evidence.from_arrays({**arrays, **change})
