"""Where the gate's margins lie, and what holds of any candidate."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruled import CANDIDATE, CURRENT, GOOD, NEW, RULES, row, suspects, with_candidate

from daemon.retraining.gate import Outcome, Rules, decide
from models.figures import ClassFigures, ModelFigures, RunFigures
from models.taxonomy import KNOWN_DEFECTS, NO_DEFECT

SEVERITY = {Outcome.PROMOTE: 0, Outcome.NEEDS_A_PERSON: 1, Outcome.REJECT: 2}


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
    return replace(GOOD, suspects=suspects(images), fitted={NO_DEFECT: 120, NEW: 5})


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
