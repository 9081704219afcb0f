"""`millwatch db`, on what is no sound database, and on one of another version."""

import json
import shutil
import sqlite3
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from alembic.command import upgrade
from alembic.config import Config
from builders import Station
from commands import Millwatch
from filesystems import hanging, obeying_permissions
from records import finding, open_store, record

from daemon.store.backups import back_up
from daemon.store.database import Database, StoreError
from daemon.store.images import count_by_verdict
from daemon.store.upgrading import MIGRATIONS, open_existing


def test_what_is_no_backup_is_not_called_sound_and_it_is_said_what_to_do(
    millwatch: Millwatch, station: Station, tmp_path: Path
) -> None:
    config = ("--config", station.config)
    empty, torn = tmp_path / "empty.db", tmp_path / "torn.db"
    station.state_dir.mkdir()
    empty.touch()
    torn.write_bytes(b"torn" * 4096)
    checked = millwatch("db", "check", empty, *config)
    assert (checked.status, checked.out) == (1, "")
    assert "is empty. Try another backup" in checked.err
    assert "Try another backup" in millwatch("db", "check", torn, *config).err
    restored = millwatch("db", "restore", torn, *config).err
    assert restored.startswith(f"nothing is restored: the database {torn} is damaged: ")
    assert restored.endswith("The database in use is as it was. Try another backup\n")
    open_store(station.state_dir).close()
    shutil.copy(torn, station.database)
    for command in (("db", "check"), ("db", "backup"), ("report", "rates"), ("audit",)):
        told = millwatch(*command, *config)
        assert told.status in (1, 78)
        assert "`millwatch db restore FILE`" in told.err, command


