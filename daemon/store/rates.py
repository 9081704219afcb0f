"""Defect rates, from the aggregates that are kept as images are recorded."""

from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import text

from daemon.store.database import Database
from daemon.store.schema import ANY_COUNT


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One line of a report of defect rates, by the machine's verdict.

    Attributes:
        period: of the capture: `YYYY-MM-DDTHH:00:00Z`, or as `Calendar.period` names it; "" for all of the time.
        inspected: pass, defect and unsure.
        defect_rate: defects / inspected; None when nothing was inspected.
    """

    camera: str
    period: str
    inspected: int
    defects: int
    unsure: int
    unreadable: int
    defect_rate: float | None


_PERIODS: Final = {"hour": "hour", "camera": "''"}
_BOUNDS: Final = {"since": "hour >= :since", "until": "hour < :until", "camera": "camera = :camera"}


def rates(
    database: Database,
    *,
    by: Literal["hour", "camera"],
    since: str | None = None,
    until: str | None = None,
    camera: str | None = None,
) -> list[Rate]:
    """Rates of each camera, by the hour or of all of the time, oldest first.

    Args:
        since: first hour that counts, `YYYY-MM-DDTHH:00:00Z`.
        until: hours that begin then or later count no more.

    Raises:
        StoreError: when the database cannot be read.
    """
    bounds = _bounds(since, until, camera)
    query = text(
        f"""
        SELECT camera, {_PERIODS[by]} AS period,
               sum(inspected), sum(defects), sum(unsure), sum(unreadable)
        FROM defect_rate_hourly
        WHERE {" AND ".join(_BOUNDS[name] for name in bounds) or "1 = 1"}
        GROUP BY camera, period ORDER BY period, camera
        """  # noqa: S608 -- only the closed choices above are put in
    )
    with database.reading() as connection:
        rows = connection.execute(query, bounds)
        return [rate_of(camera, period, *map(int, counts)) for camera, period, *counts in rows]


def recorded_cameras(database: Database) -> list[str]:
    """Every camera that an image was ever recorded of, by name. Raises StoreError."""
    # From one name to the next: to read them all from the index would be to read every count.
    query = text(
        f"""
        WITH RECURSIVE named(camera) AS (
            SELECT min(camera) FROM tally WHERE {ANY_COUNT}
            UNION ALL
            SELECT (SELECT min(camera) FROM tally WHERE {ANY_COUNT} AND camera > named.camera)
            FROM named WHERE camera IS NOT NULL
        )
        SELECT camera FROM named WHERE camera IS NOT NULL ORDER BY camera
        """  # noqa: S608 -- only a constant is put in
    )
    with database.reading() as connection:
        return [camera for (camera,) in connection.execute(query)]


def rate_of(
    camera: str, period: str, inspected: int, defects: int, unsure: int, unreadable: int
) -> Rate:
    return Rate(
        camera=camera,
        period=period,
        inspected=inspected,
        defects=defects,
        unsure=unsure,
        unreadable=unreadable,
        defect_rate=defects / inspected if inspected else None,
    )


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """How many images of a class had the verdict `defect`.

    Attributes:
        camera, hour: of the images; "" where they are counted together.
    """

    camera: str
    hour: str
    predicted_class: str
    images: int


def defects_by_class(
    database: Database,
    *,
    since: str | None = None,
    until: str | None = None,
    camera: str | None = None,
    hourly: bool = False,
) -> list[ClassCount]:
    """Defects of each class; of each hour and camera too where `hourly`.

    Arguments and errors are those of `rates`.
    """
    bounds = _bounds(since, until, camera)
    columns = ("camera", "hour") if hourly else ("''", "''")
    query = text(
        f"""
        SELECT {", ".join(columns)}, predicted_class, sum(images) FROM tally
        WHERE {" AND ".join(["verdict = 'defect'", *(_BOUNDS[name] for name in bounds)])}
        GROUP BY {"camera, hour, " if hourly else ""}predicted_class HAVING sum(images) > 0
        """  # noqa: S608 -- only the closed choices above are put in
    )
    with database.reading() as connection:
        rows = connection.execute(query, bounds)
        return [
            ClassCount(camera=camera, hour=hour, predicted_class=name, images=int(images))
            for camera, hour, name, images in rows
        ]


def _bounds(since: str | None, until: str | None, camera: str | None) -> dict[str, str]:
    """Those of `_BOUNDS` that were asked for."""
    asked = {"since": since, "until": until, "camera": camera}
    return {name: value for name, value in asked.items() if value is not None}
