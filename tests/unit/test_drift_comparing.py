"""Which days of a camera are told of as unlike the days before them."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from config.oversight import Drift
from daemon.drift.comparing import T_BY_DAYS, compare
from daemon.store.days import CameraDay

RULES = Drift(
    min_images=200,
    max_brightness_change=15.0,
    max_sharpness_change=0.2,
    max_novelty_change=0.2,
    max_mix_change=0.2,
)


def day(number: int, **fields: Any) -> CameraDay:
    values: dict[str, Any] = {
        "camera": "top-1",
        "day": (date(2026, 1, 1) + timedelta(days=number)).isoformat(),
        "model_version": "m1",
        "side": 200,
        "images": 1000,
        "unknown": 10,
        "brightness": 120.0 + number % 3,
        "sharpness": 0.30 + 0.01 * (number % 2),
        "novelty": 0.40 + 0.01 * (number % 4),
        "classes": Counter(no_defect=800 + number % 3, scratches=200 - number % 3),
    }
    return CameraDay(**(values | fields))


def told(days: Sequence[CameraDay], *, matured: bool = False, **fields: Any) -> dict[str, str]:
    values: dict[str, Any] = {"version": "m1", "side": 200, "not_before": days[-1].day}
    values["not_after"] = days[-1].day
    shifts = compare(days, RULES, matured=matured, **(values | fields))
    return {shift.figure: shift.what for shift in shifts}


def usual(count: int) -> list[CameraDay]:
    return [day(number) for number in range(count)]


def test_days_like_those_before_them_are_not_told() -> None:
    for count in (1, 5, 6, 7, 20, 40):
        assert told(usual(count), matured=True) == {}


@pytest.mark.parametrize(
    ("changed", "figure", "words"),
    [
        ({"brightness": 61.0}, "brightness", "darker than it was: brightness 61 of 255"),
        ({"brightness": 190.0}, "brightness", "brighter than it was: brightness 190 of 255"),
        ({"sharpness": 0.1}, "sharpness", "less sharp than it was: sharpness 0.10"),
        ({"sharpness": 0.6}, "sharpness", "noisier or sharper"),
        ({"novelty": 0.8, "unknown": 380}, "novelty", "38 % is unknown to it"),
        (
            {"classes": Counter(no_defect=380, scratches=620)},
            "mix",
            "62 % scratches on 2026-01-15, before that 20 % (14 days from 2026-01-01 to 2026-01-14)",
        ),
        ({"classes": Counter(no_defect=500, scratches=200, rust=300)}, "mix", "30 % rust"),
    ],
)
def test_what_changed_is_told_with_the_camera_the_figure_and_by_how_much(
    changed: dict[str, Any], figure: str, words: str
) -> None:
    (only,) = told([*usual(14), day(14, **changed)]).items()
    assert only[0] == figure
    assert "camera top-1" in only[1]
    assert words in only[1]
    assert only[1].endswith("`millwatch drift accept top-1`")


@pytest.mark.parametrize(
    "changed",
    [
        {"brightness": 132.0},
        {"sharpness": 0.33},
        {"novelty": 0.2},  # what looks more like what was learned is no trouble
        {"classes": Counter(no_defect=700, scratches=300)},
        {"brightness": 10.0, "images": 199},
    ],
)
def test_a_small_change_and_a_day_of_few_images_are_not_told(changed: dict[str, Any]) -> None:
    assert told([*usual(14), day(14, **changed)]) == {}


def test_before_there_are_five_days_to_compare_with_nothing_is_told() -> None:
    assert told([*usual(4), day(4, brightness=10.0)]) == {}
    assert "brightness" in told([*usual(5), day(5, brightness=10.0)])


def test_a_lamp_that_dims_by_one_grey_level_a_day_is_told_in_the_end() -> None:
    days = [day(number, brightness=150.0 - number) for number in range(60)]
    first = next(count for count in range(2, 61) if "brightness" in told(days[:count]))
    assert 15 < first <= 35
    assert "darker" in told(days[:60])["brightness"]


def test_where_days_differ_among_each_other_hardly_one_in_a_hundred_is_told() -> None:
    random = np.random.default_rng(7)
    alarms, trials = 0, 1500
    for _ in range(trials):
        count = int(random.integers(5, 20))
        days = [day(each, brightness=random.normal(120, 25)) for each in range(count + 1)]
        alarms += "brightness" in told(days)
    # 0.27 % are expected, by the exact interval of 14 days or fewer.
    assert 0 < alarms < 0.008 * trials


def test_a_new_model_starts_its_own_days_of_novelty_and_classes() -> None:
    after = {
        "model_version": "m2",
        "novelty": 3.0,
        "unknown": 900,
        "classes": Counter(no_defect=100, rust=900),
    }
    days = [*usual(14), day(14, **after)]
    assert told(days, version="m2") == {}
    days += [day(number, **after) for number in range(15, 20)]
    assert told(days, version="m2") == {}
    days.append(day(20, model_version="m2"))
    assert told(days, version="m2").keys() == {"mix"}


def test_a_lamp_that_fails_as_a_model_is_promoted_is_told_all_the_same() -> None:
    halves = [
        day(14, images=500, brightness=60.0),
        day(14, images=500, brightness=70.0, model_version="m2"),
    ]
    shifts = told([*usual(14), *halves], version="m2")
    assert "brightness 65 of 255" in shifts["brightness"]


def test_sharpness_is_not_compared_with_pictures_of_another_size() -> None:
    days = [*usual(14), day(14, model_version="m2", side=320, sharpness=0.1)]
    assert told(days, version="m2", side=320) == {}


def test_of_a_mature_model_the_held_out_images_are_a_reference_from_its_first_day() -> None:
    days = [day(0, unknown=150)]
    assert told(days, matured=False) == {}
    assert "of its held-out images one in a hundred" in told(days, matured=True)["novelty"]
    assert told([day(0, unknown=110)], matured=True) == {}, "too few to be sure"


def test_a_day_that_is_long_over_is_not_told() -> None:
    days = [*usual(14), day(14, brightness=10.0)]
    assert told(days, not_before="2026-01-16") == {}


def test_the_table_of_students_t_leaves_out_27_of_10000() -> None:
    for count, reach in T_BY_DAYS.items():
        freedom = count - 1
        at = np.linspace(0, reach, 20001)
        scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2)
        density = (
            scale / math.sqrt(freedom * math.pi) * (1 + at**2 / freedom) ** -((freedom + 1) / 2)
        )
        inside = 2 * float(np.trapezoid(density, at))
        assert 1 - inside == pytest.approx(0.0027, rel=0.01)


@pytest.mark.fault(26)
def test_a_day_in_the_future_is_not_the_cameras_latest() -> None:
    """Of a camera whose clock was ahead once: its days would never be compared again."""
    days = [*usual(14), day(14, brightness=61.0), day(9999)]
    today = day(14).day
    assert told(days, not_before=today, not_after=today).keys() == {"brightness"}
    assert told([*usual(15), day(9999, brightness=61.0)], not_after=today) == {}
