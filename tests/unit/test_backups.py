"""Copies of the database: made, checked, and put back."""

import os
import sqlite3
import stat
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from filesystems import filesystem, where_modes_are_the_mounts
from records import NOW, another_process, count, finding, open_store, record, rows

from daemon.store.backups import back_up, delete_old_backups, new_backup
from daemon.store.database import Database, StoreError
from daemon.store.restoring import restore
from daemon.store.soundness import examine
from daemon.store.upgrading import DatabaseRefusedError


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def images_in(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM image").fetchone()[0])


def backup_of(store: Database) -> Path:
    copy = store.path.parent / "elsewhere" / "backup.db"
    back_up(store.path, copy)
    return copy


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def spoil(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(path.stat().st_size // 4))


# --- made ------------------------------------------------------------------------------------------


@pytest.mark.fault(25)
def test_a_backup_is_one_file_with_every_commit_however_busy_the_database_is(
    store: Database,
) -> None:
    record(store, finding(1))
    store.path.chmod(0o640)
    insert = "INSERT INTO web_user VALUES ('anna', 'look', 'x', '2026-03-01T12:00:00Z')"
    with another_process(store.path, insert, "BEGIN IMMEDIATE", "DELETE FROM image"):
        copy = backup_of(store)
    assert store.path.with_name("millwatch.db-wal").stat().st_size > 0
    assert names_in(copy.parent) == ["backup.db"]
    assert images_in(copy) == 1, "what was committed, and not what was about to be"
    assert examine(copy).is_sound
    assert stat.S_IMODE(copy.stat().st_mode) == 0o640


def test_a_backup_to_a_stick_or_a_share_that_knows_no_permissions_is_made(
    store: Database, tmp_path: Path
) -> None:
    record(store, finding(1))
    copy = tmp_path / "stick" / "copy.db"

    def back_up_there() -> None:
        with pytest.raises(PermissionError):
            store.path.chmod(0o640)
        back_up(store.path, copy)

    where_modes_are_the_mounts(back_up_there)
    assert images_in(copy) == 1


def test_a_backup_overwrites_nothing(store: Database) -> None:
    copy = backup_of(store)
    record(store, finding(1))
    with pytest.raises(StoreError, match=r"backup\.db is there already"):
        back_up(store.path, copy)
    assert images_in(copy) == 0


def test_without_room_no_backup_is_begun(store: Database, tmp_path: Path) -> None:
    with filesystem(tmp_path / "small", size="64k"):
        with pytest.raises(StoreError, match=r"has 0\.1 MB free, and the copy needs"):
            back_up(store.path, tmp_path / "small" / "copy.db")
        assert names_in(tmp_path / "small") == []


def test_of_old_backups_the_newest_are_kept_and_strangers_files_left_alone(
    store: Database,
) -> None:
    """And the last one before an upgrade: the version that ran then knows none that is newer."""
    folder = store.path.parent / "backups"
    folder.mkdir()
    days = [NOW + timedelta(days=number) for number in range(5)]
    names = [
        new_backup(store.path, folder, "0003" if n < 2 else "0005", day).name
        for n, day in enumerate(days)
    ]
    strangers = ["millwatch.db", "millwatch-notes.db", f"other-{names[0]}", f"{names[0]}.part"]
    for name in (*names, *strangers):
        (folder / name).touch()
    made = folder / names[-1]
    deleted = delete_old_backups(store.path, made, keep=2)
    assert [each.name for each in deleted] == [names[0], names[2]]
    assert names_in(folder) == sorted([names[1], *names[3:], *strangers])
    assert delete_old_backups(store.path, made, keep=2) == []


def test_what_kills_left_of_earlier_backups_goes_with_the_next_one_and_nothing_else(
    store: Database,
) -> None:
    folder = store.path.parent / "backups"
    folder.mkdir()
    ours = new_backup(store.path, folder, "0010", NOW).name
    left = [f"{ours}.part", f"{ours}.part-journal"]
    stay = [f"{ours}-journal", "millwatch-notes.db.part", f"other-{ours}.part"]
    for name in (*left, *stay):
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    being_made = f"{ours.replace('0010', '0011')}.part"
    (folder / being_made).touch()
    back_up(store.path, folder / "copy.db")
    assert names_in(folder) == sorted(["copy.db", being_made, *stay])


def test_a_place_that_takes_no_backup_is_what_is_to_be_mended_and_not_the_database(
    store: Database, tmp_path: Path
) -> None:
    (tmp_path / "stick").touch()
    with pytest.raises(StoreError, match="Mend that: permissions, or a disk") as raised:
        back_up(store.path, tmp_path / "stick" / "copy.db")
    assert "put back" not in str(raised.value)


@pytest.mark.fault(26)
def test_the_backup_just_made_is_kept_where_the_clock_fell_back(store: Database) -> None:
    folder = store.path.parent / "backups"
    for days in (9001, 9002, 0):
        made = new_backup(store.path, folder, "0010", NOW + timedelta(days=days))
        back_up(store.path, made)
        delete_old_backups(store.path, made, keep=2)
    assert len(names_in(folder)) == 2
    assert examine(made).is_sound


# --- checked ---------------------------------------------------------------------------------------


def test_a_sound_database_is_called_so_while_a_program_writes_to_it(store: Database) -> None:
    record(store, finding(1), finding(2, "pass"), finding(3, "unreadable"))
    with another_process(store.path, "BEGIN IMMEDIATE", "DELETE FROM tally"):
        found = examine(store.path)
    assert found.is_sound
    assert (found.images, found.forgotten, found.remarks) == (3, 0, ())


@pytest.mark.fault(25)
def test_damaged_pages_are_told(store: Database) -> None:
    record(store, *map(finding, range(300)))
    copy = backup_of(store)
    # A value of an index that its row does not have: what `quick_check` does not look at.
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'captured_at)', 'recorded_at)') "
            "WHERE name = 'image_captured_at'"
        )
    found = examine(copy)
    assert not found.is_sound
    assert "image_captured_at" in found.damage[0]


def test_a_row_that_refers_to_none_is_damage(store: Database) -> None:
    execute(
        store.path,
        "INSERT INTO label (image_id, label, labelled_by, labelled_at) VALUES (7, 'x', 'x', 'x')",
    )
    assert examine(store.path).damage == (
        "row 1 of label refers to a row of image that is not there",
    )


def test_a_schema_that_is_not_as_declared_is_told_and_what_somebody_added_is_only_noted(
    store: Database,
) -> None:
    execute(store.path, "DROP INDEX image_captured_at", "DROP VIEW labels")
    execute(store.path, "CREATE VIEW labels AS SELECT 1 AS image_id", "CREATE TABLE own (x)")
    found = examine(store.path)
    assert found.differences == (
        "the index image_captured_at is missing",
        "the view labels is not as declared",
    )
    assert found.remarks == ("the table own is somebody's own",)


def test_aggregates_that_lack_images_are_told(store: Database) -> None:
    record(store, finding(1), finding(2), finding(3, "pass"))
    execute(store.path, "UPDATE tally SET images = 1 WHERE verdict = 'defect'")
    execute(store.path, "DELETE FROM tally WHERE verdict = 'pass'")
    assert examine(store.path).differences == (
        "the aggregates that reports read lack 2 recorded images",
    )


def test_days_of_cameras_that_lack_images_are_told(store: Database) -> None:
    record(store, finding(1))
    assert examine(store.path).is_sound
    execute(store.path, "DELETE FROM camera_day")
    assert examine(store.path).differences == (
        "fewer images are counted than are recorded: of 1 day of a camera",
    )


def test_aggregates_may_count_images_whose_records_were_deleted_for_their_age(
    store: Database,
) -> None:
    record(store, finding(1), finding(2))
    execute(store.path, "DELETE FROM image WHERE id = 1")
    assert examine(store.path).is_sound
    assert examine(store.path).forgotten == 1
    told = examine(store.path, may_forget=False).differences
    assert ["count 1 image without a record" in line for line in told] == [True]


# --- put back --------------------------------------------------------------------------------------


def test_what_is_put_back_is_the_backup_and_what_was_there_is_kept(store: Database) -> None:
    record(store, finding(1))
    copy = backup_of(store)
    record(store, finding(2), finding(3))
    store.close()
    done = restore(store.path, copy, now=NOW)
    assert done.soundness.images == 1
    assert count(store) == 1
    assert done.replaced == store.path.with_name("millwatch.db.replaced-20260301T120000Z")
    assert images_in(done.replaced) == 3
    assert examine(store.path).is_sound
    assert images_in(copy) == 1


def test_a_session_that_was_ended_since_the_backup_is_not_back(store: Database) -> None:
    execute(
        store.path,
        "INSERT INTO web_user VALUES ('anna', 'look', 'x', '2026-03-01T12:00:00Z')",
        "INSERT INTO web_session SELECT 'token', name, added_at, '2026-03-02T00:00:00Z' FROM web_user",
    )
    copy = backup_of(store)
    execute(store.path, "DELETE FROM web_session")
    store.close()
    restore(store.path, copy, now=NOW)
    assert rows(store, "SELECT * FROM web_session") == []
    assert rows(store, "SELECT name FROM web_user") == [("anna",)]


@pytest.mark.fault(64)
def test_nothing_of_the_replaced_database_is_left_in_the_log_or_lost_from_it(
    store: Database,
) -> None:
    """A log of another database beside one would be applied to it."""
    copy = backup_of(store)
    with another_process(store.path, "BEGIN", "SELECT count(*) FROM image"):  # the log must stay
        record(store, finding(1))
        done = restore(store.path, copy, now=NOW)
        assert done.replaced is not None
    assert not store.path.with_name("millwatch.db-wal").exists()
    assert count(store) == 0
    with closing(sqlite3.connect(done.replaced)) as connection:
        assert connection.execute("SELECT count(*) FROM image").fetchone() == (1,)


@pytest.mark.fault(64)
def test_ids_that_were_given_are_not_given_again(store: Database) -> None:
    record(store, finding(1))
    copy = backup_of(store)
    record(store, finding(2), finding(3))
    store.close()
    restore(store.path, copy, now=NOW)
    again = open_store(store.path.parent)
    assert [intent.image_id for intent in record(again, finding(4))] == [4]
    again.close()
    restore(store.path, copy, now=NOW, given_ids=70)
    again = open_store(store.path.parent)
    assert [intent.image_id for intent in record(again, finding(4))] == [71]
    again.close()
    names = sorted(path.name for path in store.path.parent.glob("*.replaced-*"))
    assert names == [
        "millwatch.db.replaced-20260301T120000Z",
        "millwatch.db.replaced-20260301T120000Z-1",
    ]


@pytest.mark.fault(25)
def test_a_damaged_database_is_replaced_and_kept_as_it_was(store: Database) -> None:
    record(store, *map(finding, range(300)))
    copy = backup_of(store)
    store.close()
    spoil(store.path)
    damaged = store.path.read_bytes()
    done = restore(store.path, copy, now=NOW)
    assert done.replaced is not None
    assert done.replaced.read_bytes() == damaged
    assert count(store) == 300


def test_where_there_is_no_database_a_backup_becomes_it(store: Database, tmp_path: Path) -> None:
    record(store, finding(1))
    copy = backup_of(store)
    done = restore(tmp_path / "new" / "millwatch.db", copy, now=NOW)
    assert done.replaced is None
    assert images_in(tmp_path / "new" / "millwatch.db") == 1


def damaged(copy: Path) -> None:
    spoil(copy)


def newer(copy: Path) -> None:
    execute(copy, "UPDATE alembic_version SET version_num = '9999'")


def empty(copy: Path) -> None:
    copy.write_bytes(b"")


def missing(copy: Path) -> None:
    copy.unlink()


def another_programs(copy: Path) -> None:
    copy.unlink()
    execute(copy, "CREATE TABLE invoices (x)")


@pytest.mark.fault(25)
@pytest.mark.parametrize("fault", [damaged, newer, empty, missing, another_programs])
def test_what_is_no_good_backup_is_refused_and_nothing_is_changed(
    store: Database, fault: object
) -> None:
    record(store, *map(finding, range(300)))
    copy = backup_of(store)
    assert callable(fault)
    fault(copy)
    before = rows(store, "SELECT * FROM image")
    store.close()
    listing = names_in(store.path.parent)
    with pytest.raises(
        (StoreError, DatabaseRefusedError), match=r"damaged|malformed|9999|nothing|no file|other"
    ):
        restore(store.path, copy, now=NOW)
    assert rows(store, "SELECT * FROM image") == before
    assert names_in(store.path.parent) == listing


def test_the_database_is_no_backup_of_itself(store: Database) -> None:
    with pytest.raises(StoreError, match="is the database itself"):
        restore(store.path, store.path, now=NOW)
