"""Bringing the database to the schema of this version, or refusing to start."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog
from sqlalchemy import Connection

import migrations
from daemon.store.backups import back_up, new_backup
from daemon.store.database import BUSY_SECONDS, Database, StoreError, explain, uri_to_read

log = structlog.get_logger(__name__)

MIGRATIONS: Final = Path(next(iter(migrations.__path__)))
_REVISION: Final = re.compile(
    r"""^(revision|down_revision)(?:: [^=]+)? = ["']([^"']+)["']""", re.MULTILINE
)
_WAY_BACK: Final = "`millwatch check` says whether it is the right file; `millwatch db restore FILE` puts back a backup"
_OURS: Final = {"alembic_version", "image", "tally"}


class DatabaseRefusedError(Exception):
    """The database must not be used as it is: corrupt, newer, not ours, or not upgradable."""


def prepare_database(
    path: Path,
    *,
    backups: Path,
    now: datetime,
    scripts: Path = MIGRATIONS,
    busy_seconds: float = BUSY_SECONDS,
) -> Database:
    """Open the database, made or upgraded to this version's schema.

    An older one is first copied to `backups` with SQLite's backup interface: a plain copy of a
    database in WAL mode can miss commits.

    Raises:
        DatabaseRefusedError: nothing was changed; the message names the backup to go back to.
        StoreError: it cannot be opened or upgraded now; trying again may help.
    """
    try:
        # Before it is opened for writing: to open another program's database changes it.
        before = inspect(path, scripts)
    except DatabaseRefusedError as error:
        raise DatabaseRefusedError(f"{error}. {_way_back(backups)}") from error
    database = Database(path, busy_seconds=busy_seconds)
    try:
        _upgrade(database, before, backups, now, scripts)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def open_existing(path: Path, *, to_write: bool = False) -> Iterator[Database]:
    """The database of a line, whether or not its daemon runs; only to be read unless `to_write`.

    A copy may lie where nobody may write, and stays as it is.

    Raises:
        StoreError: when there is none to read from.
    """
    try:
        revision = _revision(path, MIGRATIONS)
    except DatabaseRefusedError as error:
        raise StoreError(f"{error}. {_WAY_BACK}") from error
    if revision != head_of(MIGRATIONS):
        what = "is empty" if revision is None else f"has the older schema {revision}"
        raise StoreError(
            f"the database {path} {what}; `millwatch run` brings it up to date, or `millwatch db "
            "upgrade`"
        )
    with nullcontext() if to_write else uri_to_read(path) as uri:
        database = Database(path, read_by=uri)
        try:
            yield database
        finally:
            database.close()


def find_schema_trouble(path: Path) -> str | None:
    """What would keep the daemon from starting on this database, without changing anything."""
    try:
        inspect(path, MIGRATIONS)
    except (DatabaseRefusedError, StoreError) as error:
        return str(error)
    return None


def inspect(path: Path, scripts: Path) -> str | None:
    """The revision of a database that may be upgraded; None where there is none yet.

    Raises:
        DatabaseRefusedError, StoreError
    """
    revision = _revision(path, scripts)
    if revision is None:
        return None
    with read_only(path) as connection:
        # Reads about 1 GB a second; a damaged page found later would stop the line.
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise DatabaseRefusedError(f"the database {path} is damaged: {found}")
    return revision


def _revision(path: Path, scripts: Path) -> str | None:
    """Raises DatabaseRefusedError, also where this version does not know it, and StoreError."""
    with read_only(path) as connection:
        tables = {
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' "
                "ESCAPE '!'"
            )
        }
        if not tables:
            return None
        if tables >= _OURS:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            if row is not None and row[0] in chain_of(scripts):
                return str(row[0])
            if row is not None:
                raise DatabaseRefusedError(
                    f"the database {path} has schema {row[0]}, which this version of Millwatch does "
                    "not know; install the version that made it"
                )
    raise DatabaseRefusedError(f"{path} holds other tables and is no Millwatch database")


@contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """The database as it lies there; an empty one in its stead where there is none."""
    try:
        if path.exists() and not path.is_file():
            raise DatabaseRefusedError(f"{path} is no file, and so no Millwatch database")
        there = uri_to_read(path) if path.exists() else nullcontext(":memory:")
        with there as uri, closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA query_only = ON")
            yield connection
    except (OSError, sqlite3.OperationalError) as error:  # held, or not to be had, for now
        raise explain(path, "read", error) from error
    except sqlite3.DatabaseError as error:
        raise DatabaseRefusedError(f"the database {path} is damaged: {error}") from error


def _upgrade(
    database: Database, before: str | None, backups: Path, now: datetime, scripts: Path
) -> None:
    head = head_of(scripts)
    if before == head:
        return
    backup = None
    if before is not None:
        backup = new_backup(database.path, backups, before, now)
        back_up(database.path, backup)
        log.info("database backed up before its upgrade", backup=str(backup))
    try:
        with database.writing() as connection:
            _migrate(connection, scripts, "head")
    except Exception as error:
        if isinstance(error, StoreError) and error.again_helps:  # a full disk, another program
            if backup is not None:
                with suppress(OSError):  # of which each try would leave one more
                    backup.unlink()
            raise
        kept = "" if backup is None else f"; a copy of it is in {backup}"
        raise DatabaseRefusedError(
            f"the database {database.path} could not be brought from schema {before} to {head}: "
            f"{error}. Nothing was changed{kept}. Install the version of Millwatch that ran before"
        ) from error
    log.info("database schema", revision=head, before=before, sqlite=sqlite3.sqlite_version)


@cache
def objects_of(revision: str) -> dict[tuple[str, str], str]:
    """What the migrations up to a revision make: by kind and name, in SQL with single blanks."""
    with TemporaryDirectory() as folder, _migrated(Path(folder), revision) as connection:
        return objects_in(connection)


def objects_in(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """The same of a database as it is."""
    found = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {(kind, name): " ".join(sql.split()) for kind, name, sql in found}


@contextmanager
def _migrated(folder: Path, revision: str) -> Iterator[sqlite3.Connection]:
    """A database with nothing in it, at a revision."""
    database = Database(folder / "reference.db")
    try:
        with database.writing() as connection:
            _migrate(connection, MIGRATIONS, revision)
        with read_only(database.path) as connection:
            yield connection
    finally:
        database.close()


def chain_of(scripts: Path) -> dict[str, str | None]:
    """Each migration's revision, and the one before it, as the files say.

    Alembic would import them, and takes a sixth of the time of a start: it is asked only to migrate.
    """
    chain = {}
    for path in (scripts / "versions").glob("m*.py"):
        found = dict(_REVISION.findall(path.read_text()))
        if "revision" not in found:  # it would be passed over in silence
            raise ValueError(f"{path} has no line that begins with 'revision = '")
        chain[found["revision"]] = found.get("down_revision")
    return chain


def head_of(scripts: Path) -> str:
    """The revision that all others lead to."""
    chain = chain_of(scripts)
    (head,) = chain.keys() - set(chain.values())
    return head


def _migrate(connection: Connection, scripts: Path, revision: str) -> None:
    from alembic import command  # noqa: PLC0415 -- see `chain_of`
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _way_back(backups: Path) -> str:
    copies = sorted(backups.glob("*.db"), key=lambda copy: copy.stat().st_mtime)
    other = "or set database_url to a file of its own"
    if not copies:
        return f"Put back a backup of your own (there is none in {backups}), {other}"
    return f"Put back the newest backup, {copies[-1]}, by `millwatch db restore`, {other}"
