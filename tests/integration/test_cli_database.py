"""`millwatch db`, on what is no sound database, and on one of an older version."""

import shutil
from pathlib import Path

from alembic.command import upgrade
from alembic.config import Config
from builders import Station, run_cli
from commands import Millwatch
from records import open_store

from daemon.store.database import Database
from daemon.store.upgrading import MIGRATIONS


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
    open_store(station.state_dir).close()
    shutil.copy(torn, station.database)
    for command in (("db", "check"), ("db", "backup"), ("report", "rates"), ("audit",)):
        told = millwatch(*command, *config)
        assert told.status in (1, 78)
        assert "`millwatch db restore FILE`" in told.err, command


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
    done = run_cli("db", "upgrade", "--config", station.config)
    assert done.returncode == 0, done.stderr
    assert "was brought to schema" in done.stdout
    (copy,) = (station.state_dir / "backups").iterdir()
    assert str(copy) in done.stderr
    assert millwatch("db", "check", copy, "--config", station.config).status == 0
