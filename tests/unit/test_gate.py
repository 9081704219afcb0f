"""What the gate says of a candidate, and why."""

from dataclasses import replace

import pytest
from ruled import CANDIDATE, CURRENT, GOOD, NEW, REFERENCE, RULES, row, suspects, with_candidate

from daemon.retraining.gate import Outcome, Ruling, decide
from models.figures import ModelFigures, RunFigures
from models.taxonomy import KNOWN_DEFECTS, NO_DEFECT


def ruling(**fields: object) -> Ruling:
    return decide(with_candidate(**fields), RULES)


def test_a_candidate_that_knows_more_and_is_nowhere_worse_is_promoted() -> None:
    said = decide(GOOD, RULES)
    assert said.outcome is Outcome.PROMOTE
    assert f"it also knows {NEW}, {NO_DEFECT}" in said.reason
    assert "30 fewer to review" in said.reason


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"finite": False}, "no numbers"),
        ({"milliseconds_per_image": float("nan")}, "how long it takes for an image is not known"),
        ({"calibration_error": 0.2}, "calibration error 0.200"),
        (
            {"calibration_error": 0.2, "calibration_chance": 0.15},
            "calibration error 0.200, at most 0.150",
        ),
        (
            {"calibration_error": 0.20004, "calibration_chance": 0.20001},
            "calibration error 0.20004, at most 0.20001",
        ),
        ({"calibration_error": float("nan")}, "calibration error nan"),
        ({"classes": (*KNOWN_DEFECTS[1:], NEW, NO_DEFECT)}, f"no longer knows {KNOWN_DEFECTS[0]}"),
        ({"reference": {**REFERENCE, "crazing": row(12, right=9)}}, "names 3 fewer rightly"),
        ({"reference": {**REFERENCE, "patches": row(12, passed=4)}}, "lets 4 more pass"),
        ({"held_out": {NO_DEFECT: row(30, passed=30), NEW: row(15, passed=6)}}, "lets 6 pass"),
        (
            {"crossvalidated": {NO_DEFECT: row(150, passed=149), NEW: row(70, passed=8)}},
            "in cross-validation it lets 8 pass",
        ),
    ],
)
@pytest.mark.fault(34)
def test_a_candidate_that_is_worse_is_rejected_with_the_reason(
    fields: dict[str, object], why: str
) -> None:
    said = ruling(**fields)
    assert said.outcome is Outcome.REJECT
    assert why in said.reason


def test_a_calibration_error_that_so_few_images_show_of_true_confidences_is_no_reason() -> None:
    said = ruling(calibration_error=0.2, calibration_chance=0.21)
    assert said.outcome is Outcome.PROMOTE


def test_confidences_that_are_off_and_no_further_than_the_current_models_are_for_a_person() -> None:
    """It calls images of classes that it does not know by other names, and is sure of them."""
    unaware = replace(CURRENT, calibration_error=0.9)
    said = decide(replace(with_candidate(calibration_error=0.2), current=unaware), RULES)
    assert said.outcome is Outcome.NEEDS_A_PERSON
    assert "calibration error 0.200, 0.100 would do, the current model's is 0.900" in said.reason


def test_a_candidate_that_is_no_better_is_rejected() -> None:
    said = decide(replace(GOOD, candidate=replace(CURRENT, version="new")), RULES)
    assert said.outcome is Outcome.REJECT
    assert "no better" in said.reason


@pytest.mark.parametrize(
    ("figures", "what_is_missing"),
    [
        (
            with_candidate(held_out={NO_DEFECT: row(10, passed=10), NEW: row(5)}),
            "held out only 15 labelled images, 20 are needed",
        ),
        (with_candidate(reference={}), "no reference images"),
        (
            with_candidate(milliseconds_per_image=11.0),
            "it takes 11.0 ms of the processor an image, the current model 5.0 ms: promote it if",
        ),
        (
            with_candidate(
                held_out={NO_DEFECT: row(30, passed=30), NEW: row(4)}, crossvalidated={}
            ),
            "label 6 more",
        ),
        (
            with_candidate(held_out={NO_DEFECT: row(30, passed=30)}, crossvalidated={}),
            "no labelled defect of this line",
        ),
        (
            with_candidate(
                crossvalidated={NO_DEFECT: row(150, passed=149), NEW: row(70, passed=2)}
            ),
            "that may be chance",
        ),
    ],
)
@pytest.mark.fault(34)
def test_too_little_data_is_for_a_person_and_says_what_is_missing(
    figures: RunFigures, what_is_missing: str
) -> None:
    said = decide(figures, RULES)
    assert said.outcome is Outcome.NEEDS_A_PERSON
    assert what_is_missing in said.reason


