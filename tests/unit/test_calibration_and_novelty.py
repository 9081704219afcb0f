from dataclasses import replace

import numpy as np
import pytest
from evidence import (
    CLASSES,
    FEATURES,
    POLICY,
    certain,
    decider_of,
    directions,
    evidence_of,
    held_out,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.binomial import upper_bound
from models.calibration import fit_temperature, softmax
from models.decision import KNOWN_CALLED_UNKNOWN, KNOWN_CALLED_UNSURE
from models.evidence import Evidence, collect_evidence
from models.novelty import (
    POOLED,
    TEXTURE,
    KnownImages,
    distances_to_classes,
    exceeded_by,
    novelty_of,
    texture_of,
)
from models.taxonomy import Reason, Verdict

# Calibration


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_calibration_recovers_a_temperature_that_is_known(temperature: float) -> None:
    random = np.random.default_rng(4)
    true_logits = random.normal(0, 2, (8000, 5))
    noise = random.gumbel(size=true_logits.shape)
    labels = (true_logits + noise).argmax(axis=1)  # drawn from softmax(true_logits)
    seen = (true_logits * temperature).astype(np.float32)
    assert fit_temperature(seen, labels) == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_makes_the_held_out_labels_likelier() -> None:
    random = np.random.default_rng(7)
    labels = random.integers(3, size=200)
    logits = (3 * np.eye(3)[labels] + random.normal(0, 2, (200, 3))).astype(np.float32)

    top = np.sort(logits, axis=1)[:, ::-1]
    least = logits[(top[:, 0] - top[:, 1]).argmin()]
    first, second = np.argsort(least)[::-1][:2]
    counted = np.vstack([logits, least, least])
    said = np.concatenate([labels, [first, second]])

    def loss(temperature: float) -> float:
        return float(-np.log(softmax(counted / temperature)[np.arange(202), said]).mean())

    best = loss(fit_temperature(logits, labels))
    assert all(best <= loss(other) + 1e-6 for other in np.geomspace(0.2, 20, 200))


def test_held_out_images_without_a_mistake_do_not_prove_certainty() -> None:
    labels = np.arange(60) % 3
    logits = (5 * np.eye(3)[labels]).astype(np.float32)
    confidence = softmax(logits / fit_temperature(logits, labels)).max(axis=1)
    assert confidence == pytest.approx(61 / 62, abs=1e-3)


def test_enormous_logits_still_give_probabilities() -> None:
    probabilities = softmax(np.array([[1e4, -1e4, 0.0], [-1e30, 0.0, 1e30]], dtype=np.float32))
    np.testing.assert_allclose(probabilities, [[1, 0, 0], [0, 0, 1]])


# Novelty


def test_the_doubt_is_where_the_least_certain_image_is() -> None:
    """An image that was nearly a mistake says more than the many that were far from one."""
    labels = np.arange(60) % 3
    sure = (5 * np.eye(3)[labels]).astype(np.float32)
    nearly = sure.copy()
    nearly[0] = (1.0, 0.8, 0.0)
    assert fit_temperature(nearly, labels) < 0.5 * fit_temperature(sure, labels)
    assert softmax(nearly / fit_temperature(nearly, labels))[0, 0] < 0.8


def test_novelty_is_the_mean_distance_to_the_five_nearest_in_mean_lengths() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(6, FEATURES)).astype(np.float32)
    reference = random.normal(size=(40, FEATURES)).astype(np.float32)
    length = np.mean([np.linalg.norm(r) for r in reference])
    expected = [
        np.mean(sorted(np.linalg.norm(f - r) for r in reference)[:5]) / length for f in features
    ]
    np.testing.assert_allclose(novelty_of(features, reference), expected, rtol=1e-5)


def test_novelty_is_the_same_at_every_scale_and_sees_that_a_feature_is_weak() -> None:
    known = directions(np.arange(30) % 3, seed=1)
    strange = directions(np.arange(3), seed=2)
    novelty = novelty_of(strange, known)
    np.testing.assert_allclose(novelty_of(100 * strange, 100 * known), novelty, rtol=1e-4)
    assert (novelty_of(strange * np.float32(0.2), known) > 2 * novelty).all()


