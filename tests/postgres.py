"""A PostgreSQL of the tests' own, from the binaries of the system: no TCP, no password, gone at the end."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine

from daemon.store.upgrading import MIGRATIONS

_ACCOUNT = "nobody"  # the server refuses to run as root
_MIGRATED = "migrated"


@dataclass(frozen=True, kw_only=True)
class PostgresStore:
    """One line's database there, used as `daemon.store.database.Database` is."""

    engine: Engine

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            yield connection


@dataclass(kw_only=True)
class Postgres:
    """A server that runs, with a database to which every migration was applied."""

    folder: Path
    databases: int = 0

    def url(self, database: str) -> URL:
        query = {"host": str(self.folder)}
        return URL.create(
            "postgresql+psycopg", username="millwatch", database=database, query=query
        )

    def create(self, name: str, template: str = "template0") -> None:
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(
                f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'"
            )
        engine.dispose()

    @contextmanager
    def store(self) -> Iterator[PostgresStore]:
        """A new database with the schema of this version."""
        if not self.databases:
            self._migrate()
        self.databases += 1
        name = f"line_{self.databases}"
        self.create(name, _MIGRATED)
        engine = create_engine(self.url(name))
        try:
            yield PostgresStore(engine=engine)
        finally:
            engine.dispose()

    def _migrate(self) -> None:
        self.create(_MIGRATED)
        engine = create_engine(self.url(_MIGRATED))
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        engine.dispose()


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    named = shutil.which("initdb")
    return found[-1].parent if found else Path(named).parent if named else None


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL to start (Debian: apt install postgresql)")
    as_whom = ["runuser", "-u", _ACCOUNT, "--"] if os.geteuid() == 0 else []
    # Not pytest's folder, which another account may not enter; and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="millwatch-pg-", dir="/tmp"))
    if as_whom:
        os.chown(folder, pwd.getpwnam(_ACCOUNT).pw_uid, -1)

    def run(program: str, *arguments: str) -> None:
        words = [*as_whom, str(programs / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(words, check=True, cwd="/", stdout=subprocess.DEVNULL)

    try:
        run(
            "initdb",
            "--username=millwatch",
            "--auth=trust",
            "--locale=C",
            "--encoding=UTF8",
            "--no-sync",
        )
        server = f"-c listen_addresses= -c fsync=off -c unix_socket_directories={folder}"
        run("pg_ctl", "--wait", f"--log={folder / 'log'}", "-o", server, "start")
        try:
            yield Postgres(folder=folder)
        finally:
            run("pg_ctl", "--wait", "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder)