KNOWS_MORE = replace(
    CURRENT,
    classes=(*KNOWN_DEFECTS, NEW, NO_DEFECT),
    held_out={NO_DEFECT: row(95, passed=95), NEW: row(20)},
)


@pytest.mark.parametrize(
    ("current", "fields", "why"),
    [
        (
            KNOWS_MORE,
            {"held_out": {NO_DEFECT: row(95, passed=0), NEW: row(20)}},
            "of 95 held-out sound images it sends 95 to review that the current model lets pass",
        ),
        (
            KNOWS_MORE,
            {"held_out": {NO_DEFECT: row(95, passed=95), NEW: row(20, right=6)}},
            f"of 20 held-out images of {NEW} it names 14 fewer rightly",
        ),
        (
            replace(KNOWS_MORE, held_out={NO_DEFECT: row(95, passed=94), NEW: row(20)}),
            {"held_out": {NO_DEFECT: row(95, passed=95, right=80), NEW: row(20)}},
            "of 115 held-out images it names 15 fewer rightly",
        ),
        (
            replace(
                CURRENT,
                reference={**REFERENCE, "crazing": row(23), "inclusion": row(23, right=13)},
            ),
            {"reference": {**REFERENCE, "crazing": row(23, right=13), "inclusion": row(23)}},
            "of 23 reference images of crazing it names 10 fewer rightly",
        ),
        (
            CURRENT,
            {"reference": {**REFERENCE, "scratches": replace(row(12), defect=1, unsure=11)}},
            "of 12 reference images of scratches it leaves 11 more unsure",
        ),
    ],
    ids=[
        "sound ones passed",
        "a class of the line",
        "all together",
        "a reference class",
        "a reference class that is named and not believed",
    ],
)
def test_what_is_better_here_and_much_worse_there_waits_for_a_person(
    current: ModelFigures, fields: dict[str, object], why: str
) -> None:
    better = replace(CANDIDATE, classes=(*CANDIDATE.classes, "fray"), **fields)  # type: ignore[arg-type]
    said = decide(replace(GOOD, current=current, candidate=better), RULES)
    assert said.outcome is Outcome.NEEDS_A_PERSON
    assert why in said.reason


def test_a_class_without_any_image_left_may_be_forgotten_which_a_person_is_asked() -> None:
    knows = replace(CURRENT, classes=(*KNOWN_DEFECTS, "fray"))
    better = replace(CANDIDATE, classes=(*CANDIDATE.classes, "fray"))
    said = decide(replace(GOOD, current=knows, candidate=better), RULES)
    assert said.outcome is Outcome.NEEDS_A_PERSON
    assert "there is no labelled image of fray any more" in said.reason


def test_one_image_is_told_as_one_and_several_as_several() -> None:
    one = {NEW: row(1)}
    said = ruling(held_out=one, crossvalidated={}, pass_threshold=None)
    assert "held out only 1 labelled image, 20 are needed" in said.reason
    assert f"{NEW} has 1 labelled image to judge it by, 10 are needed: label 9 more" in said.reason
    few = {NO_DEFECT: row(30, passed=30), NEW: row(4)}
    said = ruling(held_out=few, crossvalidated={})
    assert f"{NEW} has 4 labelled images to judge it by, 10 are needed: label 6 more" in said.reason
    said = ruling(held_out={NO_DEFECT: row(30), NEW: row(1, passed=1)}, crossvalidated={})
    assert f"of 1 held-out image of {NEW} it lets 1 pass" in said.reason


def test_what_so_few_images_cannot_show_to_be_better_is_not_called_no_better() -> None:
    few = {NO_DEFECT: row(2, right=0), NEW: row(1, right=0)}
    said = decide(
        replace(
            GOOD,
            current=replace(CURRENT, held_out=few),
            candidate=replace(CURRENT, version="new", held_out=few),
        ),
        RULES,
    )
    assert said.outcome is Outcome.NEEDS_A_PERSON
    assert "held out only 3 labelled images, 20 are needed" in said.reason


@pytest.mark.parametrize("told_by_training", [True, False])
def test_a_defect_whose_labels_are_poisoned_is_not_promoted(told_by_training: bool) -> None:
    doubted = {NEW: 0.3} if told_by_training else {}
    said = decide(replace(GOOD, suspects=suspects(20), doubted=doubted), RULES)
    assert said.outcome is Outcome.NEEDS_A_PERSON
    assert f"of what looks like {NEW} carries another label (no_defect)" in said.reason


def test_what_is_rejected_says_as_well_which_labels_contradict_each_other() -> None:
    broken = replace(with_candidate(finite=False), doubted={NEW: 0.3})
    said = decide(broken, RULES)
    assert said.outcome is Outcome.REJECT
    assert said.reasons[0] == "some of its outputs are no numbers"
    assert f"30 % of what looks like {NEW} carries another label" in said.reason
