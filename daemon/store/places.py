"""Where every image's file is, by the records; for the audit, which reads them all."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, and_, or_, select, update

from daemon.names import from_text, to_text
from daemon.store.audit import Deed, note
from daemon.store.database import Database
from daemon.store.schema import IN_FORCE, image, label
from daemon.values import Progress

_COLUMNS: Final = (
    *(image.c.id.label("image_id"), image.c.camera, image.c.size, image.c.sha256, image.c.verdict),
    *(image.c.reason, image.c.progress, image.c.path, image.c.target),
    *(label.c.label, label.c.moving_to),
)
_PLACES: Final[Select[Any]] = select(*_COLUMNS).select_from(
    image.outerjoin(label, and_(label.c.image_id == image.c.id, IN_FORCE))
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the file of an image is, or is on its way to.

    Attributes:
        label: the one in force.
        moving_to: where that label sends the file, while it is on its way.
    """

    image_id: int
    camera: str
    size: int
    sha256: str
    verdict: str
    reason: str
    progress: Progress
    path: Path | None
    target: Path | None
    label: str | None
    moving_to: Path | None

    def claims(self, file: Path) -> bool:
        """Whether the file lies where the record allows it to be."""
        if self.progress is Progress.PENDING and file == self.target:
            return True
        return file in (self.path, self.moving_to)


def places(database: Database, *, after: int, limit: int) -> list[Place]:
    """By id. Raises StoreError."""
    return _read(database, image.c.id > after, limit)


def place(database: Database, image_id: int) -> Place | None:
    """Raises StoreError."""
    return next(iter(_read(database, image.c.id == image_id, 1)), None)


def places_named(database: Database, files: Iterable[Path], ids: Iterable[int]) -> list[Place]:
    """Those that were sent to one of these files, or have one of these ids. Raises StoreError."""
    sent = image.c.target.in_([to_text(file) for file in files])
    return _read(database, or_(sent, image.c.id.in_(list(ids))), None)


def follow(database: Database, was: Place, path: Path, *, by: str, now: datetime) -> bool:
    """Record where a file was found. False where the record has changed since it was read.

    Raises:
        StoreError: nothing was changed.
    """
    ended = was.progress is not Progress.UNSEEN
    here = image.c.path.is_(None) if was.path is None else image.c.path == to_text(was.path)
    with database.writing() as connection:
        done = connection.execute(
            update(image)
            .where(image.c.id == was.image_id, image.c.progress == was.progress.value, here)
            .values(path=to_text(path), progress=(Progress.MOVED if ended else was.progress).value)
        )
        if done.rowcount != 1:
            return False
        what = f"image {was.image_id}: {to_text(path)}"
        note(connection, Deed(who=by, address="command", deed="found", what=what), now)
    return True


def _read(database: Database, condition: ColumnElement[bool], limit: int | None) -> list[Place]:
    query = _PLACES.where(condition).order_by(image.c.id).limit(limit)
    with database.reading() as connection:
        return [_place(row) for row in connection.execute(query)]


def _place(row: Row[Any]) -> Place:
    def path(text: str | None) -> Path | None:
        return None if text is None else Path(from_text(text))

    values = row._asdict()
    values |= {name: path(values[name]) for name in ("path", "target", "moving_to")}
    return Place(**values | {"progress": Progress(row.progress)})


class Notebook:
    """What one reading of the records leaves for the reading of the files.

    In a database of its own that is nowhere to be seen and spills to the disk: the memory stays the
    same for a million images.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("CREATE TABLE lost (size INTEGER, sha256 TEXT, id INTEGER)")
        connection.execute("CREATE INDEX lost_size ON lost (size, sha256)")
        connection.execute("CREATE TABLE odd (path TEXT PRIMARY KEY) WITHOUT ROWID")

    def lose(self, was: Place) -> None:
        """This one has no file where its record says."""
        values = (was.size, was.sha256, was.image_id)
        self._connection.execute("INSERT INTO lost VALUES (?, ?, ?)", values)

    def remember(self, path: Path) -> None:
        """A file lies here, as its record says, under a name that does not tell whose it is."""
        self._connection.execute("INSERT OR IGNORE INTO odd VALUES (?)", (to_text(path),))

    def is_remembered(self, path: Path) -> bool:
        query = "SELECT 1 FROM odd WHERE path = ?"
        return self._connection.execute(query, (to_text(path),)).fetchone() is not None

    def has_lost(self, size: int) -> bool:
        """Whether any image of this size has no file, so that a file is worth its hash."""
        query = "SELECT 1 FROM lost WHERE size = ? LIMIT 1"
        return self._connection.execute(query, (size,)).fetchone() is not None

    def lost(self, size: int, sha256: str) -> Sequence[int]:
        """Ids of at most a few images with this content that have no file."""
        query = "SELECT id FROM lost WHERE size = ? AND sha256 = ? LIMIT 100"
        return [number for (number,) in self._connection.execute(query, (size, sha256))]

    def find(self, image_id: int, size: int, sha256: str) -> None:
        """This one is found: no other file is its."""
        query = "DELETE FROM lost WHERE size = ? AND sha256 = ? AND id = ?"
        self._connection.execute(query, (size, sha256, image_id))


@contextmanager
def notebook() -> Iterator[Notebook]:
    with closing(sqlite3.connect("")) as connection:
        yield Notebook(connection)
