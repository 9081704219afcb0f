"""Folders that the configuration gives another place, with images on their way."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from builders import Station, assert_every_image_accounted_for
from commands import Millwatch
from composed import by_hand
from kept import a_copy_of
from reviewed import data_of, labels, paths, station_of

from daemon.clock import now_utc
from daemon.store.database import Database
from daemon.store.labels import put_label

PENDING = "SELECT 1 FROM image WHERE progress = 'pending'"


def review_is_now(station: Station, folder: Path) -> None:
    station.tables["review"] = {"folder": str(folder)}
    station.write_config()


def test_images_that_the_old_review_folder_did_not_take_go_to_the_new_one(
    station: Station,
) -> None:
    (station.root / "gone").write_text("where a disk was")
    review_is_now(station, station.root / "gone" / "review")
    station.drop_surfaces(3)
    with by_hand(station.settings()) as line:
        line.work_until(lambda: line.health.troubles().get("moving"))
    review_is_now(station, station.root / "new")
    with by_hand(station.settings()) as line:
        line.work_until(lambda: not station.query(PENDING))
    assert_every_image_accounted_for(station)
    assert all(path.is_relative_to(station.root / "new") for path in paths(station).values())


@pytest.mark.parametrize("taken_along", [True, False])
def test_an_image_that_a_kill_left_between_the_move_and_its_record_is_found_where_it_lies(
    station: Station, taken_along: bool
) -> None:
    station.drop_surfaces(1)
    with by_hand(station.settings()) as line:
        line.work_until(lambda: station.count() and not station.query(PENDING))
    source = station.folder("top-1") / "00000.jpg"
    with closing(sqlite3.connect(station.database)) as connection, connection:
        connection.execute("UPDATE image SET progress = 'pending', path = ?", (str(source),))
    before = station.review
    if taken_along:
        before.rename(station.root / "new")
    review_is_now(station, station.root / "new")
    with by_hand(station.settings()) as line:
        line.work_until(lambda: not station.query(PENDING))
    (path,) = paths(station).values()
    assert path.is_relative_to(station.root / "new" if taken_along else before)
    assert path.is_file()


def test_an_undo_after_the_review_folder_was_moved_leads_to_where_it_is_now(
    millwatch: Millwatch, tmp_path: Path
) -> None:
    station = station_of(tmp_path)
    first = paths(station)[2]
    assert millwatch("review", "label", "2", "patches", "--config", station.config).status == 0
    before = station.review
    before.rename(tmp_path / "new")
    review_is_now(station, tmp_path / "new")
    done = millwatch("review", "undo", "2", "--config", station.config)
    at = tmp_path / "new" / first.relative_to(before)
    assert (done.status, done.out) == (0, f"image 2 has no label any more: {at}\n")
    assert (at.read_bytes(), paths(station)[2], labels(station)) == (data_of(2), at, {})
    assert not before.exists()


def test_a_label_on_its_way_while_the_review_folder_was_moved_comes_to_where_that_is_now(
    millwatch: Millwatch, tmp_path: Path
) -> None:
    station = station_of(tmp_path)
    before, first = station.review, paths(station)[2]
    target = before / "labelled" / "patches" / first.name
    database = Database(station.database)
    put_label(database, 2, "patches", "anna", seen=0, target=target, now=now_utc())
    database.close()
    before.rename(tmp_path / "new")
    before.write_text("where a disk was")
    review_is_now(station, tmp_path / "new")
    conflicts = millwatch("review", "conflicts", "--config", station.config)
    assert "Every file in the review folder is in order." in conflicts.out
    at = tmp_path / "new" / "labelled" / "patches" / first.name
    assert (at.read_bytes(), paths(station)[2], labels(station)) == (data_of(2), at, {2: "patches"})


def test_copies_in_the_folders_of_a_new_configuration_count_while_the_old_ones_are_still_there(
    millwatch: Millwatch, used: Station, tmp_path: Path
) -> None:
    station = a_copy_of(used, tmp_path)
    (first, *_) = station.query("SELECT id FROM inspections WHERE verdict = 'defect' ORDER BY id")
    labelled = millwatch("review", "label", str(first[0]), "patches", "--config", station.config)
    assert labelled.status == 0
    station.state = Path(shutil.copytree(station.state_dir, tmp_path / "disk2" / "state"))
    review_is_now(station, Path(shutil.copytree(station.review, tmp_path / "disk2" / "review")))
    before = millwatch("audit", "--config", station.config)
    assert (before.status, "in none of the folders of the configuration" in before.out) == (1, True)
    conflicts = millwatch("review", "conflicts", "--config", station.config)
    assert "Every file in the review folder is in order." in conflicts.out
    assert millwatch("audit", "--mend", "--config", station.config).status == 0
    (tmp_path / "state").rename(tmp_path / "old state")
    (tmp_path / "review").rename(tmp_path / "old review")
    after = millwatch("audit", "--hashes", "--config", station.config)
    assert (after.status, "all agree" in after.out) == (0, True)
    assert all(path.is_relative_to(tmp_path / "disk2") for path in paths(station).values())
    assert labels(station) == {first[0]: "patches"}
