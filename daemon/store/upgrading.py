"""Bringing the database to the schema of this version, or refusing to start."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError

import migrations
from daemon.store.database import Database, StoreError

log = structlog.get_logger(__name__)

_SCRIPTS: Final = Path(next(iter(migrations.__path__)))


class DatabaseRefusedError(Exception):
    """The database must not be used as it is: corrupt, newer, not ours, or not upgradable."""


def prepare_database(path: Path, *, backups: Path, now: datetime) -> Database:
    """Open the database, made or upgraded to this version's schema.

    An older one is first copied to `backups` with SQLite's backup interface: a plain copy of a
    database in WAL mode can miss commits.

    Raises:
        DatabaseRefusedError: nothing was changed; the message names the backup to go back to.
    """
    database = Database(path)
    try:
        _prepare(database, backups, now)
    except (StoreError, DBAPIError, sqlite3.Error) as error:
        database.close()
        raise DatabaseRefusedError(
            f"the database {path} cannot be used: {_cause(error)}; {_way_back(backups)}"
        ) from error
    except DatabaseRefusedError:
        database.close()
        raise
    return database


@contextmanager
def open_existing(path: Path) -> Iterator[Database]:
    """A database that `find_schema_trouble` found nothing wrong with, for reading."""
    database = Database(path)
    try:
        yield database
    finally:
        database.close()


def find_schema_trouble(path: Path) -> str | None:
    """What would keep the daemon from starting on this database, without changing anything."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            tables = {
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                )
            }
            if "alembic_version" not in tables:
                return f"{path} holds other tables and is no Millwatch database" if tables else None
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        return f"the database {path} cannot be read: {error}"
    return None if _is_known(revision) else _newer(path, revision)


def _prepare(database: Database, backups: Path, now: datetime) -> None:
    path = database.path
    with database.reading() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
        tables = set(inspect(connection).get_table_names()) - {"sqlite_sequence"}
    head = _scripts().get_current_head()
    if revision == head:
        return
    if revision is None and tables:
        raise DatabaseRefusedError(
            f"{path} holds other tables and is no Millwatch database; set database_url to a file "
            "of its own"
        )
    if revision is not None:
        if not _is_known(revision):
            raise DatabaseRefusedError(f"{_newer(path, revision)}; {_way_back(backups)}")
        backup = backups / f"{path.stem}-{revision}-{now:%Y%m%dT%H%M%SZ}.db"
        _back_up(path, backup)
        log.info("database backed up before its upgrade", backup=str(backup))
    alembic = _config()
    with database.writing() as connection:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "head")
    log.info("database schema", revision=head, before=revision)


def _back_up(path: Path, backup: Path) -> None:
    backup.parent.mkdir(parents=True, exist_ok=True)
    partial = backup.with_suffix(".part")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
    partial.rename(backup)


def _is_known(revision: str) -> bool:
    return revision in {script.revision for script in _scripts().walk_revisions()}


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def _newer(path: Path, revision: str) -> str:
    return (
        f"the database {path} has schema {revision}, which this version of Millwatch does not know; "
        "install the version that made it"
    )


def _way_back(backups: Path) -> str:
    copies = sorted(backups.glob("*.db"), key=lambda copy: copy.stat().st_mtime)
    if not copies:
        return f"restore it from your backup (there is none in {backups})"
    return f"or stop Millwatch and put back the newest backup, {copies[-1]}"


def _cause(error: Exception) -> str:
    return str(error.orig) if isinstance(error, DBAPIError) else str(error)
