"""The one place where the database is opened, and how it is written to."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    Connection,
    Dialect,
    Engine,
    Insert,
    Table,
    Update,
    create_engine,
    event,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler

BUSY_SECONDS: Final = 10.0

# By the second word of SQLite's name for an error (SQLITE_BUSY_SNAPSHOT is a kind of SQLITE_BUSY).
_PASSING: Final = {
    "FULL": "Free space on its disk; then it works again",
    "BUSY": "End the program that holds it; then it works again",
    "LOCKED": "End the program that holds it; then it works again",
    "CANTOPEN": "Mend its permissions and those of its folder, or mount its disk",
    "READONLY": "Mend its permissions; if the file was replaced or removed, start Millwatch again",
    "IOERR": "Look after its disk (`dmesg` may say more)",
}
_DAMAGED: Final = {"CORRUPT", "NOTADB"}
_OF_FILES: Final = "Mend that: permissions, or a disk that is full, read-only or away"
_LASTING: Final = "Stop Millwatch and run `millwatch check`; a backup may have to be put back"


class StoreError(Exception):
    """The database could not do what was asked, and nothing of it was done.

    Attributes:
        again_helps: whether it may work later, when space is free or another program has ended.
        damaged: whether the file itself is: nothing can be recorded until a backup is put back.
    """

    def __init__(self, message: str, *, again_helps: bool = True, damaged: bool = False) -> None:
        super().__init__(message)
        self.again_helps = again_helps
        self.damaged = damaged


class Database:
    """The database of one line. Reads anywhere; writes one transaction at a time.

    Args:
        busy_seconds: how long a write waits for another program that is writing.
        read_by: the URI of a database that is not to be changed (`uri_to_read`).
    """

    def __init__(
        self, path: Path, *, busy_seconds: float = BUSY_SECONDS, read_by: str | None = None
    ) -> None:
        self.path = path
        self._engine = _open(path, busy_seconds, read_by)
        self._file: tuple[int, int] | None = None

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
            raise explain(self.path, "read", error.orig) from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: on disk when this returns, or not at all.

        Raises:
            StoreError: when it was rolled back: the disk is full, or another program holds the
                database for more than `busy_seconds`.
        """
        try:
            # A read that turns into a write fails at once with SQLITE_BUSY_SNAPSHOT, whatever the
            # timeout: the write lock is taken at the start.
            with self._engine.connect().execution_options(begin="IMMEDIATE") as connection:
                yield connection
                self._mind_file()
                connection.commit()
        except DBAPIError as error:
            raise explain(self.path, "written to", error.orig) from error

    def _mind_file(self) -> None:
        """SQLite goes on writing to a file that was removed: what it records there is lost."""
        try:
            status = self.path.stat()
            file = (status.st_dev, status.st_ino)
        except OSError:
            file = None
        self._file = self._file or file
        if file is None or file != self._file:
            raise StoreError(
                f"the database {self.path} was replaced or removed while it was in use; nothing was "
                "changed. Stop Millwatch before a backup is put back; it now starts anew",
                again_helps=False,
                damaged=True,
            )

    def close(self) -> None:
        self._engine.dispose()


