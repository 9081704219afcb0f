"""What may be deleted in time: files in archive and quarantine, and records without a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, Select, bindparam, case, delete, exists, func, select, update

from daemon.names import from_text, to_text
from daemon.store.database import Database
from daemon.store.schema import ENDED, KEPT, image, label
from daemon.values import Progress
from models.taxonomy import Verdict

_NOT_LABELLED: Final = ~exists().where(label.c.image_id == image.c.id)
# What was not there to be removed from its drop folder may come back, and is not to be judged once more.
_UNSEEN: Final = image.c.progress == Progress.UNSEEN.value
_END: Final = case((_UNSEEN, Progress.GONE.value), else_=Progress.DELETED.value)
_COLUMNS: Final = (
    image.c.id,
    image.c.camera,
    image.c.filename,
    image.c.recorded_at,
    image.c.progress,
    image.c.path,
)


@dataclass(frozen=True, kw_only=True)
class Old:
    """A record, for the decision whether its time has come.

    Attributes:
        filename: the path inside its camera's folder, as it was delivered.
        recorded_at: `YYYY-MM-DDTHH:MM:SSZ`.
        path: where the file was last known to be; None where it was deleted.
    """

    image_id: int
    camera: str
    filename: Path
    recorded_at: str
    progress: Progress
    path: Path | None


def kept_files(
    database: Database, verdict: Verdict, *, below: Path, after: int, limit: int
) -> list[Old]:
    """Images of this verdict that lie in a folder and were never labelled, oldest first.

    Of what passed some lie elsewhere: in review, drawn for a second look or brought there.
    """
    folder = f"{to_text(below)}/"
    lies_there = func.substr(image.c.path, 1, len(folder)) == folder
    query = select(*_COLUMNS).where(KEPT, image.c.verdict == verdict.value, lies_there)
    return _read(database, query, after, limit)


def ended(database: Database, *, after: int, limit: int) -> list[Old]:
    """Never labelled images that were deleted, are gone, or were left to others, oldest first."""
    return _read(database, select(*_COLUMNS).where(ENDED), after, limit)


def deleted(database: Database, olds: Sequence[Old]) -> None:
    """Record in one transaction that the files of these are deleted.

    One that was labelled since it was read, or whose file is known to be elsewhere now, stays as it is.

    Raises:
        StoreError: the records still tell of the files.
    """
    with database.writing() as connection:
        connection.execute(
            update(image)
            .where(image.c.id == bindparam("b_id"), image.c.path == bindparam("b_path"))
            .where(KEPT, _NOT_LABELLED)
            .values(progress=_END, path=None),
            [{"b_id": old.image_id, "b_path": to_text(old.path)} for old in olds if old.path],
        )


def forget(database: Database, image_ids: Sequence[int]) -> None:
    """Delete records, but not of what has a file or a label by now. What reports rest on stays.

    Raises:
        StoreError: nothing was deleted.
    """
    with database.writing() as connection:
        these = image.c.id.in_(image_ids)
        connection.execute(delete(image).where(these, ENDED, _NOT_LABELLED))


def _read(database: Database, query: Select[Any], after: int, limit: int) -> list[Old]:
    page = query.where(_NOT_LABELLED, image.c.id > after).order_by(image.c.id).limit(limit)
    with database.reading() as connection:
        return [_old(row) for row in connection.execute(page)]


def _old(row: Row[Any]) -> Old:
    return Old(
        image_id=row.id,
        camera=row.camera,
        filename=Path(from_text(row.filename)),
        recorded_at=row.recorded_at,
        progress=Progress(row.progress),
        path=None if row.path is None else Path(from_text(row.path)),
    )
