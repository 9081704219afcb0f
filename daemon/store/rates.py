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
    database: Database, *, by: str, since: str | None, until: str | None, camera: str | None
) -> list[Rate]:
    """Rates by `hour`, `day` or `camera`, oldest first.

    Args:
        since: first hour that counts, `YYYY-MM-DDTHH:MM:SSZ`.
        until: first hour that counts no more.

    Raises:
        StoreError: when the database cannot be read.
    """
    query = text(
        f"""
        SELECT camera, {_PERIODS[by]} AS period,
               sum(CASE WHEN verdict <> 'unreadable' THEN images ELSE 0 END),
               sum(CASE WHEN verdict = 'defect' THEN images ELSE 0 END),
               sum(CASE WHEN verdict = 'unsure' THEN images ELSE 0 END),
               sum(CASE WHEN verdict = 'unreadable' THEN images ELSE 0 END)
        FROM tally
        WHERE images > 0 AND hour >= :since AND hour < :until
              AND (camera = :camera OR :camera = '')
        GROUP BY camera, period ORDER BY period, camera
        """  # noqa: S608 -- only the closed choice of _PERIODS is put in
    )
    bounds = {"since": since or "", "until": until or "9999", "camera": camera or ""}
    with database.reading() as connection:
        return [
            Rate(
                camera=row[0],
                period=row[1],
                inspected=row[2],
                defects=row[3],
                unsure=row[4],
                unreadable=row[5],
                defect_rate=row[3] / row[2] if row[2] else None,
            )
            for row in connection.execute(query, bounds)
        ]
