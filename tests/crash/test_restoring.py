"""A backup that is put back, killed before each step that changes the disk."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from builders import clean_environment
from records import NOW, finding, open_store, record

from daemon.store.backups import back_up
from daemon.store.restoring import restore
from daemon.store.soundness import examine

ROOT = Path(__file__).parents[2]


def images_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM image").fetchone()[0])


@pytest.mark.fault(64)
def test_killed_at_any_step_there_is_a_whole_database_and_nothing_of_the_other_is_lost(
    tmp_path: Path,
) -> None:
    pristine, killed = tmp_path / "pristine", tmp_path / "killed"
    used = tmp_path / "used"
    used.mkdir()
    store = open_store(used)
    record(store, finding(1))
    back_up(store.path, used / "backup.db")
    record(store, finding(2), finding(3))
    shutil.copytree(used, pristine)  # as a kill leaves it: with a log that was not written back
    store.close()
    assert (pristine / "millwatch.db-wal").stat().st_size > 0
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("restoring.py")), str(pristine), str(killed)],
        env={**clean_environment(), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    steps = done.stdout.split()
    assert {"fsync", "link", "replace"} <= set(steps)
    seen = []
    for step in range(1, len(steps) + 1):
        folder = killed / str(step)
        database = folder / "millwatch.db"
        assert examine(database).is_sound
        images = images_in(database)
        seen.append(images)
        kept = [images_in(each) for each in folder.glob("*.replaced-*Z")]
        assert images == 3 or 3 in kept, "the database that was in use is there, or beside"
        restore(database, folder / "backup.db", now=NOW)
        assert images_in(database) == 1
    assert set(seen) == {3, 1}
