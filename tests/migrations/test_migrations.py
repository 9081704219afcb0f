import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from records import NOW, another_process, finding, open_store, record

from daemon.store import images
from daemon.store.database import Database, StoreError
from daemon.store.upgrading import (
    MIGRATIONS,
    DatabaseRefusedError,
    chain_of,
    find_schema_trouble,
    head_of,
    open_existing,
    prepare_database,
)

HEAD = ScriptDirectory(str(MIGRATIONS)).get_current_head()
ADD_COLUMN = '    op.add_column("tally", sa.Column("weight", sa.Integer, server_default="7"))\n'


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The migrations of a later version: today's, to which a test adds one."""
    folder = tmp_path / "later 100% new"
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def add_migration(scripts: Path, body: str) -> None:
    text = 'import sqlalchemy as sa\nfrom alembic import op\nrevision = "later"\n'
    head = ScriptDirectory.from_config(_config(scripts)).get_current_head()
    text += f"down_revision = {head!r}\ndef upgrade() -> None:\n{body}"
    (scripts / "versions" / "m9999_later.py").write_text(text)


def _config(scripts: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config


def prepare(folder: Path, *, scripts: Path = MIGRATIONS, days: int = 1) -> Database:
    return prepare_database(
        folder / "millwatch.db",
        backups=folder / "backups",
        now=NOW + timedelta(days=days),
        scripts=scripts,
        busy_seconds=0.05,
    )


def made(folder: Path, *numbers: int) -> Path:
    """A database of this version with so many images."""
    store = open_store(folder)
    record(store, *(finding(number) for number in numbers))
    store.close()
    return store.path


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def backups(folder: Path) -> list[Path]:
    return sorted((folder / "backups").glob("*"))


# --- opening ---------------------------------------------------------------------------------------


def test_a_database_is_made_where_there_is_none(tmp_path: Path) -> None:
    store = prepare(tmp_path)
    assert images.count_by_verdict(store) == {}
    store.close()
    assert backups(tmp_path) == []
    assert find_schema_trouble(store.path) is None


def test_an_empty_file_left_by_a_crash_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "millwatch.db").touch()
    assert find_schema_trouble(tmp_path / "millwatch.db") is None
    store = prepare(tmp_path)
    assert images.count_by_verdict(store) == {}
    store.close()


def test_a_current_database_is_opened_as_it_is(tmp_path: Path) -> None:
    made(tmp_path, 1, 2)
    store = prepare(tmp_path)
    assert images.count_by_verdict(store) == {"defect": 2}
    store.close()
    assert backups(tmp_path) == []


def test_an_older_database_is_copied_and_then_upgraded_with_all_its_data(
    tmp_path: Path, later: Path
) -> None:
    made(tmp_path, 1, 2)
    add_migration(later, ADD_COLUMN)
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / f"millwatch-{HEAD}-20260302T120000Z.db.part").write_text(
        "of a power cut"
    )

    store = prepare(tmp_path, scripts=later)

    assert images.count_by_verdict(store) == {"defect": 2}
    assert [intent.image_id for intent in images.pending(store)] == [1, 2]
    store.close()
    assert query(store.path, "SELECT images, weight FROM tally") == [(2, 7)]
    assert query(store.path, "SELECT version_num FROM alembic_version") == [("later",)]
    (backup,) = backups(tmp_path)
    assert backup.name == f"millwatch-{HEAD}-20260302T120000Z.db"
    assert query(backup, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert query(backup, "SELECT count(*) FROM image") == [(2,)]
    prepare(tmp_path, scripts=later, days=2).close()
    assert backups(tmp_path) == [backup], "one upgrade, one backup"


@pytest.mark.fault(25)
def test_the_backup_holds_commits_that_are_still_in_the_log(tmp_path: Path, later: Path) -> None:
    add_migration(later, ADD_COLUMN)
    store = open_store(tmp_path)
    record(store, finding(1))
    assert (tmp_path / "millwatch.db-wal").stat().st_size > 0
    upgraded = prepare(tmp_path, scripts=later)
    (backup,) = backups(tmp_path)
    assert query(backup, "SELECT count(*) FROM image") == [(1,)]
    upgraded.close()
    store.close()


@pytest.mark.fault(25)
@pytest.mark.parametrize(
    "fault",
    [
        '    op.execute("SELECT * FROM nowhere")\n',
        '    raise RuntimeError("nowhere to be found")\n',
    ],
    ids=["wrong SQL", "wrong Python"],
)
def test_a_migration_that_fails_midway_changes_nothing_and_names_the_backup(
    tmp_path: Path, later: Path, fault: str
) -> None:
    path = made(tmp_path, 1)
    before = query(path, "SELECT type, name, sql FROM sqlite_master ORDER BY 2")
    more = '    op.execute("DELETE FROM image")\n'
    add_migration(later, f"{ADD_COLUMN}{more}{fault}")

    with pytest.raises(DatabaseRefusedError, match="nowhere") as refused:
        prepare(tmp_path, scripts=later)

    (backup,) = backups(tmp_path)
    assert str(backup) in str(refused.value)
    assert "Nothing was changed" in str(refused.value)
    assert query(path, "SELECT type, name, sql FROM sqlite_master ORDER BY 2") == before
    assert query(path, "SELECT count(*) FROM image") == [(1,)]
    assert query(backup, "SELECT count(*) FROM image") == [(1,)]
    prepare(tmp_path).close()


def test_an_upgrade_while_another_program_writes_may_be_tried_again(
    tmp_path: Path, later: Path
) -> None:
    path = made(tmp_path, 1)
    add_migration(later, ADD_COLUMN)
    with (
        another_process(path, "BEGIN IMMEDIATE"),
        pytest.raises(StoreError, match="End the program that holds it"),
    ):
        prepare(tmp_path, scripts=later)
    assert backups(tmp_path) == [], "each of the tries would leave one more copy of the database"
    prepare(tmp_path, scripts=later).close()


def test_without_room_for_the_backup_nothing_is_upgraded(tmp_path: Path, later: Path) -> None:
    path = made(tmp_path, 1)
    add_migration(later, ADD_COLUMN)
    (tmp_path / "backups").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="could not be backed up"):
        prepare(tmp_path, scripts=later)
    assert query(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]


