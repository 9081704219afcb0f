from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruled import CANDIDATE, CURRENT, GOOD, NEW, REFERENCE, row

from daemon.retraining.gate import Outcome, Rules, Ruling, decide
from models.figures import ClassFigures, ModelFigures, RunFigures, Suspect
from models.taxonomy import KNOWN_DEFECTS, NO_DEFECT

RULES = Rules(max_missed_defect_rate=0.005)
SEVERITY = {Outcome.PROMOTE: 0, Outcome.NEEDS_A_PERSON: 1, Outcome.REJECT: 2}


def with_candidate(**fields: object) -> RunFigures:
    return replace(GOOD, candidate=replace(CANDIDATE, **fields))  # type: ignore[arg-type]


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
    suspects = tuple(
        Suspect(path=f"{n}.jpg", image_id=n, label=NO_DEFECT, suggested=NEW, confidence=0.9)
        for n in range(20)
    )
    doubted = {NEW: 0.3} if told_by_training else {}
    said = decide(replace(GOOD, suspects=suspects, doubted=doubted), RULES)
    assert said.outcome is Outcome.NEEDS_A_PERSON
    assert f"of what looks like {NEW} carries another label (no_defect)" in said.reason


def test_what_is_rejected_says_as_well_which_labels_contradict_each_other() -> None:
    broken = replace(with_candidate(finite=False), doubted={NEW: 0.3})
    said = decide(broken, RULES)
    assert said.outcome is Outcome.REJECT
    assert said.reasons[0] == "some of its outputs are no numbers"
    assert f"30 % of what looks like {NEW} carries another label" in said.reason


def of_line(*, held_out: ClassFigures, crossvalidated: ClassFigures | None = None) -> RunFigures:
    """A candidate that is good, but for what is measured of this line's one defect."""
    return with_candidate(
        held_out={NO_DEFECT: row(30, passed=30), NEW: held_out},
        crossvalidated={NEW: crossvalidated or row(70)},
    )


def elsewhere_better(before: ClassFigures, after: ClassFigures) -> RunFigures:
    """Both know this line's defect; the candidate lets sound images pass as well."""
    current = replace(
        CURRENT, classes=CANDIDATE.classes, held_out={NO_DEFECT: row(30, right=0), NEW: before}
    )
    return replace(of_line(held_out=after), current=current)


def with_reference(each: int, **crazing: int) -> RunFigures:
    before = dict.fromkeys(KNOWN_DEFECTS, row(each))
    return replace(
        with_candidate(reference={**before, "crazing": row(each, **crazing)}),
        current=replace(CURRENT, reference=before),
    )


def suspected(images: int) -> RunFigures:
    suspects = tuple(
        Suspect(path=f"{n}.jpg", image_id=n, label=NO_DEFECT, suggested=NEW, confidence=0.9)
        for n in range(images)
    )
    return replace(GOOD, suspects=suspects, fitted={NO_DEFECT: 120, NEW: 5})


REJECT, PERSON = Outcome.REJECT, Outcome.NEEDS_A_PERSON
FIVE_PERCENT = Rules(max_missed_defect_rate=0.05)