def write_many(
    connection: Connection, statement: Insert | Update, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Execute a statement that was built once, for each of some rows that have all its values.

    SQLAlchemy would go through the values of each row, which takes three times as long as SQLite does to
    write it; columns of text and numbers need nothing of that.
    """
    compiled = _compiled(statement, connection.dialect, tuple(rows[0]))
    if compiled.positional:
        names = compiled.positiontup or ()
        connection.exec_driver_sql(
            str(compiled), [tuple([row[name] for name in names]) for row in rows]
        )
    else:
        connection.exec_driver_sql(str(compiled), [dict(row) for row in rows])


@lru_cache(maxsize=32)
def _compiled(
    statement: Insert | Update, dialect: Dialect, columns: tuple[str, ...]
) -> SQLCompiler:
    compiled = statement.compile(dialect=dialect, column_keys=list(columns))
    if not isinstance(compiled, SQLCompiler):
        raise TypeError(f"no statement with values: {statement}")
    return compiled


def add_up(
    connection: Connection, table: Table, rows: list[dict[str, Any]], columns: Iterable[str]
) -> None:
    """Insert kept aggregates, or add these columns to those that are there by the primary key."""
    if not rows:
        return
    connection.execute(_adding(connection.dialect.name, table, tuple(columns)), rows)


@cache
def _adding(dialect: str, table: Table, columns: tuple[str, ...]) -> Insert:
    # Built once: to build and to look up a statement takes longer than SQLite takes to run it.
    statement = (postgresql_insert if dialect == "postgresql" else sqlite_insert)(table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: table.c[name] + statement.excluded[name] for name in columns},
    )


def explain(path: Path, deed: str, cause: BaseException | None) -> StoreError:
    """What to raise where SQLite said no."""
    _, _, kind = str(getattr(cause, "sqlite_errorname", "")).partition("_")
    kind = kind.partition("_")[0]
    if kind == "IOERR" and _is_full(path):  # SQLite says so of its shared memory
        kind = "FULL"
    step = _OF_FILES if isinstance(cause, OSError) else _PASSING.get(kind)
    return StoreError(
        f"the database {path} could not be {deed}: {cause}; nothing was changed. {step or _LASTING}",
        again_helps=step is not None,
        damaged=kind in _DAMAGED,
    )


def _is_full(path: Path) -> bool:
    try:
        return os.statvfs(path.parent).f_bavail == 0
    except OSError:
        return False


@contextmanager
def uri_to_read(path: Path) -> Iterator[str]:
    """How to open a database that is not to be changed, also a copy in a folder where nobody may write.

    SQLite puts a log and its index beside a database that had them (WAL), and the last to close it takes them
    away again, if he may write to it. Where none may be put, and there is none, the file is all that there is.

    Raises:
        StoreError: it was written to meanwhile, and what was read may be of both states.
    """
    uri = path.absolute().as_uri()
    if _may_write(path.parent) or _has_log(path):
        yield f"{uri}?mode={'rw' if _may_write(path.parent) and _may_write(path) else 'ro'}"
        return
    before = path.stat()
    yield f"{uri}?mode=ro&immutable=1"
    after = path.stat()
    if _has_log(path) or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise StoreError(f"the database {path} was written to while it was read; try again")


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=True)


def _has_log(path: Path) -> bool:
    return any(os.path.lexists(f"{path}{ending}") for ending in ("-wal", "-journal"))


def _open(path: Path, busy_seconds: float, read_by: str | None) -> Engine:
    url = URL.create("sqlite", database=str(path))

    def connect() -> sqlite3.Connection:
        name = str(path) if read_by is None else read_by
        return sqlite3.connect(
            name, uri=read_by is not None, timeout=busy_seconds, check_same_thread=False
        )

    # No limit of connections: with more cameras than that, a rescan would wait for one and fail.
    engine = create_engine(url, creator=connect, max_overflow=-1)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        # The driver's own transactions begin late and deferred; `begin` below does it instead.
        connection.isolation_level = None
        if read_by is not None:
            connection.execute("PRAGMA query_only = ON")
            return
        connection.execute("PRAGMA journal_mode = WAL")
        # In WAL mode NORMAL may lose the last commits on power loss; the files would have moved.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # What a long reader made the log grow to is given back to the disk.
        connection.execute("PRAGMA journal_size_limit = 16777216")
        # KiB a connection, of which each thread may have one. With SQLite's 2000 they filled for hours; what
        # the system has in memory is had as fast (measured).
        connection.execute("PRAGMA cache_size = -500")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options: dict[str, Any] = dict(connection.get_execution_options())
        connection.exec_driver_sql(f"BEGIN {options.get('begin', 'DEFERRED')}")

    return engine
