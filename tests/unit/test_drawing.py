"""Charts as numbers on a canvas."""

import re
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from daemon.reports.drawing import control_chart, line_chart
from daemon.reports.limits import Sample, laney_chart
from daemon.reports.periods import By, Calendar, first_hour
from daemon.reports.report import Controlled, Lines, Report, section, shown
from daemon.reports.writing import as_html


@pytest.mark.parametrize(("by", "days"), [(By.HOUR, 7), (By.SHIFT, 30), (By.DAY, 1100)])
def test_each_tick_of_the_axis_of_time_tells_which_day_it_is(by: By, days: int) -> None:
    plant = Calendar(zone=ZoneInfo("Europe/Berlin"), shifts=(time(6), time(14), time(22)))
    begun = datetime(2026, 2, 28, 23, tzinfo=UTC)
    hours = [first_hour(begun + timedelta(hours=each)) for each in range(24 * days)]
    periods = sorted({plant.period(by, hour) for hour in hours})
    labels = tuple(shown(period, plant, by) for period in periods)
    chart = line_chart(Lines(labels=labels, lines=(("top-1", (0.1,) * len(labels)),)))
    texts = [tick.text for tick in chart.x_ticks]
    assert len(set(texts)) == len(texts) > 4
    assert all("-" in text for text in texts)


@pytest.mark.parametrize("hours", [2, 9, 15, 22, 29, 48, 168])
def test_the_ticks_of_the_axis_of_time_do_not_run_into_each_other(hours: int) -> None:
    labels = tuple(f"2026-10-{1 + hour // 24:02d} {hour % 24:02d}:00" for hour in range(hours))
    chart = line_chart(Lines(labels=labels, lines=(("top-1", (0.1,) * hours),)))
    wide = 80  # "10-01 22:00" in the letters of the page; the last one ends where it stands
    begins = [tick.at - (wide if tick.at > 680 else wide / 2) for tick in chart.x_ticks]
    assert len(begins) > 1
    assert all(after - before >= wide for before, after in pairwise(begins))


def test_a_rate_that_stands_alone_is_seen_and_no_two_of_twelve_cameras_are_drawn_alike() -> None:
    lines = tuple((f"camera-{number}", (0.1, None, 0.2)) for number in range(12))
    table = section("Rates", (), ())
    report = Report(
        title="Rates",
        about="all",
        sections=(),
        flat=table,
        document=[],
        drawing=Lines(labels=("a", "b", "c"), lines=lines),
    )
    html = as_html(report, by=By.DAY, made=datetime(2026, 3, 1, tzinfo=UTC))
    kinds = re.findall(r'polyline class="series ([^"]*) lone"', html)
    assert (len(kinds), len(set(kinds))) == (24, 12)
    assert len(set(re.findall(r'class="(key [^"]*)"', html))) == 12


def test_the_limits_of_a_single_period_are_drawn_from_side_to_side_about_its_point() -> None:
    limits = laney_chart([Sample(period="2026-03-01", inspected=100, defects=50)])
    chart = control_chart(Controlled(limits=limits, signals=((),), labels=("2026-03-01",)))
    begin, end = (float(point.split(",")[0]) for point in chart.upper.split())
    assert (begin, end) == (56, 708)
    assert [dot.x for dot in chart.dots] == [(begin + end) / 2]
