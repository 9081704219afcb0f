"""The database of a line: what holds whatever else happens to its file."""

import itertools
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from records import (
    another_process,
    assert_tallies_agree,
    count,
    finding,
    open_store,
    record,
    rows,
    settle,
)
from sqlalchemy import text

from daemon.store import images
from daemon.store.database import Database, StoreError
from daemon.store.viewing import all_images


def pragma(store: Database, name: str) -> Any:
    with store.writing() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar()


@pytest.mark.fault(38)
def test_a_commit_is_on_the_disk_when_it_returns(store: Database) -> None:
    assert pragma(store, "journal_mode") == "wal"
    assert pragma(store, "synchronous") == 2, "2 is FULL"
    assert pragma(store, "foreign_keys") == 1


@pytest.mark.fault(24)
def test_while_another_program_writes_nothing_is_half_done(tmp_path: Path) -> None:
    store = open_store(tmp_path, busy_seconds=0.05)
    one, two = record(store, finding(1), finding(2))
    with another_process(store.path, "BEGIN IMMEDIATE"):
        with pytest.raises(
            StoreError, match=r"locked; nothing was changed\. End the program"
        ) as no:
            record(store, finding(3))
        assert no.value.again_helps
        with pytest.raises(StoreError):
            settle(store, one)
        with pytest.raises(StoreError):
            images.withdraw(store, [two])
        with pytest.raises(StoreError):
            images.replan(store, one, Path("/elsewhere"))
        assert images.pending(store) == [one, two], "reading goes on"
        assert images.count_by_verdict(store) == {"defect": 2}
    assert [intent.image_id for intent in record(store, finding(3))] == [3]
    store.close()


@pytest.mark.fault(24)
def test_what_a_transaction_has_read_still_holds_when_it_writes(store: Database) -> None:
    (intent,) = record(store, finding(1))
    with closing(sqlite3.connect(store.path, timeout=0)) as other:
        with store.writing() as connection:
            counted = connection.execute(text("SELECT count(*) FROM image")).scalar()
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("UPDATE image SET target = 'another'")
            connection.execute(text("UPDATE image SET notes = :n"), {"n": f"one of {counted}"})
        other.execute("UPDATE image SET target = 'another'")
        other.commit()
    assert rows(store, "SELECT notes, target FROM image") == [("one of 1", "another")]
    assert [each.image_id for each in images.pending(store)] == [intent.image_id]


def test_a_report_that_reads_for_hours_does_not_stop_the_line(tmp_path: Path) -> None:
    store = open_store(tmp_path, busy_seconds=0.05)
    record(store, finding(1))
    with another_process(store.path, "BEGIN", "SELECT * FROM image"):
        record(store, finding(2))
        settle(store, *images.pending(store))
        assert images.count_pending(store) == 0
    store.close()


def test_a_reader_of_one_answer_sees_one_moment(store: Database) -> None:
    record(store, finding(1), finding(2))
    seen = []
    for inspection in all_images(store):
        seen.append(inspection.id)
        record(store, finding(10 + inspection.id))
    assert seen == [1, 2]


def test_more_readers_than_cameras_never_wait_for_each_other(store: Database) -> None:
    record(store, finding(1))
    readers = [all_images(store) for _ in range(40)]
    assert [next(reader).id for reader in readers] == [1] * 40
    for reader in readers:
        assert list(reader) == []


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily: a test that fails may still hold files of it open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def record_without_end(store: Database) -> None:
    for number in itertools.count(1):
        record(store, finding(number))


@pytest.mark.fault(23)
def test_a_full_disk_changes_nothing_and_work_goes_on_when_there_is_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk"), closing(open_store(tmp_path / "disk")) as store:
        record(store, finding(0))
        ballast = tmp_path / "disk" / "ballast"
        with pytest.raises(OSError, match="No space"):
            fill(ballast)
        with pytest.raises(StoreError, match=r"full; nothing was changed\. Free space") as full:
            record_without_end(store)
        assert full.value.again_helps
        recorded = count(store)
        assert recorded > 0
        assert images.count_by_verdict(store) == {"defect": recorded}
        assert images.count_pending(store) == recorded

        ballast.unlink()
        record(store, finding(recorded))
        assert count(store) == recorded + 1
        assert_tallies_agree(store)


def test_a_database_that_is_damaged_while_open_is_said_to_need_a_person(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    record(store, *(finding(number) for number in range(200)))
    store.close()
    with store.path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(store.path.stat().st_size - 4096))
    with pytest.raises(StoreError, match="run `millwatch check`") as damaged:
        list(all_images(store))
    assert not damaged.value.again_helps
    store.close()
