"""Defect rates, from the aggregates that are kept as images are recorded."""

from dataclasses import dataclass

from sqlalchemy import text

from daemon.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One line of a report of defect rates, by the machine's verdict.

    Attributes:
        period: `YYYY-MM-DDTHH:00:00Z` or `YYYY-MM-DD`, of the capture, UTC; "" for all of the time.
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


_PERIODS = {"hour": "hour", "day": "substr(hour, 1, 10)", "camera": "''"}


def rates(
    database: Database,
    *,
    by: str,
    since: str | None = None,
    until: str | None = None,
    camera: str | None = None,
) -> list[Rate]:
    """Rates by `hour`, `day` or `camera`, oldest first.

    Args:
        since: first hour that counts, `YYYY-MM-DDTHH:00:00Z`.
        until: hours that begin then or later count no more.

    Raises:
        StoreError: when the database cannot be read.
    """
    bounds = {"hour >= :since": since, "hour < :until": until, "camera = :camera": camera}
    conditions = [condition for condition, value in bounds.items() if value is not None]
    query = text(
        f"""
        SELECT camera, {_PERIODS[by]} AS period,
               sum(inspected), sum(defects), sum(unsure), sum(unreadable)
        FROM defect_rate_hourly
        WHERE {" AND ".join(conditions) or "1 = 1"}
        GROUP BY camera, period ORDER BY period, camera
        """  # noqa: S608 -- only the closed choices above are put in
    )
    values = {"since": since, "until": until, "camera": camera}
    with database.reading() as connection:
        rows = connection.execute(query, {k: v for k, v in values.items() if v is not None})
        return [_rate(camera, period, *map(int, counts)) for camera, period, *counts in rows]


def recorded_cameras(database: Database) -> list[str]:
    """Every camera that an image was ever recorded of, by name. Raises StoreError."""
    query = text("SELECT DISTINCT camera FROM tally ORDER BY camera")
    with database.reading() as connection:
        return [camera for (camera,) in connection.execute(query)]


def _rate(
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


def defects_by_class(
    database: Database, *, since: str, camera: str | None = None
) -> list[tuple[str, int]]:
    """How many images of each class had the verdict `defect`. Arguments and errors as of `rates`."""
    condition = "" if camera is None else "AND camera = :camera"
    query = text(
        f"""
        SELECT predicted_class, sum(images) FROM tally
        WHERE verdict = 'defect' AND hour >= :since {condition}
        GROUP BY predicted_class HAVING sum(images) > 0
        """  # noqa: S608 -- only the closed choice above is put in
    )
    values = {"since": since} | ({} if camera is None else {"camera": camera})
    with database.reading() as connection:
        return [(name, int(images)) for name, images in connection.execute(query, values)]
