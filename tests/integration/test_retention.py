"""What is deleted in time, and what never is."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from builders import Station, assert_every_image_accounted_for, surface_file, wait_until
from filesystems import filesystem, obeying_permissions
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

from daemon.files.disks import Room

RATES = "SELECT * FROM defect_rate_hourly ORDER BY camera, hour"


@pytest.fixture
def line(used: Station, tmp_path: Path) -> Station:
    return a_copy_of(used, tmp_path)


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


def test_images_that_a_clock_ahead_recorded_keep_no_later_ones_from_being_deleted(
    line: Station,
) -> None:
    archived_by_a_clock_that_was_ahead(line, 250)
    keep(line, days=6, archive_days=5)
    archive = line.state_dir / "archive"
    assert len(files(archive)) == 250, "none of those, whose age nobody knows"
    assert {path.parent.name for path in archive.rglob("*.jpg")} == {"2099-01-01"}


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
def test_an_archived_image_that_somebody_brought_to_the_review_folder_is_never_deleted(
    line: Station,
) -> None:
    image_id, there = bring_to_review(line)
    keep(line, days=400, archive_days=5, rows_days=5)
    assert files(line.state_dir / "archive") == []
    assert line.query("SELECT path FROM inspections WHERE id = ?", image_id) == [(str(there),)]
    assert there.exists()


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


@pytest.mark.fault(55)
def test_a_kill_is_made_up_for_though_a_clock_that_was_ahead_recorded_many_images_before(
    line: Station,
) -> None:
    query = "SELECT id, path FROM inspections WHERE verdict = 'pass' ORDER BY id DESC LIMIT 1"
    archived_by_a_clock_that_was_ahead(line, 250)
    ((image_id, path),) = line.query(query)
    Path(path).unlink()
    keep(line)
    gone = "SELECT id FROM inspections WHERE path IS NULL"
    assert line.query(gone) == [(image_id,)]


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


def test_an_archive_that_is_closed_is_told_by_its_own_name(line: Station) -> None:
    archive = line.state_dir / "archive"
    archive.chmod(0)
    with obeying_permissions():
        told = keep(line, days=6, archive_days=5)["retention"]
    assert told.startswith(str(archive))
    assert "cannot be deleted: Permission denied; mend its permissions" in told
    archive.chmod(0o755)
    assert len(files(archive)) == passed(line)


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
