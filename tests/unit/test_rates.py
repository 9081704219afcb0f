import itertools
from datetime import datetime, time
from zoneinfo import ZoneInfo

from records import finding, nanoseconds, record

from daemon.reports.defects import rates as report
from daemon.reports.periods import By, Calendar
from daemon.reports.report import Question
from daemon.store.database import Database
from daemon.store.rates import Rate, rates, recorded_cameras
from daemon.store.spans import Span

NUMBERS = itertools.count(1)


def capture(store: Database, moment: str, camera: str, **verdicts: int) -> None:
    """Record so many images of each verdict, captured at one moment."""
    when = nanoseconds(moment)
    for verdict, count in verdicts.items():
        images = [
            finding(next(NUMBERS), verdict.rstrip("_"), camera=camera, mtime_ns=when)
            for _ in range(count)
        ]
        record(store, *images)


def shape(lines: list[Rate]) -> list[tuple[object, ...]]:
    return [
        (
            *(line.period, line.camera, line.inspected, line.defects, line.unsure),
            *(line.unreadable, line.defect_rate),
        )
        for line in lines
    ]


def test_rates_are_told_by_hour_and_camera(store: Database) -> None:
    capture(store, "2026-03-01T10:59:59", "top-1", pass_=2, defect=1, unsure=1, unreadable=5)
    capture(store, "2026-03-01T11:00:00", "top-1", defect=1)
    capture(store, "2026-03-02T00:00:00", "top-1", pass_=4)
    capture(store, "2026-03-01T10:00:00", "bottom-1", unreadable=2)

    assert shape(rates(store, Span(), by="hour")) == [
        ("2026-03-01T10:00:00Z", "bottom-1", 0, 0, 0, 2, None),
        ("2026-03-01T10:00:00Z", "top-1", 4, 1, 1, 5, 0.25),
        ("2026-03-01T11:00:00Z", "top-1", 1, 1, 0, 0, 1.0),
        ("2026-03-02T00:00:00Z", "top-1", 4, 0, 0, 0, 0.0),
    ]
    assert shape(rates(store, Span(), by="camera")) == [
        ("", "bottom-1", 0, 0, 0, 2, None),
        ("", "top-1", 9, 2, 1, 5, 2 / 9),
    ]


def test_a_span_takes_whole_hours_from_its_first_to_before_its_end(store: Database) -> None:
    for hour in ("08", "09", "10"):
        capture(store, f"2026-03-01T{hour}:30:00", "top-1", defect=1)
    span = rates(store, Span(since="2026-03-01T09:00:00Z", until="2026-03-01T10:00:00Z"), by="hour")
    assert [line.period for line in span] == ["2026-03-01T09:00:00Z"]
    after = rates(store, Span(since="2026-03-01T09:00:01Z"), by="hour")
    assert [line.period for line in after] == ["2026-03-01T10:00:00Z"]
    until = rates(store, Span(until="2026-03-01T08:00:01Z"), by="hour")
    assert [line.period for line in until] == ["2026-03-01T08:00:00Z"]


def test_one_camera_can_be_asked_for(store: Database) -> None:
    capture(store, "2026-03-01T08:30:00", "top-1", defect=1)
    capture(store, "2026-03-01T08:30:00", "bottom-1", pass_=1)
    assert [line.camera for line in rates(store, Span(camera="bottom-1"), by="hour")] == [
        "bottom-1"
    ]
    assert rates(store, Span(camera=""), by="hour") == []
    assert recorded_cameras(store) == ["bottom-1", "top-1"]


def test_images_of_a_camera_whose_clock_is_wrong_are_counted_too(store: Database) -> None:
    record(store, finding(1, mtime_ns=-(2**64)), finding(2, mtime_ns=2**80))
    days = [line.period[:10] for line in rates(store, Span(), by="hour")]
    assert days == ["1970-01-01", "9999-12-31"]


def test_a_line_that_never_ran_has_no_rates(store: Database) -> None:
    assert rates(store, Span(), by="hour") == []


def test_a_day_is_reported_without_an_hour_of_the_day_before(store: Database) -> None:
    """Where midnight is no full hour of UTC, and day by day no image is told twice."""
    capture(store, "2026-03-18T18:10:00", "top-1", defect=1)  # 23:40 on the 18th
    capture(store, "2026-03-18T19:10:00", "top-1", pass_=3)  # 00:40 on the 19th
    plant = Calendar(zone=ZoneInfo("Asia/Kolkata"), shifts=(time(0, 0), time(12, 0)))
    midnight = datetime(2026, 3, 19, tzinfo=plant.zone)
    for by in (By.DAY, By.SHIFT, By.HOUR, By.CAMERA):
        later = report(store, Question(calendar=plant, by=by, since=midnight))
        before = report(store, Question(calendar=plant, by=by, until=midnight))
        assert [(each.inspected, each.defects) for each in later] == [(3, 0)], by
        assert [(each.inspected, each.defects) for each in before] == [(1, 1)], by
