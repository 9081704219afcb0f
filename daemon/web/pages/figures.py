"""What the line page tells: rates, limits, Pareto, backlog, cameras, latency."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from daemon.reports.defects import controlled, pareto
from daemon.reports.drawing import Bar, ControlChart, bars, control_chart
from daemon.reports.periods import By, first_hour, first_not_counted
from daemon.reports.report import Bars
from daemon.reports.rules import WORDS
from daemon.reports.words import class_in_words
from daemon.store import rates
from daemon.store.spans import Span
from daemon.web.desk import Desk

_HOURS: Final = 48
_PARETO_DAYS: Final = 7


@dataclass(frozen=True, kw_only=True)
class LineFigures:
    """The line as it is now, of one camera or of all.

    Attributes:
        status: as `millwatch status` tells it.
        rules: what the numbers of the run rules mean.
        today: images since midnight in the plant's zone, and the share of defects among them.
    """

    status: dict[str, Any]
    camera: str | None
    inspected_today: int
    rate_today: float | None
    unsure_today: int
    chart: ControlChart | None
    pareto: tuple[Bar, ...]
    rules: Mapping[int, str] = field(default_factory=lambda: WORDS)


def line_figures(desk: Desk, camera: str | None) -> LineFigures:
    """Raises StoreError."""
    now = desk.clock()
    midnight, _ = desk.calendar.span_of_day(desk.calendar.there(now).date())
    since = desk.calendar.first_counted(datetime.fromisoformat(midnight))
    # What a camera with a wrong clock dates later would stay for years, here and below.
    until = first_not_counted(now)
    span = Span(since=since, until=until, camera=camera)
    today = rates.rates(desk.database, span, by="camera")
    inspected = sum(each.inspected for each in today)
    defects = sum(each.defects for each in today)
    return LineFigures(
        status=desk.status(),
        camera=camera,
        inspected_today=inspected,
        rate_today=defects / inspected if inspected else None,
        unsure_today=sum(each.unsure for each in today),
        chart=_chart(desk, now, camera),
        pareto=_pareto(desk, now, camera),
    )


def all_cameras(desk: Desk) -> list[str]:
    """Those that are configured, and those that an image was recorded of. Raises StoreError."""
    configured = {each.name for each in desk.settings.cameras}
    return sorted(configured.union(rates.recorded_cameras(desk.database)))


def choices(names: Iterable[str], chosen: str | None) -> list[str]:
    """What a filter offers; with what a kept link names and is no more, which else would show as "all"."""
    return list(dict.fromkeys((*names, chosen) if chosen else names))


def _chart(desk: Desk, now: datetime, camera: str | None) -> ControlChart | None:
    since = first_hour(now - timedelta(hours=_HOURS))
    until = first_not_counted(now)
    span = Span(since=since, until=until, camera=camera)
    found = rates.rates(desk.database, span, by="hour")
    chart = controlled(found, desk.calendar, By.HOUR)
    return None if chart is None else control_chart(chart)


def _pareto(desk: Desk, now: datetime, camera: str | None) -> tuple[Bar, ...]:
    since = first_hour(now - timedelta(days=_PARETO_DAYS))
    until = first_not_counted(now)
    span = Span(since=since, until=until, camera=camera)
    counted = rates.defects_by_class(desk.database, span)
    ordered = pareto((each.predicted_class, each.images) for each in counted)
    return bars(
        Bars(
            values=tuple((class_in_words(name), images) for name, images, *_ in ordered),
            shares=False,
        )
    )
