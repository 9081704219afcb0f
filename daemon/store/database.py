"""The one place where the database is opened, and how it is written to."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_SECONDS: Final = 10


class StoreError(Exception):
    """The database could not do what was asked; nothing of it was done, and it can be tried again."""


class Database:
    """The database of one line. Reads anywhere; writes one transaction at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = _open(path)

    @property
    def engine(self) -> Engine:
        return self._engine

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Raises StoreError when the database cannot be read."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise self._explain("read", error) from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: on disk when this returns, or not at all.

        Raises:
            StoreError: when it was rolled back: the disk is full, or another program holds the
                database for more than `BUSY_SECONDS`.
        """
        try:
            # A read that turns into a write fails at once with SQLITE_BUSY_SNAPSHOT, whatever the
            # timeout: the write lock is taken at the start.
            with self._engine.connect().execution_options(begin="IMMEDIATE") as connection:
                yield connection
                connection.commit()
        except DBAPIError as error:
            raise self._explain("written to", error) from error

    def close(self) -> None:
        self._engine.dispose()

    def _explain(self, deed: str, error: DBAPIError) -> StoreError:
        return StoreError(
            f"the database {self.path} could not be {deed}: {error.orig}; nothing was changed, and "
            "it is tried again. Free space on its disk, or end the program that holds it"
        )


def _open(path: Path) -> Engine:
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        # The driver's own transactions begin late and deferred; `begin` below does it instead.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        # In WAL mode NORMAL may lose the last commits on power loss; the files would have moved.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options: dict[str, Any] = dict(connection.get_execution_options())
        connection.exec_driver_sql(f"BEGIN {options.get('begin', 'DEFERRED')}")

    return engine
