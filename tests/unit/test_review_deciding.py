"""What the review folder says of one image, case by case."""

from dataclasses import replace
from pathlib import Path

import pytest

from daemon.review.deciding import Deed, Places, decide
from daemon.store.review_files import Known, Problem
from daemon.values import Progress
from models.taxonomy import NAMED_CLASSES, Verdict

PLACES = Places.of(Path("/review"), (*NAMED_CLASSES, "edge crack"))
FIRST = Path("/review/to_check/scratches/a__1__b.jpg")
ELSEWHERE = Path("/state/archive/top-1/a.jpg")
PATCHES = Path("/review/labelled/patches/a.jpg")
CRAZING = Path("/review/labelled/crazing/a.jpg")
MINE = Path("/review/to_check/mine/a.jpg")
STRAY = Path("/review/labelled/a.jpg")
IMAGE = Known(
    id=1,
    sha256="0" * 64,
    size=1,
    mtime_ns=1,
    verdict=Verdict.UNSURE,
    progress=Progress.MOVED,
    path=FIRST,
    target=FIRST,
    label=None,
    label_id=0,
    on_its_way=False,
)
LABELLED = replace(IMAGE, path=PATCHES, label="patches", label_id=7)
PAGE_LABELLED = replace(LABELLED, path=FIRST)
ARCHIVED = replace(IMAGE, path=ELSEWHERE, verdict=Verdict.PASS)

CASES = {
    "it lies where it was sent": (IMAGE, {FIRST}, Deed.NOTHING, FIRST, {}),
    "moved into a class": (IMAGE, {PATCHES}, Deed.LABEL, PATCHES, {}),
    "copied into a class": (IMAGE, {FIRST, PATCHES}, Deed.LABEL, PATCHES, {}),
    "moved within to_check": (IMAGE, {MINE}, Deed.FOLLOW, MINE, {}),
    "labelled, and there": (LABELLED, {PATCHES}, Deed.NOTHING, PATCHES, {}),
    "moved to another class": (LABELLED, {CRAZING}, Deed.LABEL, CRAZING, {}),
    "moved back": (LABELLED, {MINE}, Deed.UNDO, MINE, {}),
    "copied back": (LABELLED, {PATCHES, MINE}, Deed.NOTHING, PATCHES, {MINE: Problem.TWIN}),
    "under two labels": (
        LABELLED,
        {PATCHES, CRAZING},
        Deed.NOTHING,
        PATCHES,
        {PATCHES: Problem.CONTRADICTION, CRAZING: Problem.CONTRADICTION},
    ),
    "copied under two labels": (
        IMAGE,
        {FIRST, MINE, PATCHES, CRAZING},
        Deed.NOTHING,
        FIRST,
        {
            PATCHES: Problem.CONTRADICTION,
            CRAZING: Problem.CONTRADICTION,
            MINE: Problem.COPY,
        },
    ),
    "in no class": (IMAGE, {STRAY}, Deed.FOLLOW, STRAY, {STRAY: Problem.MISPLACED}),
    "labelled on the page, not yet brought": (PAGE_LABELLED, {FIRST}, Deed.BRING, FIRST, {}),
    "labelled, and its twin is still there": (
        PAGE_LABELLED,
        {FIRST, PATCHES},
        Deed.BRING,
        PATCHES,
        {},
    ),
    "gone": (IMAGE, set(), Deed.NOTHING, None, {FIRST: Problem.MISSING}),
    "a second copy": (IMAGE, {FIRST, MINE}, Deed.NOTHING, FIRST, {MINE: Problem.COPY}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_follows(case: str) -> None:
    image, files, deed, at, problems = CASES[case]
    ruling = decide(image, files, PLACES, elsewhere=False)
    assert (ruling.deed, ruling.at) == (deed, at)
    assert {path: problem for path, (problem, _) in ruling.problems.items()} == problems


def test_what_lies_in_a_folder_whose_name_is_too_long_is_told_which_names_a_class_can_have() -> (
    None
):
    place = Path("/review/labelled") / ("x" * 65) / "a.jpg"
    problem, told = decide(IMAGE, {place}, PLACES, elsewhere=False).problems[place]
    assert problem is Problem.MISPLACED
    assert "at most 64 letters" in told


def test_an_archived_image_is_labelled_by_a_copy_and_by_nothing_else() -> None:
    assert decide(ARCHIVED, {PATCHES}, PLACES, elsewhere=True).deed is Deed.LABEL
    aside = decide(ARCHIVED, {MINE}, PLACES, elsewhere=True)
    assert aside.deed is Deed.NOTHING
    assert aside.problems[MINE][0] is Problem.COPY
    assert decide(ARCHIVED, {MINE}, PLACES, elsewhere=False).deed is Deed.FOLLOW
    assert decide(ARCHIVED, set(), PLACES, elsewhere=False).problems == {}


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/review/labelled/patches/a.jpg", "patches"),
        ("/review/labelled/patches/shift 2/a.jpg", "patches"),
        ("/review/labelled/patches/Patches/2026-03-01/a.jpg", "patches"),
        ("/review/labelled/patches/crazing/2026-03-01/a.jpg", None),
        ("/review/labelled/patches/to_check/Rolled in scale/a.jpg", None),
        ("/review/labelled/patches/edge crack/a.jpg", None),
        ("/review/labelled/patches/Unknown/2026-03-01/a.jpg", None),
        ("/review/labelled/patches/labelled/a.jpg", None),
        ("/review/labelled/Edge_Crack/a.jpg", "edge crack"),
        ("/review/labelled/a.jpg", None),
        ("/review/labelled/unknown/a.jpg", None),
        ("/review/labelled/Rolled in scale/a.jpg", "rolled-in_scale"),
        ("/review/labelled/No defect/a.jpg", "no_defect"),
        ("/review/labelled/to_check/scratches/a.jpg", None),
        ("/review/labelled/labelled/scratches/a.jpg", None),
        ("/review/labelled/2026-03-01/a.jpg", None),
        ("/review/labelled/ space /a.jpg", None),
        (f"/review/labelled/{'x' * 65}/a.jpg", None),
        ("/review/labelled/\udcff/a.jpg", "\\xff"),
        ("/review/to_check/patches/a.jpg", None),
    ],
)
def test_which_label_a_place_says(path: str, label: str | None) -> None:
    assert PLACES.class_of(Path(path)) == label
