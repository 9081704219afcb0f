"""What was found, read from the view that reports rest on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from daemon.names import from_text
from daemon.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """One image.

    Attributes:
        filename: path inside the camera's folder as delivered.
        path: where the file is now; None once it was deleted by policy.
    """

    id: int
    camera: str
    filename: str
    sha256: str
    verdict: str
    predicted_class: str | None
    path: Path | None


def all_inspections(database: Database) -> Iterator[Inspection]:
    """Every image, by id. Raises StoreError when the database cannot be read."""
    query = text(
        "SELECT id, camera, filename, sha256, verdict, predicted_class, path "
        "FROM inspections ORDER BY id"
    )
    with database.reading() as connection:
        for row in connection.execute(query):
            yield Inspection(
                id=row.id,
                camera=row.camera,
                filename=from_text(row.filename),
                sha256=row.sha256,
                verdict=row.verdict,
                predicted_class=row.predicted_class,
                path=None if row.path is None else Path(from_text(row.path)),
            )
