"""What is deleted in time, and what never is."""

import copy
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from builders import Station, assert_every_image_accounted_for, surface_file, wait_until
from filesystems import filesystem, hanging, unmounted

from daemon.clock import now_utc
from daemon.disks import Room
from daemon.health import Health
from daemon.jumps import ClockTrust
from daemon.mounts import MountMemory
from daemon.retention import Retention
from daemon.store.database import Database

RATES = "SELECT * FROM defect_rate_hourly ORDER BY camera, hour"


TABLES = {"policy": {"max_missed_defect_rate": 0.2}}


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, commissioned_model: Path) -> Station:
    """A line that passes clean surfaces, and has judged images of each kind."""
    root = tmp_path_factory.mktemp("used")
    station = Station(root=root, model=commissioned_model, tables=TABLES)
    with station.running():
        for number in range(6):
            station.drop("top-1", f"clean-{number}.jpg", surface_file("no_defect", seed=number))
            station.drop("top-1", f"broken-{number}.jpg", b"no picture %d" % number)
            station.drop("bottom-1", f"defect-{number}.jpg", surface_file("patches", seed=number))
        station.wait_for_images(18)
    return station


@pytest.fixture
def line(used: Station, tmp_path: Path) -> Station:
    """A copy of it."""
    shutil.copytree(used.root, tmp_path, dirs_exist_ok=True)
    station = Station(
        root=tmp_path, model=used.model, tables=copy.deepcopy(TABLES), dropped=used.dropped
    )
    move(station.database, used.root, tmp_path)
    return station


def move(database: Path, before: Path, after: Path) -> None:
    """As if everything had always been there."""
    with closing(sqlite3.connect(database)) as connection, connection:
        paths = (os.fspath(before), os.fspath(after))
        connection.execute("UPDATE image SET path = replace(path, ?, ?)", paths)


def later(days: float) -> Callable[[], datetime]:
    moment = datetime.now(UTC) + timedelta(days=days)
    return lambda: moment


def keep(station: Station, *, days: float = 0, ran: bool = True, **keys: float) -> dict[str, str]:
    """Retention alone, until it has nothing to do; its troubles.

    Args:
        ran: the clock was seen to go on all these days; else it stands there at the start.
    """
    if ran:
        (station.state_dir / "clock.json").unlink(missing_ok=True)
    station.tables["retention"] = keys
    station.write_config()
    health = Health()
    database = Database(station.database)
    settings = station.settings()
    mounts = MountMemory(settings.state_dir / "drop_folders.json")
    retention = Retention(
        settings, database=database, health=health, clock=later(days), mounts=mounts
    )
    while retention.step():
        pass
    retention.close(seconds=5.0)
    database.close()
    return health.troubles()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def passed(station: Station) -> int:
    ((count,),) = station.query("SELECT count(*) FROM inspections WHERE verdict = 'pass'")
    return int(count)


def age(station: Station, days: float) -> None:
    """As if the images had been recorded so long ago."""
    with closing(sqlite3.connect(station.database)) as connection, connection:
        connection.execute(
            "UPDATE image SET recorded_at = strftime('%Y-%m-%dT%H:%M:%SZ', recorded_at, ?)",
            (f"{-days:+g} days",),
        )


def on_another_disk(station: Station, disk: Path) -> None:
    shutil.copytree(station.state_dir, disk / "state")
    before, station.state = station.state_dir, disk / "state"
    move(station.database, before, station.state)


