"""What may be deleted in time: files in archive and quarantine, and records without a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, Select, bindparam, delete, exists, select, update

from daemon.names import from_text
from daemon.store.database import Database
from daemon.store.schema import ENDED, KEPT, image, label
from daemon.values import Progress
from models.taxonomy import Verdict

_NOT_LABELLED: Final = ~exists().where(label.c.image_id == image.c.id)
_COLUMNS: Final = (image.c.id, image.c.camera, image.c.recorded_at, image.c.progress, image.c.path)


@dataclass(frozen=True, kw_only=True)
class Old:
    """A record, for the decision whether its time has come.

    Attributes:
        recorded_at: `YYYY-MM-DDTHH:MM:SSZ`.
        path: where the file was last known to be; None where it was deleted.
    """

    image_id: int
    camera: str
    recorded_at: str
    progress: Progress
    path: Path | None


def kept_files(database: Database, verdict: Verdict, *, after: int, limit: int) -> list[Old]:
    """Images of this verdict that were moved and never labelled, oldest first."""
    query = select(*_COLUMNS).where(KEPT, image.c.verdict == verdict.value)
    return _read(database, query, after, limit)


def ended(database: Database, *, after: int, limit: int) -> list[Old]:
    """Never labelled images that were deleted, are gone, or were left to others, oldest first."""
    return _read(database, select(*_COLUMNS).where(ENDED), after, limit)


def deleted(database: Database, image_ids: Sequence[int]) -> None:
    """Record in one transaction that the files of these are deleted.

    Raises:
        StoreError: the records still tell of the files.
    """
    with database.writing() as connection:
        connection.execute(
            update(image)
            .where(image.c.id == bindparam("b_id"))
            .values(progress=Progress.DELETED.value, path=None),
            [{"b_id": image_id} for image_id in image_ids],
        )


def forget(database: Database, image_ids: Sequence[int]) -> None:
    """Delete records. The aggregates that reports rest on stay.

    Raises:
        StoreError: nothing was deleted.
    """
    with database.writing() as connection:
        connection.execute(delete(image).where(image.c.id.in_(image_ids)))


def _read(database: Database, query: Select[Any], after: int, limit: int) -> list[Old]:
    page = query.where(_NOT_LABELLED, image.c.id > after).order_by(image.c.id).limit(limit)
    with database.reading() as connection:
        return [_old(row) for row in connection.execute(page)]


def _old(row: Row[Any]) -> Old:
    return Old(
        image_id=row.id,
        camera=row.camera,
        recorded_at=row.recorded_at,
        progress=Progress(row.progress),
        path=None if row.path is None else Path(from_text(row.path)),
    )
