"""A database that fails when files are moved already, or is taken away (rows 50 and 51)."""

import sqlite3
from contextlib import closing

import pytest
from builders import Station, assert_every_image_accounted_for, surface_file
from composed import by_hand


@pytest.mark.fault(50)
def test_moves_whose_end_cannot_be_recorded_are_made_up_for_however_often_it_fails(
    station: Station,
) -> None:
    station.review.write_text("in the way")
    station.drop_surfaces(4)
    with by_hand(station.settings(), busy_seconds=0.1) as line:
        line.work_until(lambda: station.count() == 4 and "moving" in line.health.troubles())
        with closing(sqlite3.connect(station.database, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            station.review.unlink()
            for _ in range(3):  # each time it is told anew, it was tried anew
                line.work_until(lambda: "database" in line.health.troubles())
                line.health.mended("database")
            assert not list((station.root / "cameras").rglob("*.jpg"))
            holder.execute("ROLLBACK")
        line.work_until(lambda: not station.query("SELECT 1 FROM image WHERE progress = 'pending'"))
        line.work_until(lambda: line.health.troubles() == {})
    assert_every_image_accounted_for(station)


@pytest.mark.fault(51)
def test_a_daemon_whose_database_was_taken_away_moves_nothing_more_and_ends(
    station: Station,
) -> None:
    with station.process() as process:
        station.drop("top-1", "before.jpg", surface_file(seed=1))
        station.wait_for_images(1)
        station.database.rename(station.root / "taken.db")
        after = station.drop("top-1", "after.jpg", surface_file(seed=2))
        assert process.wait(timeout=60) == 1
        assert after.exists()
    assert "was replaced or removed" in (station.root / "daemon.log").read_text()
    (station.root / "taken.db").rename(station.database)
    with station.running():
        station.wait_for_images(2)
    assert_every_image_accounted_for(station)
