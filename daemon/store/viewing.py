"""One image with all that is recorded of it, as the page and the API show it."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, Select, func, select

from daemon.names import from_text, to_text
from daemon.store.database import Database
from daemon.store.schema import ANY_IMAGE, image


@dataclass(frozen=True, kw_only=True)
class Viewed:
    """A row of the view `inspections`. Names are text, as `daemon.names.to_text` writes them.

    Attributes:
        path: where the file is now; None once it was deleted by policy.
        progress: a `daemon.values.Progress`.
    """

    id: int
    camera: str
    filename: str
    sha256: str
    captured_at: str
    recorded_at: str
    verdict: str
    reason: str
    predicted_class: str | None
    confidence: float | None
    novelty: float | None
    model_version: str | None
    notes: str | None
    progress: str
    path: Path | None


_VIEWED: Final[Select[Any]] = select(*(image.c[each.name] for each in fields(Viewed)))


def view(database: Database, image_id: int) -> Viewed | None:
    """Raises StoreError."""
    with database.reading() as connection:
        row = connection.execute(_VIEWED.where(image.c.id == image_id)).first()
    return None if row is None else _viewed(row)


def latest(
    database: Database, *, before: int | None = None, camera: str | None = None, limit: int = 50
) -> list[Viewed]:
    """Images, latest recorded first.

    Args:
        before: only those recorded before the image with this id.

    Raises:
        StoreError: when the database cannot be read.
    """
    query = _VIEWED.order_by(image.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(image.c.id < before)
    if camera is not None:
        query = query.where(image.c.camera == camera, ANY_IMAGE)
    with database.reading() as connection:
        return [_viewed(row) for row in connection.execute(query)]


def all_images(database: Database) -> Iterator[Viewed]:
    """Every image, by id, one at a time. Raises StoreError."""
    with database.reading() as connection:
        for row in connection.execute(_VIEWED.order_by(image.c.id)):
            yield _viewed(row)


def newest_id(database: Database) -> int:
    """The id that was given last; 0 before the first. Raises StoreError."""
    with database.reading() as connection:
        return int(connection.scalar(select(func.max(image.c.id))) or 0)


def find_delivered(database: Database, camera: str, filename: str, *, after: int) -> Viewed | None:
    """The image that a camera delivered under this name, recorded after the image `after`.

    Raises:
        StoreError: when the database cannot be read.
    """
    query = (
        _VIEWED.where(
            image.c.id > after, image.c.camera == camera, image.c.filename == to_text(filename)
        )
        .order_by(image.c.id)
        .limit(1)
    )
    with database.reading() as connection:
        row = connection.execute(query).first()
    return None if row is None else _viewed(row)


def _viewed(row: Row[Any]) -> Viewed:
    values = row._asdict()
    path = values.pop("path")
    return Viewed(**values, path=None if path is None else Path(from_text(path)))
