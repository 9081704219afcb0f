"""Deliveries: which of them have a record already."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, TextClause, bindparam, select, text

from daemon.names import to_text
from daemon.store.database import Database
from daemon.store.schema import STILL_THERE, image
from daemon.values import Delivery, Progress

MAY_COME_BACK: Final = {Progress.GONE.value, Progress.UNSEEN.value}
"""The progress of images whose file was away when it was to be moved."""

_IDENTITY: Final = ("camera", "filename", "inode", "size", "mtime_ns")
# One delivery at a time: of a list, `(camera, ...) IN (...)`, SQLite reads the whole table.
FIND: Final = select(image.c.id, image.c.progress, image.c.sha256, image.c.path).where(
    STILL_THERE, *(image.c[name] == bindparam(name) for name in _IDENTITY)
)
"""The record of the delivery that `identity` tells, if there is one."""

_AT_ONCE: Final = 128
_FEW: Final = 20


def _find_many() -> TextClause:
    """The same of so many deliveries: a loop over them, each looked up in the index."""
    names = ", ".join(_IDENTITY)
    rows = (", ".join(f":{name}{number}" for name in _IDENTITY) for number in range(_AT_ONCE))
    wanted = ", ".join(f"({number}, {row})" for number, row in enumerate(rows))
    same = " AND ".join(f"image.{name} = wanted.{name}" for name in _IDENTITY)
    return text(
        f"WITH wanted(number, {names}) AS (VALUES {wanted}) "  # noqa: S608 -- no value is in it
        f"SELECT wanted.number, image.progress FROM wanted CROSS JOIN image WHERE {same} "
        f"AND image.{STILL_THERE.text}"
    )


_FIND_MANY: Final = _find_many()


def known(database: Database, deliveries: Sequence[Delivery]) -> set[Delivery]:
    """Those that have a record and whose file may still lie where it was delivered."""
    with database.reading() as connection:
        found = progress_of(connection, deliveries)
    return {delivery for delivery, progress in found if progress not in MAY_COME_BACK}


def progress_of(
    connection: Connection, deliveries: Sequence[Delivery]
) -> list[tuple[Delivery, str]]:
    """Of those that have a record and whose file may still lie where it was delivered."""
    found: list[tuple[Delivery, str]] = []
    if len(deliveries) < _FEW:
        rows = ((each, connection.execute(FIND, identity(each)).first()) for each in deliveries)
        return [(each, row.progress) for each, row in rows if row is not None]
    for first in range(0, len(deliveries), _AT_ONCE):
        some = deliveries[first : first + _AT_ONCE]
        # Always as many: of each number of them a statement would be kept.
        filled = [*some, *[some[0]] * (_AT_ONCE - len(some))]
        values = {
            f"{name}{number}": value
            for number, delivery in enumerate(filled)
            for name, value in identity(delivery).items()
        }
        found += [
            (filled[row.number], row.progress) for row in connection.execute(_FIND_MANY, values)
        ]
    return found


def identity(delivery: Delivery) -> dict[str, Any]:
    """The columns of `_IDENTITY`."""
    return {
        "camera": delivery.camera,
        "filename": to_text(delivery.filename),
        "inode": str(delivery.inode),
        "size": delivery.size,
        "mtime_ns": str(delivery.mtime_ns),
    }