def test_a_folder_for_backups_may_be_named_from_where_one_stands(
    millwatch: Millwatch, station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.state_dir.mkdir()
    open_store(station.state_dir).close()
    (tmp_path / "usb").mkdir()
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        done = millwatch("db", "backup", "usb", "--keep", "2", "--config", station.config)
        assert done.status == 0, done.err
    assert done.out.splitlines()[1] == "1 older deleted"
    assert Path(done.out.splitlines()[0]) in (tmp_path / "usb").iterdir()
    assert len(list((tmp_path / "usb").iterdir())) == 2


def test_a_folder_that_is_mistyped_or_whose_disk_is_not_mounted_is_not_made_for_a_backup(
    millwatch: Millwatch, station: Station, tmp_path: Path
) -> None:
    station.state_dir.mkdir()
    open_store(station.state_dir).close()
    away = tmp_path / "usb" / "line"
    for asked in ((away / "b.db",), (away, "--keep", "2")):
        done = millwatch("db", "backup", *asked, "--config", station.config)
        assert done.status == 1
        assert f"nothing is backed up: there is no folder {away}; mount its disk" in done.err
        assert not away.parent.exists()
    done = millwatch("db", "backup", station.config, "--keep", "2", "--config", station.config)
    assert "name a folder" in done.err


def test_a_nightly_backup_that_fails_is_told_by_the_daemon_until_one_succeeds(
    millwatch: Millwatch, station: Station
) -> None:
    backups = station.state_dir / "backups"
    nightly = ("db", "backup", "--keep", "14", "--config", station.config)
    with station.running():
        backups.touch()  # no folder can be made there
        failed = millwatch(*nightly)
        assert failed.status == 1
        assert "is not backed up" in failed.err or "could not be backed up" in failed.err
        told = station.troubles()["backup"]
        assert told.startswith("the last backup of the database failed: the database ")
    with station.running():  # else an alarm would tell that it is over
        assert station.troubles()["backup"] == told
        backups.unlink()
        assert millwatch(*nightly).status == 0
        assert "backup" not in station.troubles()


def test_a_backup_is_put_back_while_the_share_of_the_review_folder_hangs(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.mkdir()
    database = open_store(station.state_dir)
    record(database, finding(1), finding(2))
    copy = station.root / "backup.db"
    back_up(database.path, copy)
    database.close()
    station.review.mkdir()
    config = ("--config", station.config)
    with hanging(station.review):
        restored = millwatch("db", "restore", copy, *config)
        assert (restored.status, restored.err) == (0, "")
        # Whose ids were given is then known to nobody: one that is given twice would mix up two images.
        station.database.unlink()
        refused = millwatch("db", "restore", copy, *config)
        assert refused.status == 1
        assert "See whether the server of its share is up" in refused.err
        assert not station.database.exists()
    assert millwatch("db", "restore", copy, *config).status == 0


def test_an_audit_does_not_wait_for_a_share_that_hangs(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.mkdir()
    open_store(station.state_dir).close()
    archive = station.state_dir / "archive"
    archive.mkdir()
    with hanging(archive):
        done = millwatch("audit", "--config", station.config)
    assert done.status == 1
    assert f"nothing is audited: of {archive} the share hangs" in done.err


def test_a_name_that_no_file_can_have_is_told_in_words(
    millwatch: Millwatch, station: Station, tmp_path: Path
) -> None:
    station.state_dir.mkdir()
    open_store(station.state_dir).close()
    done = millwatch("db", "backup", tmp_path / ("x" * 300), "--config", station.config)
    assert (done.status, done.err.startswith("millwatch: no file can have a name as long as ")) == (
        1,
        True,
    ), done.err


def test_an_older_database_is_upgraded_by_command_and_copied_first(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.mkdir()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    database = Database(station.database)
    with database.writing() as connection:
        config.attributes["connection"] = connection
        upgrade(config, "0003")
    database.close()
    refused = millwatch("audit", "--config", station.config)
    assert "has the older schema 0003" in refused.err
    done = millwatch("db", "upgrade", "--config", station.config)
    assert done.status == 0, done.err
    assert "was brought to schema" in done.out
    (copy,) = (station.state_dir / "backups").iterdir()
    assert str(copy) in done.err
    assert millwatch("db", "check", copy, "--config", station.config).status == 0


def test_commands_that_read_a_newer_versions_database_name_the_way_back(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.mkdir()
    open_store(station.state_dir).close()
    with closing(sqlite3.connect(station.database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for command in (("report", "rates"), ("audit",)):
        refused = millwatch(*command, "--config", station.config)
        assert refused.status == 1
        assert "has schema 9999, which this version of Millwatch does not know" in refused.err
        assert "install the version that made it" in refused.err


def test_reports_of_a_copy_leave_it_as_it_is_also_where_nobody_may_write(
    millwatch: Millwatch, station: Station, tmp_path: Path
) -> None:
    station.state_dir.mkdir()
    database = open_store(station.state_dir)
    record(database, finding(1), finding(2))
    folder = tmp_path / "copies"
    backup, plain = folder / "backup.db", folder / "plain.db"
    back_up(database.path, backup)
    database.close()
    shutil.copy(database.path, plain)  # as people do, of a line that stands: it had a log
    config = tmp_path / "copy.toml"
    for copy in (backup, plain):
        before = copy.read_bytes()
        config.write_text(f'state_dir = "{folder}"\ndatabase_url = "sqlite:///{copy}"\n')
        for is_closed in (True, False):
            folder.chmod(0o555 if is_closed else 0o755)
            with obeying_permissions() if is_closed else nullcontext():
                told = millwatch("report", "rates", "--format", "json", "--config", config)
                checked = millwatch("db", "check", copy, "--config", config)
            assert told.status == 0, told.err
            assert [each["inspected"] for each in json.loads(told.out)] == [2]
            assert checked.status == 0, checked.err
        assert copy.read_bytes() == before
    assert sorted(folder.iterdir()) == [backup, plain]


def test_a_copy_that_is_written_to_while_it_is_read_in_a_closed_folder_is_told(
    tmp_path: Path,
) -> None:
    database = open_store(tmp_path)
    database.close()
    tmp_path.chmod(0o555)

    def read() -> None:
        with open_existing(database.path) as copy:
            count_by_verdict(copy)
            tmp_path.chmod(0o755)
            record(Database(database.path), finding(1))

    with obeying_permissions(), pytest.raises(StoreError, match="while it was read; try again"):
        read()
