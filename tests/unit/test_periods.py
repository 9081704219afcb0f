"""Shifts and days of the plant, over clocks that are put forward and back."""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from daemon.reports.periods import By, Calendar, first_hour, first_not_counted

SHIFTS = (time(6), time(14), time(22))


def calendar(zone: str, *shifts: time) -> Calendar:
    return Calendar(zone=ZoneInfo(zone), shifts=shifts or SHIFTS)


def hours_of(by: By, made: Calendar, first: str, days: int) -> Counter[str]:
    """How many hours each period has, from the first moment on."""
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    hours = [first_hour(start + timedelta(hours=number)) for number in range(24 * days)]
    return Counter(made.period(by, hour) for hour in hours)


@pytest.mark.parametrize(
    ("hour", "shift", "day"),
    [
        ("2026-07-01T03:00:00Z", "2026-06-30 22:00", "2026-07-01"),  # 05:00 in Berlin
        ("2026-07-01T04:00:00Z", "2026-07-01 06:00", "2026-07-01"),
        ("2026-07-01T11:00:00Z", "2026-07-01 06:00", "2026-07-01"),
        ("2026-07-01T12:00:00Z", "2026-07-01 14:00", "2026-07-01"),
        ("2026-07-01T20:00:00Z", "2026-07-01 22:00", "2026-07-01"),
        ("2026-07-01T22:00:00Z", "2026-07-01 22:00", "2026-07-02"),
    ],
)
def test_a_night_belongs_to_the_evening_on_which_it_begins(hour: str, shift: str, day: str) -> None:
    made = calendar("Europe/Berlin")
    assert made.period(By.SHIFT, hour) == shift
    assert made.period(By.DAY, hour) == day
    assert made.period(By.HOUR, hour) == hour
    assert made.period(By.CAMERA, hour) == ""


@pytest.mark.fault(26)
def test_a_night_is_an_hour_shorter_or_longer_where_the_clock_is_changed() -> None:
    made = calendar("Europe/Berlin")
    spring = hours_of(By.SHIFT, made, "2026-03-28T05:00:00", 3)
    assert spring["2026-03-28 22:00"] == 7
    assert spring["2026-03-29 06:00"] == 8
    autumn = hours_of(By.SHIFT, made, "2026-10-24T04:00:00", 3)
    assert autumn["2026-10-24 22:00"] == 9
    assert hours_of(By.DAY, made, "2026-03-28T23:00:00", 1)["2026-03-29"] == 23
    assert hours_of(By.DAY, made, "2026-10-24T22:00:00", 2)["2026-10-25"] == 25


def test_every_hour_of_a_year_falls_to_one_shift_and_they_come_in_order() -> None:
    made = calendar("America/New_York", time(2, 30), time(14))
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    names = [
        made.period(By.SHIFT, first_hour(start + timedelta(hours=number)))
        for number in range(24 * 365)
    ]
    assert names == sorted(names)
    whole = list(Counter(names).values())[1:-1]
    assert set(whole) == {10, 11, 13, 14}


def test_where_the_zone_is_off_the_hour_it_is_said_what_happens() -> None:
    kolkata = calendar("Asia/Kolkata")
    remark = kolkata.remark(By.DAY, date(2026, 7, 1))
    assert remark is not None
    assert "00:00" in remark
    # 18:00 to 19:00 UTC is 23:30 to 00:30 there: the day that it begins in.
    assert kolkata.period(By.DAY, "2026-07-01T18:00:00Z") == "2026-07-01"
    assert kolkata.period(By.DAY, "2026-07-01T19:00:00Z") == "2026-07-02"
    assert kolkata.remark(By.HOUR, date(2026, 7, 1)) is None
    assert calendar("Europe/Berlin").remark(By.SHIFT, date(2026, 7, 1)) is None
    half = calendar("Europe/Berlin", time(5, 45), time(18)).remark(By.SHIFT, date(2026, 7, 1))
    assert half is not None
    assert "05:45" in half


def test_an_hour_is_told_by_the_plants_clock_and_apart_from_its_twin() -> None:
    made = calendar("Europe/Berlin")
    assert made.local("2026-07-01T12:00:00Z") == "2026-07-01 14:00"
    first, again = made.local("2026-10-25T00:00:00Z"), made.local("2026-10-25T01:00:00Z")
    assert first.startswith("2026-10-25 02:00")
    assert again.startswith("2026-10-25 02:00")
    assert first != again


def test_a_day_lasts_from_midnight_to_midnight_on_the_plants_clock() -> None:
    berlin = calendar("Europe/Berlin")
    assert berlin.span_of_day(date(2026, 3, 29)) == ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")
    for zone in ("Pacific/Kiritimati", "Pacific/Niue"):
        for day in (date.min, date.max):
            since, until = calendar(zone).span_of_day(day)
            assert since <= until


def test_a_camera_whose_clock_is_wild_ends_nothing() -> None:
    for zone in ("Pacific/Kiritimati", "Pacific/Niue"):
        for hour in ("1970-01-01T00:00:00Z", "9999-12-31T23:00:00Z"):
            for by in (By.SHIFT, By.DAY):
                assert calendar(zone).period(by, hour)
            assert calendar(zone).local(hour)


def test_what_is_asked_for_from_midnight_on_has_no_hour_of_the_day_before() -> None:
    kolkata = calendar("Asia/Kolkata")
    midnight = datetime(2026, 3, 19, tzinfo=kolkata.zone)  # 18:30 UTC on the 18th
    first = kolkata.first_counted(midnight)
    assert first == "2026-03-18T19:00:00Z"
    assert kolkata.period(By.DAY, first) == "2026-03-19"
    # One day ends where the next one begins: no hour is in both, none in neither.
    assert first_not_counted(midnight) == first
    off = calendar("Europe/Berlin", time(5, 45), time(17, 45))
    assert off.first_counted(datetime(2026, 3, 2, 5, 45, tzinfo=off.zone)) == "2026-03-02T05:00:00Z"


def test_an_hour_that_a_span_begins_or_ends_in_counts_whole() -> None:
    made = calendar("Europe/Berlin")
    assert made.first_counted(datetime(2026, 3, 1, 10, 30, tzinfo=UTC)) == "2026-03-01T10:00:00Z"
    assert first_not_counted(datetime(2026, 3, 1, 11, 1, tzinfo=UTC)) == "2026-03-01T12:00:00Z"
    assert first_not_counted(datetime(2026, 3, 1, 11, tzinfo=UTC)) == "2026-03-01T11:00:00Z"
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert first_not_counted(end) == "9999-12-31T23:59:59Z"
    assert calendar("UTC", time(23, 30)).first_counted(end) == "9999-12-31T23:59:59Z"
