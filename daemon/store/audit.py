"""Who did what, and from where: labels, promotions, logins and users. Rows are only ever added."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, insert, select

from daemon.clock import timestamp
from daemon.store.database import Database
from daemon.store.schema import audit

_LONGEST: Final = 500
"""Characters of what is told of a deed: whoever is not logged in chooses the name that fails."""


@dataclass(frozen=True, kw_only=True)
class Deed:
    """One thing that somebody did.

    Attributes:
        who: the user's name; of a failed login, the name that was tried.
        address: where from; "command" where it was not the page.
        deed: `login`, `login refused`, `label`, `promote` and so on.
        what: to what.
        at: UTC; "" until it is recorded.
    """

    who: str
    address: str
    deed: str
    what: str = ""
    at: str = ""
    id: int = 0


def note(connection: Connection, deed: Deed, now: datetime) -> None:
    """Add a deed to a transaction that does it."""
    connection.execute(
        insert(audit).values(
            at=timestamp(now),
            who=deed.who[:_LONGEST],
            address=deed.address,
            deed=deed.deed,
            what=deed.what[:_LONGEST],
        )
    )


def record_deed(database: Database, deed: Deed, now: datetime) -> None:
    """Record what was done elsewhere. Raises StoreError."""
    with database.writing() as connection:
        note(connection, deed, now)


def deeds(database: Database, *, before: int | None = None, limit: int = 100) -> list[Deed]:
    """What was done, latest first.

    Args:
        before: only what was recorded before the deed with this id.

    Raises:
        StoreError: when the database cannot be read.
    """
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    with database.reading() as connection:
        return [Deed(**row._asdict()) for row in connection.execute(query)]
