"""Each camera's days: how its images looked, and what they were called. Kept as they are recorded."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from daemon.clock import timestamp_of_ns
from daemon.store.database import Database, add_up
from daemon.store.schema import camera_day, drift_reference
from daemon.values import Finding
from models.taxonomy import Reason

_SUMS: Final = ("images", "unknown", "brightness", "sharpness", "novelty")


@dataclass(frozen=True, kw_only=True)
class CameraDay:
    """What one model inspected of one camera on one day.

    Attributes:
        day: of the capture, `YYYY-MM-DD`, UTC.
        side: of the picture that the model sees, in pixels.
        brightness: average over the images, 0..255; likewise sharpness (0..1) and novelty.
        unknown: images that are unlike anything the model learned.
        classes: images by the network's first choice.
    """

    camera: str
    day: str
    model_version: str
    side: int
    images: int
    unknown: int
    brightness: float
    sharpness: float
    novelty: float
    classes: Counter[str]


def count_days(connection: Connection, findings: Iterable[Finding], step: int) -> None:
    """Add images to their days, or take them out again (`step` -1), in the caller's transaction."""
    sums: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    for finding in findings:
        look = finding.appearance
        if look is None or finding.model_version is None:
            continue
        day = timestamp_of_ns(finding.delivery.mtime_ns)[:10]
        called = finding.predicted_class or ""
        key = (day, finding.delivery.camera, finding.model_version, called)
        row = sums.setdefault(key, {**dict.fromkeys(_SUMS, 0), "side": look.side})
        row["images"] += step
        row["unknown"] += step * (finding.reason == Reason.UNKNOWN.value)
        row["brightness"] += step * look.brightness
        row["sharpness"] += step * look.sharpness
        row["novelty"] += step * (finding.novelty or 0.0)
    names = [column.name for column in camera_day.primary_key]
    rows = [dict(zip(names, key, strict=True)) | values for key, values in sums.items()]
    add_up(connection, camera_day, rows, _SUMS)


def camera_days(database: Database, *, since: str) -> dict[str, list[CameraDay]]:
    """Every camera's days from `since` (`YYYY-MM-DD`) on, the oldest first. Raises StoreError."""
    query = (
        select(camera_day)
        .where(camera_day.c.day >= since, camera_day.c.images > 0)
        .order_by(camera_day.c.day, camera_day.c.model_version)
    )
    groups: dict[tuple[str, str, str], list[Any]] = defaultdict(list)
    with database.reading() as connection:
        for row in connection.execute(query):
            groups[row.camera, row.day, row.model_version].append(row)
    days: dict[str, list[CameraDay]] = defaultdict(list)
    for (camera, _, _), rows in groups.items():
        days[camera].append(_day(rows))
    return days


def references(database: Database) -> dict[str, str]:
    """By camera, the first day that may be a reference for later ones. Raises StoreError."""
    with database.reading() as connection:
        return {row.camera: row.since for row in connection.execute(select(drift_reference))}


def refer_from(database: Database, camera: str, since: str) -> None:
    """Let no day before `since` be a reference any more. Raises StoreError."""
    with database.writing() as connection:
        dialect = postgresql_insert if connection.dialect.name == "postgresql" else sqlite_insert
        connection.execute(
            dialect(drift_reference)
            .values(camera=camera, since=since)
            .on_conflict_do_update(index_elements=["camera"], set_={"since": since})
        )


def _day(rows: list[Any]) -> CameraDay:
    images = sum(row.images for row in rows)
    return CameraDay(
        camera=rows[0].camera,
        day=rows[0].day,
        model_version=rows[0].model_version,
        side=rows[0].side,
        images=images,
        unknown=sum(row.unknown for row in rows),
        brightness=sum(row.brightness for row in rows) / images,
        sharpness=sum(row.sharpness for row in rows) / images,
        novelty=sum(row.novelty for row in rows) / images,
        classes=Counter({row.predicted_class: row.images for row in rows}),
    )