@pytest.mark.parametrize(
    ("within", "beyond", "outcome", "rules"),
    [
        (
            with_candidate(calibration_error=0.10),
            with_candidate(calibration_error=0.101),
            REJECT,
            RULES,
        ),
        (
            with_candidate(milliseconds_per_image=10.0),
            with_candidate(milliseconds_per_image=10.1),
            PERSON,
            RULES,
        ),
        (with_reference(12, right=11), with_reference(12, right=10), REJECT, RULES),
        (with_reference(200, right=194), with_reference(200, right=193), REJECT, RULES),
        (with_reference(12), with_reference(12, passed=1), REJECT, RULES),
        (with_reference(200, passed=12), with_reference(200, passed=13), REJECT, RULES),
        (
            elsewhere_better(row(20), row(20, right=18)),
            elsewhere_better(row(20), row(20, right=17)),
            PERSON,
            RULES,
        ),
        (
            elsewhere_better(row(100), row(100, right=95)),
            elsewhere_better(row(100), row(100, right=94)),
            PERSON,
            RULES,
        ),
        (replace(GOOD, doubted={NEW: 0.15}), replace(GOOD, doubted={NEW: 0.16}), PERSON, RULES),
        (suspected(2), suspected(3), PERSON, RULES),
        (
            of_line(held_out=row(4), crossvalidated=row(10)),
            of_line(held_out=row(4), crossvalidated=row(9)),
            PERSON,
            RULES,
        ),
        (
            with_candidate(held_out={NO_DEFECT: row(10, passed=10), NEW: row(10)}),
            with_candidate(held_out={NO_DEFECT: row(10, passed=10), NEW: row(9)}),
            PERSON,
            RULES,
        ),
        # Of 100, 2 are no more than 1 % only by chance; of 300, 3 are no more.
        (of_line(held_out=row(300, passed=3)), of_line(held_out=row(100, passed=2)), PERSON, RULES),
        # What the policy allows is allowed, once so many images show it: not by the share alone.
        (
            of_line(held_out=row(200, passed=4)),
            of_line(held_out=row(100, passed=2)),
            PERSON,
            FIVE_PERCENT,
        ),
    ],
    ids=[
        "calibration",
        "time",
        "reference named",
        "large reference named",
        "reference passed",
        "large reference passed",
        "named",
        "of many named",
        "doubted",
        "suspected",
        "labelled",
        "held out",
        "missed",
        "missed of the policy",
    ],
)
def test_a_margin_lies_where_it_is_said_to_lie(
    within: RunFigures, beyond: RunFigures, outcome: Outcome, rules: Rules
) -> None:
    said = decide(within, rules)
    assert said.outcome is Outcome.PROMOTE, said.reason
    assert decide(beyond, rules).outcome is outcome


def test_a_class_of_thirty_images_is_judged_by_itself_however_good_the_others_are() -> None:
    def with_misses_of(images: int, rules: Rules) -> Outcome:
        rows = {NO_DEFECT: row(30, passed=30), NEW: row(images, passed=3), "fray": row(29)}
        rows |= {f"fray {number}": row(29) for number in range(11)}
        classes = (*CANDIDATE.classes, *(name for name in rows if name.startswith("fray")))
        return decide(with_candidate(classes=classes, held_out=rows), rules).outcome

    assert with_misses_of(29, RULES) is Outcome.PROMOTE, "3 of 377, together"
    assert with_misses_of(30, RULES) is Outcome.REJECT
    assert with_misses_of(30, FIVE_PERCENT) is Outcome.REJECT, "though all together keep the policy"


def test_models_that_were_measured_on_other_reference_images_are_not_compared_by_them() -> None:
    fewer = with_candidate(reference=dict.fromkeys(KNOWN_DEFECTS, row(10)))
    assert decide(fewer, RULES).outcome is Outcome.PROMOTE
    assert decide(elsewhere_better(row(20), row(10)), RULES).outcome is Outcome.PROMOTE


@st.composite
def candidates(draw: st.DrawFn) -> ModelFigures:
    images = draw(st.integers(0, 200))
    crossed = draw(st.integers(0, 400))
    return replace(
        CANDIDATE,
        held_out={
            NO_DEFECT: row(30, passed=draw(st.integers(0, 30))),
            NEW: row(images, passed=draw(st.integers(0, images))),
        },
        crossvalidated={NEW: row(crossed, passed=draw(st.integers(0, crossed)))},
    )


@given(candidates())
def test_never_promoted_when_more_defects_pass_than_is_allowed(candidate: ModelFigures) -> None:
    said = decide(replace(GOOD, candidate=candidate), RULES)
    allowed = max(RULES.max_extra_missed, RULES.max_missed_defect_rate)
    for figures in (candidate.held_out[NEW], candidate.crossvalidated[NEW]):
        if figures.passed > allowed * figures.images:
            assert said.outcome is not Outcome.PROMOTE


@given(candidates(), st.sampled_from(["held_out", "crossvalidated"]))
def test_one_more_missed_defect_never_helps(candidate: ModelFigures, where: str) -> None:
    rows = getattr(candidate, where)
    before = rows[NEW]
    if before.passed == before.images:
        return
    more = replace(before, passed=before.passed + 1, defect=before.defect - 1)
    worse = replace(candidate, **{where: {**rows, NEW: more}})
    first, then = (decide(replace(GOOD, candidate=each), RULES) for each in (candidate, worse))
    assert SEVERITY[then.outcome] >= SEVERITY[first.outcome]


@given(candidates())
def test_every_ruling_has_a_reason(candidate: ModelFigures) -> None:
    assert decide(replace(GOOD, candidate=candidate), RULES).reason
