from dataclasses import replace

import numpy as np
import pytest

from models.decision import Decision
from models.taxonomy import Reason, Verdict
from training.model_folder.parity import Judged, compare

CLASSES = ("crazing", "no_defect")
NUMBER = 2000
LABELS = np.arange(NUMBER) % 2


def judged(labels: np.ndarray, verdicts: dict[int, Verdict] | None = None) -> Judged:
    """Every image is given the class of `labels`, at a confidence of 0.99."""
    logits = np.where(np.eye(2)[labels] > 0, np.log(99.0), 0.0).astype(np.float32)
    decisions = [
        Decision(
            verdict=Verdict.DEFECT if label == 0 else Verdict.PASS,
            reason=Reason.CONFIDENT,
            predicted_class=CLASSES[label],
            confidence=0.99,
            novelty=0.0,
        )
        for label in labels
    ]
    for index, verdict in (verdicts or {}).items():
        decisions[index] = replace(decisions[index], verdict=verdict)
    return Judged(logits=logits, temperature=1.0, decisions=decisions)


def with_flipped(count: int, labels: np.ndarray = LABELS) -> np.ndarray:
    """So many of the second class called the first."""
    flipped = labels.copy()
    flipped[np.flatnonzero(labels == 1)[:count]] = 0
    return flipped


def refusals(trained: Judged, exported: Judged, labels: np.ndarray = LABELS) -> tuple[str, ...]:
    return compare(trained, exported, labels, CLASSES).refusals


def test_the_same_outputs_agree() -> None:
    parity = compare(judged(LABELS), judged(LABELS), LABELS, CLASSES)
    assert parity.holds
    assert (parity.classes_changed, parity.verdicts_changed, parity.defects_passed) == (0, 0, 0)
    assert parity.accuracies == (1.0, 1.0)


def test_one_defect_that_would_pass_is_refused() -> None:
    said = refusals(judged(LABELS), judged(LABELS, {0: Verdict.PASS}))
    assert said == (f"1 of {NUMBER} images that were a defect would pass",)


def test_a_defect_that_becomes_unsure_and_an_unsure_one_that_passes_are_not_refused() -> None:
    trained = judged(LABELS, {2: Verdict.UNSURE})
    assert refusals(trained, judged(LABELS, {0: Verdict.UNSURE, 2: Verdict.PASS})) == ()


@pytest.mark.parametrize(("count", "refused"), [(10, False), (11, True)])
def test_more_than_one_image_in_two_hundred_of_another_class_is_refused(
    count: int, *, refused: bool
) -> None:
    # Right where the trained network was wrong: accuracy and calibration do not suffer.
    wrong = with_flipped(count)
    said = refusals(judged(wrong, {}), judged(LABELS, dict.fromkeys(range(NUMBER), Verdict.UNSURE)))
    assert bool(said) is refused
    if refused:
        assert said == (f"11 of {NUMBER} images get another class, one or 0.5 % being allowed",)


@pytest.mark.parametrize(("count", "refused"), [(2, False), (3, True)])
def test_a_fall_of_accuracy_by_more_than_one_in_a_thousand_is_refused(
    count: int, *, refused: bool
) -> None:
    said = refusals(judged(LABELS), judged(with_flipped(count)))
    assert bool(said) is refused
    if refused:
        assert said == (f"3 more of {NUMBER} images are wrong, one or 0.1 % being allowed",)


def test_of_few_images_one_may_change_its_class_and_be_wrong_and_two_may_not() -> None:
    few = LABELS[:20]
    assert refusals(judged(few), judged(with_flipped(1, few)), few) == ()
    assert len(refusals(judged(few), judged(with_flipped(2, few)), few)) == 2


def test_a_calibration_that_gets_worse_is_refused() -> None:
    exported = replace(judged(LABELS), temperature=1.3)  # says 0.97 where all is right
    (said,) = refusals(judged(LABELS), exported)
    assert said.startswith("the calibration error rises by 0.0")