@pytest.mark.parametrize("fitted", [1, 4, 5])
def test_novelty_needs_no_more_than_one_fitted_image(fitted: int) -> None:
    reference = directions(np.zeros(fitted, dtype=np.int64), spread=0.0)
    novelty = novelty_of(directions(np.array([0, 1]), spread=0.0), reference)
    np.testing.assert_allclose(novelty, [0, np.sqrt(2)], atol=0.03)


def test_novelty_is_measured_on_textures_and_distance_to_a_class_on_pooled_features() -> None:
    random = np.random.default_rng(4)
    features, reference = (
        random.random((count, POOLED + TEXTURE), np.float32) for count in (5, 30)
    )
    labels = np.arange(30) % 2
    np.testing.assert_array_equal(
        novelty_of(features, reference), novelty_of(features[:, POOLED:], reference[:, POOLED:])
    )
    np.testing.assert_array_equal(
        distances_to_classes(features, reference, labels, classes=2),
        distances_to_classes(features[:, :POOLED], reference[:, :POOLED], labels, classes=2),
    )


def test_a_picture_without_features_is_new_and_no_error() -> None:
    reference = directions(np.zeros(3, dtype=np.int64), spread=0.0)
    nothing = np.zeros((1, FEATURES), np.float32)
    np.testing.assert_allclose(novelty_of(nothing, reference), [1.0], rtol=1e-6)


@settings(max_examples=60)
@given(images=st.integers(1, 700), seed=st.integers(0, 10_000))
@pytest.mark.parametrize("share", [KNOWN_CALLED_UNKNOWN, KNOWN_CALLED_UNSURE])
def test_a_new_image_is_called_new_as_often_as_was_said_and_no_more(
    share: float, images: int, seed: int
) -> None:
    """Any of n + 1 images may be the new one, held against a threshold from the others."""
    random = np.random.default_rng(seed)
    # Rounded, so that equal values are among them.
    novelty = random.gamma(2, 0.1, images + 1).round(2).astype(np.float32)
    called = sum(
        bool(each > exceeded_by(np.delete(novelty, index), share))
        for index, each in enumerate(novelty)
    )
    # With too few to tell, the greatest of them is the threshold.
    assert called <= max(1, share * (images + 1))


@pytest.mark.parametrize(("images", "exceeding"), [(1, 0), (298, 0), (472, 0), (473, 1), (700, 2)])
def test_no_lower_threshold_would_call_so_few_known_images_unknown(
    images: int, exceeding: int
) -> None:
    novelty = np.random.default_rng(1).permutation(images).astype(np.float32)
    threshold = exceeded_by(novelty, KNOWN_CALLED_UNKNOWN)
    assert (novelty > threshold).sum() == exceeding
    assert images < 299 or upper_bound(exceeding, images) <= KNOWN_CALLED_UNKNOWN
    # One more would exceed the next value, and new images then perhaps too often.
    assert upper_bound(exceeding + 1, images) > KNOWN_CALLED_UNKNOWN


def textured(labels: NDArray[np.int64], *, seed: int) -> NDArray[np.float32]:
    """Features whose textures lie around one for each class."""
    random = np.random.default_rng(seed)
    centres = np.eye(TEXTURE, dtype=np.float32)[labels]
    # Some much farther than others, as pictures are.
    reach = 0.3 / 16 * np.exp(random.normal(0, 0.4, (len(labels), 1)))
    texture = centres + reach * random.normal(size=centres.shape)
    return np.hstack([np.zeros((len(labels), POOLED)), texture]).astype(np.float32)


def known(*, fitted: NDArray[np.float32], held_out: int) -> Evidence:
    labels = np.arange(held_out) % 3
    return collect_evidence(
        fitted_features=fitted,
        features=textured(labels, seed=2),
        logits=certain(labels),
        labels=labels,
    )


