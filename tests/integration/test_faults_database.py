"""A database that refuses one image, or that is damaged while it is used (rows 25 and 49)."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from builders import Station, assert_every_image_accounted_for, run_cli, surface_file, wait_until
from composed import by_hand

from daemon.store.database import StoreError

PAGE = 4096


def execute(database: Path, sql: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(sql)


@pytest.mark.fault(49)
def test_an_image_that_the_database_refuses_keeps_no_other_out(station: Station) -> None:
    with station.running():
        execute(
            station.database,
            "CREATE TRIGGER refuse BEFORE INSERT ON image WHEN NEW.filename = 'refused.jpg' "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        )
        refused = station.drop("top-1", "refused.jpg", surface_file(seed=100))
        station.drop_surfaces(12)
        station.wait_for_images(12)
        told = wait_until(lambda: station.troubles().get("image"))
        assert "refused.jpg" in told
        assert "not this one" in told
        assert refused.exists()
        execute(station.database, "DROP TRIGGER refuse")
        station.wait_for_images(13)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(25)
def test_a_database_that_is_damaged_while_it_is_used_ends_the_service_for_a_person(
    station: Station,
) -> None:
    station.drop_surfaces(4)
    with by_hand(station.settings()) as line:
        line.work_until(lambda: station.count() == 4)
        line.database.engine.dispose()  # no connection remembers the sound pages
        with station.database.open("r+b") as file:
            file.seek(PAGE)
            file.write(b"\xff" * (station.database.stat().st_size - PAGE))
        path = station.drop("top-1", "later.jpg", surface_file(seed=100))
        with pytest.raises(StoreError) as raised:
            line.work_until(lambda: not path.exists())
    assert raised.value.damaged
    assert "a backup may have to be put back" in str(raised.value)
    assert path.exists()
    again = run_cli("run", "--config", station.config, MILLWATCH_MODEL__RUNTIME="openvino")
    assert again.returncode == 78
    assert "malformed" in again.stderr