# --- refusing --------------------------------------------------------------------------------------


@pytest.mark.fault(25)
def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path, later: Path) -> None:
    made(tmp_path, 1)
    add_migration(later, ADD_COLUMN)
    prepare(tmp_path, scripts=later).close()
    before = (tmp_path / "millwatch.db").read_bytes()
    (backup,) = backups(tmp_path)

    with pytest.raises(DatabaseRefusedError) as refused:
        prepare(tmp_path)

    assert "has schema later" in str(refused.value)
    assert "install the version that made it" in str(refused.value)
    assert f"newest backup, {backup}" in str(refused.value)
    assert (tmp_path / "millwatch.db").read_bytes() == before


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE invoices (id)"],
        ["CREATE TABLE alembic_version (version_num)"],
        [
            "CREATE TABLE alembic_version (version_num)",
            f"INSERT INTO alembic_version VALUES ('{HEAD}')",  # noqa: S608 -- our own
            "CREATE TABLE invoices (id)",
        ],
    ],
    ids=["tables", "alembic's table alone", "a revision of the same name"],
)
def test_the_database_of_another_program_is_refused_and_left_alone(
    tmp_path: Path, statements: list[str]
) -> None:
    path = tmp_path / "millwatch.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    before = path.read_bytes()

    with pytest.raises(DatabaseRefusedError, match=r"is no Millwatch database.*set database_url"):
        prepare(tmp_path)

    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["millwatch.db"]


def spoil_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(100))


def spoil_pages(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size // 4))


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.fault(25)
@pytest.mark.parametrize("damage", [spoil_header, spoil_pages, cut_short], ids=lambda f: f.__name__)
def test_a_damaged_database_is_refused_and_the_newest_backup_named(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = made(tmp_path, *range(300))
    (tmp_path / "backups").mkdir()
    for age, name in enumerate(["newest.db", "older.db"]):
        backup = tmp_path / "backups" / name
        backup.touch()
        os.utime(backup, (10**9 - age, 10**9 - age))
    damage(path)
    before = path.read_bytes()

    with pytest.raises(DatabaseRefusedError) as refused:
        prepare(tmp_path)

    assert str(path) in str(refused.value)
    assert f"Put back the newest backup, {tmp_path / 'backups' / 'newest.db'}" in str(refused.value)
    assert path.read_bytes() == before
    assert str(path) in str(find_schema_trouble(path))


@pytest.mark.fault(25)
def test_without_any_backup_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "millwatch.db").write_text("not a database at all, but long enough to look at it")
    with pytest.raises(DatabaseRefusedError, match="there is none in"):
        prepare(tmp_path)


def test_a_folder_where_the_database_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "millwatch.db").mkdir()
    with pytest.raises(DatabaseRefusedError, match="is no file"):
        prepare(tmp_path)
    assert "is no file" in str(find_schema_trouble(tmp_path / "millwatch.db"))


# --- reading beside the daemon -----------------------------------------------------------------------


def test_reports_open_a_current_database_only(tmp_path: Path) -> None:
    path = made(tmp_path, 1)
    with open_existing(path) as store:
        assert images.count_by_verdict(store) == {"defect": 1}


def test_reports_say_what_an_empty_database_needs(tmp_path: Path) -> None:
    path = tmp_path / "millwatch.db"
    path.touch()
    with pytest.raises(StoreError, match="is empty; `millwatch run`"), open_existing(path):
        pass


def test_reports_say_why_a_damaged_database_cannot_be_read(tmp_path: Path) -> None:
    path = made(tmp_path, 1)
    spoil_header(path)
    with pytest.raises(StoreError, match="file is not a database"), open_existing(path):
        pass


def test_the_newest_schema_as_the_files_say_is_the_one_that_alembic_upgrades_to() -> None:
    scripts = ScriptDirectory.from_config(_config(MIGRATIONS))
    assert head_of(MIGRATIONS) == scripts.get_current_head()
    chain = {script.revision: script.down_revision for script in scripts.walk_revisions()}
    assert chain_of(MIGRATIONS) == chain


def test_a_start_on_a_database_that_is_up_to_date_does_without_alembic(tmp_path: Path) -> None:
    prepare(tmp_path).close()
    program = (
        "import sys, daemon.cli.main\n"
        "from pathlib import Path\n"
        "from datetime import UTC, datetime\n"
        "from daemon.store.upgrading import prepare_database\n"
        "path = Path(sys.argv[1])\n"
        "prepare_database(path, backups=path.parent, now=datetime.now(UTC)).close()\n"
        "print({'alembic', 'mako'} & set(sys.modules))\n"
    )
    path = tmp_path / "millwatch.db"
    done = subprocess.run(
        [sys.executable, "-c", program, path],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "set()\n", done.stderr
