import os

import pytest
from builders import Station

from daemon.files.disks import DiskMinder, Room
from daemon.process.health import Health


@pytest.mark.parametrize(
    ("free", "gigabytes", "is_below"),
    [
        (11e9, 10, False),
        (9e9, 10, True),
        (9e9, 0, False),
        (6e9, 1000, False),  # no more than a share of the disk is asked for
        (4e9, 1000, True),
    ],
)
def test_room_is_short_below_so_many_gigabytes_or_below_its_share(
    free: float, gigabytes: float, is_below: bool
) -> None:
    room = Room(total=500_000_000_000, free=int(free))
    assert room.is_below(gigabytes, at_most=1.0 if gigabytes == 10 else 0.01) is is_below


def test_the_room_is_that_of_the_folders_filesystem(station: Station) -> None:
    room = Room.of(station.root)
    status = os.statvfs(station.root)
    assert 0 < room.free <= room.total == status.f_blocks * status.f_frsize


@pytest.mark.fault(24)
def test_a_database_log_that_a_reader_makes_grow_is_told_until_it_shrinks(station: Station) -> None:
    station.state_dir.mkdir()
    health = Health()
    minder = DiskMinder(station.settings(), health=health)
    log = station.database.with_name("millwatch.db-wal")
    log.touch()
    os.truncate(log, 300 << 20)  # sparse: it takes no room
    assert not minder.must_pause(now=0.0)
    assert "has grown to 300 MiB" in health.troubles()["database log"]
    os.truncate(log, 0)
    assert not minder.must_pause(now=10.0)
    assert health.troubles() == {}
