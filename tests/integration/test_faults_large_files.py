"""What takes the better part of an hour only to hash (row 13 of the table of faults)."""

import os
from functools import partial
from pathlib import Path

import pytest
from builders import Station, surface_file, wait_until
from delivered import delivery_of
from records import NOW, open_store

from daemon.journey.routing import Folders
from daemon.store import images
from daemon.values import Finding
from models.preprocessing import UnreadableReason
from models.taxonomy import Verdict


@pytest.mark.fault(13)
def test_a_file_of_a_terabyte_that_a_kill_left_unmoved_holds_up_no_other_of_its_camera(
    tmp_path: Path, model: Path
) -> None:
    station = Station(root=tmp_path, model=model, tables={"model": {"runtime": "torch"}})
    huge = station.folder("top-1") / "huge.jpg"
    huge.touch()
    os.truncate(huge, 10**12)
    record_without_moving(station, huge)
    with station.process():  # which ends amid it
        for number in range(3):  # the later ones after the move was begun
            station.drop("top-1", f"{number}.jpg", surface_file(seed=number))
            moved = "SELECT 1 FROM image WHERE filename = ? AND progress = 'moved'"
            wait_until(partial(station.query, moved, f"{number}.jpg"), seconds=20.0)
        assert station.troubles() == {}
        assert station.status()["pending_moves"] == 1
        assert huge.exists()


def record_without_moving(station: Station, path: Path) -> None:
    """As a kill between the two leaves it. The hash is made up: none of a terabyte is ever there."""
    finding = Finding(
        delivery=delivery_of(path),
        sha256="0" * 64,
        verdict=Verdict.UNREADABLE,
        reason=UnreadableReason.TOO_MANY_BYTES.value,
    )
    station.state_dir.mkdir()
    store = open_store(station.state_dir)
    images.record(store, [finding], Folders.of(station.settings()).plan, NOW)
    store.close()
