"""Defect rates, from the aggregates that are kept as images are recorded."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Select, column, func, literal_column, select, table, text

from daemon.store.database import Database
from daemon.store.schema import ANY_COUNT, tally
from daemon.store.spans import Span
from models.taxonomy import Verdict


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


_COUNTS: Final = ("inspected", "defects", "unsure", "unreadable")
_HOURLY: Final = table("defect_rate_hourly", *map(column, ("camera", "hour", *_COUNTS))).c
_ALL: Final[ColumnElement[str]] = literal_column("''")


def rates(database: Database, span: Span, *, by: Literal["hour", "camera"]) -> list[Rate]:
    """Rates of each camera, by the hour or of all of the time, oldest first.

    Raises:
        StoreError: when the database cannot be read.
    """
    of = (_HOURLY.hour,) if by == "hour" else ()
    sums = (func.sum(_HOURLY[name]) for name in _COUNTS)
    query = (
        select(_HOURLY.camera, *(of or (_ALL,)), *sums)
        .where(*span.holds(_HOURLY.hour, _HOURLY.camera))
        .group_by(*of, _HOURLY.camera)
        .order_by(*of, _HOURLY.camera)
    )
    with database.reading() as connection:
        rows = connection.execute(query)
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


def defects_by_class(database: Database, span: Span, *, hourly: bool = False) -> list[ClassCount]:
    """Defects of each class; of each hour and camera too where `hourly`.

    Raises:
        StoreError: when the database cannot be read.
    """
    of = (tally.c.camera, tally.c.hour) if hourly else ()
    images = func.sum(tally.c.images)
    query: Select[Any] = (
        select(*(of or (_ALL, _ALL)), tally.c.predicted_class, images)
        .where(tally.c.verdict == Verdict.DEFECT.value)
        .where(*span.holds(tally.c.hour, tally.c.camera))
        .group_by(*of, tally.c.predicted_class)
        .having(images > 0)
    )
    with database.reading() as connection:
        return [
            ClassCount(camera=camera, hour=hour, predicted_class=name, images=int(images))
            for camera, hour, name, images in connection.execute(query)
        ]
