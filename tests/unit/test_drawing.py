"""Charts as numbers on a canvas."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from daemon.reports.drawing import line_chart
from daemon.reports.periods import By, Calendar, first_hour
from daemon.reports.report import Lines, shown


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