def leave_little_room(disk: Path) -> None:
    room = Room.of(disk)
    (disk / "filler").write_bytes(bytes(room.free - room.total // 20))


def test_by_default_nothing_is_deleted_by_its_age(line: Station) -> None:
    assert keep(line, days=3650) == {}
    assert_every_image_accounted_for(line)


def test_archived_images_are_deleted_when_their_time_is_over_and_their_records_say_so(
    line: Station,
) -> None:
    archive = line.state_dir / "archive"
    before = files(archive)
    assert len(before) == passed(line) > 0
    rates = line.query(RATES)
    keep(line, days=4, archive_days=5)
    assert files(archive) == before
    keep(line, days=6, archive_days=5)
    assert files(archive) == []
    assert list((archive / "top-1").iterdir()) == [], "an empty day is of no use"
    paths = "SELECT DISTINCT verdict, path IS NULL FROM inspections ORDER BY verdict"
    assert line.query(paths)[:2] == [("defect", 0), ("pass", 1)]
    assert line.query(RATES) == rates
    assert len(files(line.state_dir / "quarantine")) == 12, "six images and their reasons"


def test_quarantined_images_are_deleted_with_their_reasons(line: Station) -> None:
    keep(line, days=2, quarantine_days=1)
    assert files(line.state_dir / "quarantine") == []
    assert len(files(line.state_dir / "archive")) == passed(line)


def test_records_go_with_their_files_and_those_of_the_review_and_the_rates_stay(
    line: Station,
) -> None:
    rates = line.query(RATES)
    in_review = files(line.review)
    keep(line, days=401, rows_days=400)
    verdicts = {verdict for (verdict,) in line.query("SELECT DISTINCT verdict FROM inspections")}
    assert verdicts <= {"defect", "unsure"}
    assert line.count() == len(in_review) > 0
    assert files(line.review) == in_review
    assert files(line.state_dir / "archive") == files(line.state_dir / "quarantine") == []
    assert line.query(RATES) == rates


@pytest.mark.fault(54)
def test_a_labelled_image_is_never_deleted(line: Station) -> None:
    ((image_id, path),) = line.query(
        "SELECT id, path FROM inspections WHERE verdict = 'pass' ORDER BY id LIMIT 1"
    )
    with closing(sqlite3.connect(line.database)) as connection, connection:
        connection.execute(
            "INSERT INTO label (image_id, label, labelled_by, labelled_at) VALUES (?, 'x', 'y', 'z')",
            (image_id,),
        )
    keep(line, days=401, rows_days=400, archive_days=1)
    assert Path(path).exists()
    assert line.query("SELECT path FROM inspections WHERE id = ?", image_id) == [(path,)]
    assert passed(line) == 1


def left_to_others(root: Path, model: Path) -> Station:
    """A line that leaves what passes in its drop folder."""
    policy = {"policy": {"on_pass": "leave", "max_missed_defect_rate": 0.2}}
    return Station(root=root, model=model, tables=policy)


@pytest.mark.fault(57)
def test_records_stay_while_the_share_with_their_images_is_not_mounted(
    tmp_path: Path, commissioned_model: Path
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
        with unmounted(folder, elsewhere):
            keep(station, days=401, rows_days=400)
            assert passed(station) == left
        keep(station, days=401, rows_days=400)
        assert passed(station) == left, "the images lie there again"
        for path in folder.iterdir():
            path.unlink()
        keep(station, days=401, rows_days=400)
        assert passed(station) == 0


@pytest.mark.fault(57)
def test_a_record_stays_while_its_image_lies_in_the_drop_folder(
    tmp_path: Path, commissioned_model: Path
) -> None:
    station = left_to_others(tmp_path, commissioned_model)
    with station.running():
        for number in range(8):
            station.drop("top-1", f"{number}.jpg", surface_file("no_defect", seed=number))
        station.wait_for_images(8)
    left = passed(station)
    assert left > 1
    names = "SELECT filename FROM inspections WHERE verdict = 'pass' ORDER BY id"
    (collected,) = station.query(names)[0]
    (station.folder("top-1") / collected).unlink()  # by the program that they are left to
    away = station.folder("top-1").rename(tmp_path / "away")
    keep(station, days=401, rows_days=400)
    assert passed(station) == left, "the folder may come back"
    away.rename(station.folder("top-1"))
    keep(station, days=401, rows_days=400)
    assert passed(station) == left - 1
    with station.running():
        station.drop("bottom-1", "new.jpg", surface_file("patches", seed=1))
        wait_until(lambda: station.query("SELECT 1 FROM inspections WHERE filename = 'new.jpg'"))
    assert station.query(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM image GROUP BY filename)"
    ) == [(1,)], "judged once"


@pytest.mark.fault(54)
def test_the_oldest_archived_images_make_room_and_no_other_ever_does(
    line: Station, tmp_path: Path
) -> None:
    with filesystem(tmp_path / "small", size="4m"):
        on_another_disk(line, tmp_path / "small")
        archive = line.state_dir / "archive"
        before = files(archive)
        age(line, 1)
        keep(line)
        assert files(archive) == before, "there is room"
        leave_little_room(tmp_path / "small")
        age(line, -1)
        keep(line)
        assert files(archive) == before, "younger than an hour"
        age(line, 1)
        keep(line, make_room_below_gb=0, pause_below_gb=0)
        assert files(archive) == before, "not to be"
        keep(line)
        assert files(archive) == []
        assert len(files(line.review)) == line.count() - passed(line) - 6
        (tmp_path / "small" / "filler").unlink()


@pytest.mark.fault(55)
def test_a_kill_between_a_deletion_and_its_record_is_made_up_for(line: Station) -> None:
    ((path,),) = line.query(
        "SELECT path FROM inspections WHERE verdict = 'pass' ORDER BY id LIMIT 1"
    )
    Path(path).unlink()
    keep(line)
    assert line.query("SELECT count(*) FROM inspections WHERE path IS NULL") == [(1,)]


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
        assert len(files(archive)) == passed(line) - 1
        assert keep(line, days=2, archive_days=1) == {}
        assert files(archive) == []


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


def test_a_file_that_cannot_be_deleted_is_told_and_holds_up_no_other(line: Station) -> None:
    ((path,),) = line.query(
        "SELECT path FROM inspections WHERE verdict = 'pass' ORDER BY id LIMIT 1"
    )
    Path(path).unlink()
    Path(path).mkdir()
    (Path(path) / "something").touch()
    troubles = keep(line, days=2, archive_days=1)
    assert path in troubles["retention"]
    assert files(line.state_dir / "archive") == ["something"]


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


@pytest.mark.fault(54)
def test_before_the_disk_is_full_images_wait_and_are_judged_when_there_is_room(
    tmp_path: Path, model: Path
) -> None:
    with filesystem(tmp_path / "disk", size="16m"):
        review = {"review": {"folder": str(tmp_path / "review")}}
        state = tmp_path / "disk" / "state"
        station = Station(root=tmp_path, model=model, tables=review, state=state)
        with station.running():
            filler = tmp_path / "disk" / "filler"
            room = Room.of(state)
            filler.write_bytes(bytes(room.free - room.total // 200))
            told = wait_until(lambda: station.troubles().get("space"))
            assert "images wait in their drop folders" in told
            station.drop_surfaces(3)
            wait_until(lambda: sum(c["waiting"] for c in station.status()["cameras"]) == 3)
            assert station.count() == 0
            filler.unlink()
            station.wait_for_images(3)
            wait_until(lambda: station.troubles() == {})
        assert_every_image_accounted_for(station)