def test_each_fitted_image_is_held_against_all_the_others() -> None:
    features = textured(np.arange(30) % 3, seed=1)
    reference = features.astype(np.float16).astype(np.float32)
    among = KnownImages(texture_of(reference)).novelty_among_themselves()
    for index in (0, 7, 29):
        without = np.delete(reference, index, axis=0)
        scale = np.linalg.norm(texture_of(reference), axis=1).mean()
        theirs = np.linalg.norm(texture_of(without), axis=1).mean()
        (alone,) = novelty_of(reference[[index]], without)
        assert among[index] == pytest.approx(alone * theirs / scale, rel=1e-5)


def test_fitted_images_say_where_the_limit_of_the_known_lies_as_held_out_ones_do() -> None:
    evidence = known(fitted=textured(np.arange(900) % 3, seed=1), held_out=250)
    threshold = decider_of(evidence).novelty_threshold
    assert threshold < evidence.novelty.max(), "250 alone set no limit below their greatest"
    new = novelty_of(textured(np.arange(6000) % 3, seed=9), evidence.reference)
    assert 0.002 < (new > threshold).mean() <= KNOWN_CALLED_UNKNOWN


def test_near_copies_among_the_fitted_do_not_set_the_limit() -> None:
    labels = np.arange(150) % 3
    once = textured(labels, seed=1)
    evidence = known(fitted=np.repeat(once, 6, axis=0), held_out=120)
    assert decider_of(evidence).novelty_threshold == evidence.novelty.max()


def test_fitted_images_of_a_line_do_not_set_the_limit() -> None:
    fitted = textured(np.arange(900) % 3, seed=1)
    labels = np.arange(120) % 3
    evidence = collect_evidence(
        fitted_features=fitted,
        features=textured(labels, seed=2),
        logits=certain(labels),
        labels=labels,
        fitted_labels=np.arange(900) % 3,
    )
    assert decider_of(evidence).novelty_threshold == evidence.novelty.max()


def test_a_decider_takes_both_novelty_thresholds_from_its_evidence() -> None:
    evidence = evidence_of(held_out(400))
    decider = decider_of(evidence)
    assert decider.novelty_threshold == exceeded_by(evidence.novelty, KNOWN_CALLED_UNKNOWN)
    assert decider.familiar_threshold == exceeded_by(evidence.novelty, KNOWN_CALLED_UNSURE)
    assert decider.familiar_threshold < decider.novelty_threshold


@pytest.mark.parametrize("label", range(3))
def test_a_picture_unlike_any_other_is_unknown_however_sure_the_network_is(label: int) -> None:
    decider = decider_of(evidence_of(held_out(700)))
    far = -directions(np.array([label]))
    (decision,) = decider.decide(certain(np.array([label]), 0.99999) * 50, far)
    assert (decision.verdict, decision.reason) == (Verdict.UNSURE, Reason.UNKNOWN)
    assert decision.unknown
    assert decision.predicted_class == CLASSES[label]
    assert decision.novelty > decider.novelty_threshold


def test_while_commissioning_only_what_looks_much_like_a_known_defect_is_called_one() -> None:
    labels = held_out(400, 0)
    evidence = evidence_of(labels)
    features, logits = directions(labels, seed=2), certain(labels, 0.99999) * 9
    no_normal = replace(POLICY, normal_classes=())
    commissioning = decider_of(evidence, no_normal).decide(logits, features)
    less_familiar = [d for d in commissioning if d.reason is Reason.COMMISSIONING]
    called_defect = [d for d in commissioning if d.verdict is Verdict.DEFECT]
    assert len(less_familiar) + sum(d.unknown for d in commissioning) > 0
    assert (
        len(commissioning) - len(called_defect) == 29
    )  # of 400: of new ones at most one in ten, at 95 %
    assert all(d.verdict is Verdict.UNSURE for d in less_familiar)
    assert min(d.novelty for d in less_familiar) > max(d.novelty for d in called_defect)
    # Once a clean surface is known, the same pictures are defects.
    commissioned = decider_of(evidence).decide(logits, features)
    assert sum(d.verdict is Verdict.DEFECT for d in commissioned) > len(called_defect)
