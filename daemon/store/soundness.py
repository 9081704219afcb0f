"""Whether a database can be believed: its pages, its schema, and its aggregates against its rows."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.text import counted
from daemon.store.database import explain
from daemon.store.upgrading import MIGRATIONS, inspect, objects_in, objects_of, read_only

_MOST: Final = 20
"""Lines of one kind that are told: a torn database has thousands."""

_SURPLUS: Final = """
    WITH counted AS (
        SELECT camera, substr(captured_at, 1, 13) || ':00:00Z' AS hour, verdict,
               coalesce(predicted_class, '') AS predicted_class, count(*) AS images
        FROM image GROUP BY 1, 2, 3, 4
    ), compared AS (
        SELECT coalesce(tally.images, 0) - counted.images AS surplus
        FROM counted LEFT JOIN tally USING (camera, hour, verdict, predicted_class)
        UNION ALL
        SELECT tally.images FROM tally LEFT JOIN counted USING (camera, hour, verdict, predicted_class)
        WHERE counted.images IS NULL
    )
    SELECT coalesce(sum(max(surplus, 0)), 0), coalesce(sum(max(-surplus, 0)), 0) FROM compared
"""

_LABELS_APART: Final = """
    WITH counted AS (
        SELECT substr(labelled_at, 1, 13) || ':00:00Z' AS hour, camera, labelled_by, verdict,
               coalesce(predicted_class, '') AS predicted_class, label, count(*) AS labels
        FROM label JOIN image ON image.id = label.image_id
        WHERE undone_at IS NULL GROUP BY 1, 2, 3, 4, 5, 6
    ), kept AS (SELECT * FROM label_tally WHERE labels <> 0)
    SELECT count(*) FROM (
        SELECT * FROM (SELECT * FROM counted EXCEPT SELECT * FROM kept)
        UNION ALL SELECT * FROM (SELECT * FROM kept EXCEPT SELECT * FROM counted)
    )
"""

_DAYS_SHORT: Final = """
    WITH counted AS (
        SELECT substr(captured_at, 1, 10) AS day, camera, model_version,
               coalesce(predicted_class, '') AS predicted_class, count(*) AS images
        FROM image WHERE brightness IS NOT NULL AND model_version IS NOT NULL GROUP BY 1, 2, 3, 4
    )
    SELECT count(*)
    FROM counted LEFT JOIN camera_day USING (day, camera, model_version, predicted_class)
    WHERE counted.images > coalesce(camera_day.images, 0)
"""


@dataclass(frozen=True, kw_only=True)
class Soundness:
    """What was found of a database.

    Attributes:
        revision: of its schema; None where there is nothing in it.
        damage: pages, indexes or references that are wrong: it cannot be believed.
        differences: from the schema of its revision, or between aggregates and rows.
        remarks: nothing is wrong, but somebody may wonder.
        forgotten: images that are counted and have no record (any more).
    """

    revision: str | None
    bytes: int
    images: int
    forgotten: int = 0
    damage: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        return not self.damage and not self.differences


def examine(path: Path, *, may_forget: bool = True) -> Soundness:
    """Read all of a database, and compare. Nothing is changed, and a daemon may go on writing to it.

    Args:
        may_forget: records may have been deleted for their age (`retention.rows_days`), so that the
            aggregates count more than there is.

    Raises:
        DatabaseRefusedError: it is no database of this version or an older one, or cannot be read.
        StoreError: it cannot be read now.
    """
    revision = inspect(path, MIGRATIONS)
    size = path.stat().st_size if path.exists() else 0
    if revision is None:
        return Soundness(revision=None, bytes=size, images=0)
    try:
        with read_only(path) as connection:
            return _examine(connection, revision, size, may_forget=may_forget)
    except sqlite3.Error as error:
        raise explain(path, "checked", error) from error


def _examine(
    connection: sqlite3.Connection, revision: str, size: int, *, may_forget: bool
) -> Soundness:
    damage = _damage(connection)
    if damage:
        return Soundness(revision=revision, bytes=size, images=0, damage=damage)
    connection.execute("BEGIN")  # one moment, while a daemon goes on counting
    (images,) = connection.execute("SELECT count(*) FROM image").fetchone()
    surplus, lack = connection.execute(_SURPLUS).fetchone()
    differences, remarks = _schema(connection, revision)
    differences += _newer_aggregates(connection)
    connection.execute("ROLLBACK")
    if lack:
        differences.append(
            f"the aggregates that reports read lack {counted(lack, 'recorded image')}"
        )
    if surplus and not may_forget:
        differences.append(
            f"the aggregates that reports read count {counted(surplus, 'image')} without a record; that is "
            "right only if retention.rows_days was set earlier"
        )
    return Soundness(
        revision=revision,
        bytes=size,
        images=int(images),
        forgotten=int(surplus),
        differences=tuple(differences),
        remarks=tuple(remarks),
    )


def _newer_aggregates(connection: sqlite3.Connection) -> list[str]:
    """What an older backup has not got."""
    there, told = objects_in(connection), []
    if ("table", "camera_day") in there:
        (short,) = connection.execute(_DAYS_SHORT).fetchone()
        if short:
            told.append(
                f"fewer images are counted than are recorded: of {counted(short, 'day')} of a camera"
            )
    if ("table", "label_tally") in there:
        (apart,) = connection.execute(_LABELS_APART).fetchone()
        if apart:
            told.append(
                f"reports have {counted(apart, 'kept count')} of labels that the labels do not bear out"
            )
    return told


def _damage(connection: sqlite3.Connection) -> tuple[str, ...]:
    found = [line for (line,) in connection.execute(f"PRAGMA integrity_check({_MOST})")]
    if found != ["ok"]:
        return tuple(line for text in found for line in str(text).splitlines())
    broken = connection.execute("PRAGMA foreign_key_check").fetchmany(_MOST)
    return tuple(
        f"row {row} of {table} refers to a row of {parent} that is not there"
        for table, row, parent, _ in broken
    )


def _schema(connection: sqlite3.Connection, revision: str) -> tuple[list[str], list[str]]:
    declared, there = objects_of(revision), objects_in(connection)
    differences = [
        f"the {kind} {name} {'is missing' if (kind, name) not in there else 'is not as declared'}"
        for kind, name in sorted(declared)
        if there.get((kind, name)) != declared[kind, name]
    ]
    remarks = [
        f"the {kind} {name} is somebody's own" for kind, name in sorted(there.keys() - declared)
    ]
    return differences, remarks
