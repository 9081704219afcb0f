"""Disks that are away or hang, and a clock that is wrong, make no image old (rows 26, 28, 54, 56 and 57)."""

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from builders import Station, surface_file, wait_until
from filesystems import filesystem, full, hanging, read_only, unmounted
from kept import (
    a_copy_of,
    age,
    archived_by_a_clock_that_was_ahead,
    bring_to_review,
    files,
    keep,
    leave_little_room,
    left_to_others,
    on_another_disk,
    passed,
)

from daemon.clock import now_utc
from daemon.files.mounts import MountMemory
from daemon.process.health import Health
from daemon.retention.deleting import Retention
from daemon.retention.jumps import ClockTrust
from daemon.store.database import Database


@pytest.fixture
def line(used: Station, tmp_path: Path) -> Station:
    return a_copy_of(used, tmp_path)


@pytest.mark.fault(57)
@pytest.mark.parametrize("gone", [False, True], ids=["left there", "away when it was moved"])
def test_records_stay_while_the_share_with_their_images_is_not_mounted(
    tmp_path: Path, commissioned_model: Path, *, gone: bool
) -> None:
    station = left_to_others(tmp_path, commissioned_model)
    folder, elsewhere = station.folder("top-1"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    with filesystem(folder, size="4m"):
        with station.running():
            for number in range(4):
                station.drop("top-1", f"{number}.jpg", surface_file("no_defect", seed=number))
            station.wait_for_images(4)
        left = passed(station)
        assert left > 0
        if gone:
            with closing(sqlite3.connect(station.database)) as database, database:
                database.execute("UPDATE image SET progress = 'gone', path = NULL")
        with unmounted(folder, elsewhere):
            keep(station, days=401, rows_days=400)
            assert passed(station) == left
        keep(station, days=401, rows_days=400)
        assert passed(station) == left, "the images lie there again"
        for path in folder.iterdir():
            path.unlink()
        keep(station, days=401, rows_days=400)
        assert passed(station) == 0


@pytest.mark.fault(56)
def test_an_archive_that_is_not_mounted_is_not_taken_for_a_deleted_one(line: Station) -> None:
    archive = line.state_dir / "archive"
    archive.rename(line.state_dir / "elsewhere")
    archive.mkdir()
    keep(line, days=401, rows_days=400, archive_days=1)
    assert line.query("SELECT count(*) FROM inspections WHERE path IS NULL") == [(0,)]
    archive.rmdir()
    (line.state_dir / "elsewhere").rename(archive)
    assert len(files(archive)) == passed(line)


@pytest.mark.fault(56)
def test_an_archive_whose_disk_is_away_is_not_deleted_however_much_is_archived_meanwhile(
    line: Station,
) -> None:
    archive = line.state_dir / "archive"
    before, elsewhere = line.state_dir / "before", line.state_dir / "elsewhere"
    elsewhere.mkdir()
    _, in_review = bring_to_review(line)
    archive.rename(before)
    gone = "SELECT count(*) FROM inspections WHERE verdict = 'pass' AND path IS NULL"
    with filesystem(archive, size="4m"):
        shutil.copytree(before, archive, dirs_exist_ok=True)
        assert keep(line) == {}, "this is its disk"
        with unmounted(archive, elsewhere):
            with line.running():
                line.drop("top-1", "meanwhile.jpg", surface_file("no_defect", seed=0))
                line.wait_for_images(19)
            assert "meanwhile.jpg" in files(archive)
            for _ in ("a start", "another"):
                told = keep(line, days=401, rows_days=400, archive_days=1)
                assert "nothing is deleted there until its disk is mounted" in told["retention"]
                assert line.query(gone) == [(0,)]
            assert files(line.state_dir / "quarantine") == [], "which is in its place"
        assert len(files(archive)) == passed(line) - 2
        assert keep(line, days=2, archive_days=1) == {}
        assert files(archive) == []
        assert in_review.exists()


@pytest.mark.fault(56)
def test_an_archive_that_was_copied_to_another_disk_is_deleted_from_there(line: Station) -> None:
    archive = line.state_dir / "archive"
    assert keep(line) == {}
    before = line.state_dir / "before"
    archive.rename(before)
    with filesystem(archive, size="4m"):
        (archive / "lost+found").mkdir()
        assert "took its place" in keep(line, days=2, archive_days=1)["retention"]
        shutil.copytree(before, archive, dirs_exist_ok=True)
        assert keep(line, days=2, archive_days=1) == {}
        assert files(archive) == []


@pytest.mark.fault(28)
def test_an_archive_that_hangs_is_told_and_holds_up_no_camera(line: Station) -> None:
    line.tables["retention"] = {"archive_days": 1}
    line.write_config()
    age(line, 2)
    with hanging(line.state_dir / "archive" / "top-1"), line.running():
        told = wait_until(lambda: line.troubles().get("retention hangs"))
        assert "does not answer" in told
        for number in range(3):
            line.drop("bottom-1", f"{number}.jpg", surface_file("patches", seed=50 + number))
            line.wait_for_images(19 + number)
        assert "retention hangs" in line.troubles()
        assert line.query("SELECT count(*) FROM inspections WHERE path IS NULL") == [(0,)]
    assert keep(line, days=2, archive_days=1) == {}
    assert files(line.state_dir / "archive") == []


def test_an_archive_that_hangs_is_told_once_it_was_silent_for_long_and_no_image_waits_for_that(
    line: Station,
) -> None:
    health = Health()
    settings = line.settings()
    mounts = MountMemory(settings.state_dir / "drop_folders.json")
    with hanging(line.state_dir / "archive"), closing(Database(line.database)) as database:
        retention = Retention(
            settings, database=database, health=health, clock=now_utc, mounts=mounts
        )
        assert not retention.step()
        assert health.troubles() == {}, "the first step waits no longer than the line may"

        def is_told() -> bool:
            return not retention.step() and "retention hangs" in health.troubles()

        wait_until(is_told)
    retention.close(seconds=5.0)


@pytest.mark.fault(54)
def test_a_start_on_a_full_disk_makes_room_of_the_oldest_images(
    line: Station, tmp_path: Path
) -> None:
    """As after a power cut, where another program's log had filled the disk."""
    age(line, 1)
    disk = tmp_path / "disk"
    with filesystem(disk, size="64m"):
        on_another_disk(line, disk)
        line.write_config()
        reserve = line.database.with_name("millwatch.db.reserve")
        with line.running():
            wait_until(reserve.exists)
        assert files(line.state_dir / "archive") != []
        with full(disk), line.running():
            assert not reserve.exists()
            wait_until(lambda: files(line.state_dir / "archive") == [])
            gone = "SELECT 1 FROM inspections WHERE verdict = 'pass' AND path IS NOT NULL"
            wait_until(lambda: line.query(gone) == [])
            assert "is almost full" in line.troubles()["space"]
        with line.running():
            wait_until(reserve.exists)


@pytest.mark.fault(26)
def test_a_clock_that_jumps_ahead_makes_no_image_old(line: Station) -> None:
    line.tables["retention"] = {"archive_days": 30}
    line.write_config()
    ahead = timedelta(0)
    with line.running(clock=lambda: now_utc() + ahead):
        wait_until(lambda: line.status()["state"] == "running")
        ahead = timedelta(days=4000)
        told = wait_until(lambda: line.troubles().get("clock"))
    assert "jumped ahead by 4000 days" in told
    assert len(files(line.state_dir / "archive")) == passed(line)


@pytest.mark.fault(26)
def test_a_clock_that_is_wrong_at_the_start_makes_no_image_old_until_a_day_has_passed(
    line: Station,
) -> None:
    every_age = {"archive_days": 30, "quarantine_days": 30, "rows_days": 60}
    before = line.files()
    for start in ("the first with that clock", "another, which finds it as it was"):
        told = keep(line, days=4000, ran=False, **every_age)
        assert line.files() == before, start
        assert "jumped ahead by 4000 days" in told["clock"]
        assert "For a day nothing is deleted" in told["clock"]
    memory = line.state_dir / "clock.json"
    seen = json.loads(memory.read_text())
    assert 0 < seen["believed_in_seconds"] <= 86_400
    memory.write_text(json.dumps({**seen, "believed_in_seconds": 0}))
    assert keep(line, days=4000, ran=False, **every_age) == {}
    assert files(line.state_dir / "archive") == files(line.state_dir / "quarantine") == []


@pytest.mark.fault(26, 54)
def test_a_clock_that_is_wrong_at_the_start_makes_room_of_nothing_of_the_last_hour(
    line: Station, tmp_path: Path
) -> None:
    with filesystem(tmp_path / "small", size="4m"):
        on_another_disk(line, tmp_path / "small")
        leave_little_room(tmp_path / "small")
        before = files(line.state_dir / "archive")
        keep(line, days=30, ran=False)
        assert files(line.state_dir / "archive") == before
        age(line, 1)
        assert "clock" in keep(line, days=30, ran=False), "still"
        assert files(line.state_dir / "archive") == [], "older than an hour by either clock"


def test_a_night_without_the_service_is_no_clock_that_jumped(line: Station) -> None:
    assert keep(line, days=0.9, ran=False, archive_days=1) == {}
    assert len(files(line.state_dir / "archive")) == passed(line)
    assert keep(line, days=1.7, ran=False, archive_days=1) == {}
    assert files(line.state_dir / "archive") == []


@pytest.mark.fault(26)
def test_a_clock_that_was_ahead_and_is_put_right_while_the_service_is_off_is_believed(
    tmp_path: Path,
) -> None:
    ahead, health = timedelta(), Health()

    def started() -> ClockTrust:
        return ClockTrust(tmp_path / "clock.json", clock=lambda: now_utc() + ahead, health=health)

    trust = started()
    assert trust.is_trusted()
    ahead = timedelta(hours=20)
    assert not trust.is_trusted()
    assert "jumped ahead by 20:00:00" in health.troubles()["clock"]
    ahead = timedelta()
    assert started().is_trusted()
    assert health.troubles() == {}


def test_a_clock_that_begins_in_2000_until_it_is_set_is_believed_at_once(tmp_path: Path) -> None:
    ahead = timedelta()
    health = Health()

    def started() -> ClockTrust:
        clock = tmp_path / "clock.json"
        return ClockTrust(clock, clock=lambda: now_utc() + ahead, health=health)

    assert started().is_trusted()
    ahead = -timedelta(days=9000)
    trust = started()
    assert trust.is_trusted(), "everything is younger by it"
    ahead = timedelta(minutes=2)
    assert trust.is_trusted(), "it goes on from where it was before"
    assert health.troubles() == {}
    ahead = timedelta(days=9000)
    assert not trust.is_trusted()
    assert trust.now() < now_utc() + timedelta(hours=1)


def test_an_archive_that_became_read_only_is_not_tried_page_by_page_without_a_rest(
    line: Station, tmp_path: Path
) -> None:
    archive = line.state_dir / "archive"
    archived_by_a_clock_that_was_ahead(line, 250)
    age(line, 30_000)
    archive.rename(tmp_path / "archive")
    line.tables["retention"] = {"archive_days": 1}
    line.write_config()
    health, database = Health(), Database(line.database)
    mounts = MountMemory(tmp_path / "mounts.json")
    with filesystem(archive, size="9m"):
        shutil.copytree(tmp_path / "archive", archive, dirs_exist_ok=True)
        retention = Retention(
            line.settings(), database=database, health=health, clock=now_utc, mounts=mounts
        )
        with read_only(archive):
            while not health.troubles():
                retention.step(seconds=5.0)
            assert "Read-only file system" in health.troubles()["retention"]
            assert not retention.step(seconds=5.0)
        wait_until(lambda: retention.step(seconds=5.0) and len(files(archive)) < 200)
        retention.close(seconds=5.0)
    database.close()
