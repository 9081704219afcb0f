"""What the line page tells: rates, limits, Pareto, backlog, cameras, latency."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from daemon.clock import timestamp
from daemon.store import rates
from daemon.web.charts import Bar, ControlChart, Point, control_chart, pareto_bars
from daemon.web.desk import Desk

_HOURS: Final = 48
_PARETO_DAYS: Final = 7


@dataclass(frozen=True, kw_only=True)
class LineFigures:
    """The line as it is now, of one camera or of all.

    Attributes:
        status: as `millwatch status` tells it.
        today: images since midnight in the plant's zone, and the share of defects among them.
    """

    status: dict[str, Any]
    cameras: list[str]
    camera: str | None
    inspected_today: int
    rate_today: float | None
    unsure_today: int
    chart: ControlChart | None
    pareto: tuple[Bar, ...]


def line_figures(desk: Desk, camera: str | None) -> LineFigures:
    """Raises StoreError."""
    now = desk.clock()
    midnight = now.astimezone(desk.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    today = rates.rates(desk.database, by="camera", since=_hour(midnight), camera=camera)
    inspected = sum(each.inspected for each in today)
    defects = sum(each.defects for each in today)
    return LineFigures(
        status=desk.status(),
        cameras=rates.recorded_cameras(desk.database),
        camera=camera,
        inspected_today=inspected,
        rate_today=defects / inspected if inspected else None,
        unsure_today=sum(each.unsure for each in today),
        chart=_chart(desk, now, camera),
        pareto=pareto_bars(
            rates.defects_by_class(
                desk.database, since=_hour(now - timedelta(days=_PARETO_DAYS)), camera=camera
            )
        ),
    )


def _chart(desk: Desk, now: datetime, camera: str | None) -> ControlChart | None:
    by_hour: dict[str, tuple[int, int]] = {}
    since = _hour(now - timedelta(hours=_HOURS))
    for each in rates.rates(desk.database, by="hour", since=since, camera=camera):
        defects, inspected = by_hour.get(each.period, (0, 0))
        by_hour[each.period] = defects + each.defects, inspected + each.inspected
    by_hour = {hour: counts for hour, counts in by_hour.items() if counts[1]}
    total = sum(inspected for _, inspected in by_hour.values())
    if not total:
        return None
    centre = sum(defects for defects, _ in by_hour.values()) / total
    points = []
    for hour, (defects, inspected) in sorted(by_hour.items()):
        spread = 3 * (centre * (1 - centre) / inspected) ** 0.5
        low, high, share = max(0.0, centre - spread), min(1.0, centre + spread), defects / inspected
        local = f"{datetime.fromisoformat(hour).astimezone(desk.zone):%Y-%m-%d %H:%M}"
        signals = () if low <= share <= high else (1,)
        points.append(
            Point(
                period=local,
                inspected=inspected,
                share=share,
                lower=low,
                upper=high,
                signals=signals,
            )
        )
    return control_chart(points, centre)


def _hour(moment: datetime) -> str:
    return timestamp(moment.replace(minute=0, second=0, microsecond=0))
