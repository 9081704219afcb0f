"""Faults that were found on the way (rows 42 and following)."""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from builders import (
    Station,
    assert_every_image_accounted_for,
    stop_process,
    surface_file,
    wait_until,
)
from composed import by_hand
from filesystems import filesystem

from daemon.process.control import SOCKET

HARD_LINKS = Path("/proc/sys/fs/protected_hardlinks")


@pytest.mark.fault(42)
def test_a_new_file_with_the_number_name_size_and_time_of_a_moved_one_is_another_image(
    station: Station,
) -> None:
    first = surface_file(seed=1, form="bmp")
    second = surface_file(seed=2, form="bmp")
    assert len(first) == len(second)
    with filesystem(station.review, size="4m"), station.running():
        path = station.folder("top-1") / "same.bmp"
        again = station.root / "again"  # keeps the number from being given to another file
        again.write_bytes(first)
        before = again.stat()
        os.link(again, path)
        station.expect("top-1", path.name, first)
        station.wait_for_images(1)
        assert not path.exists()
        again.write_bytes(second)
        os.utime(again, ns=(before.st_atime_ns, before.st_mtime_ns))
        again.rename(path)
        station.expect("top-1", path.name, second)
        station.wait_for_images(2)
        numbers = station.query("SELECT DISTINCT inode, size, mtime_ns FROM image")
        assert numbers == [(str(before.st_ino), len(first), str(before.st_mtime_ns))]
        assert_every_image_accounted_for(station)


@pytest.mark.fault(42)
def test_an_image_that_was_overwritten_before_it_could_be_moved_is_judged_for_what_it_is(
    station: Station,
) -> None:
    """By a program that writes one name again and again, and gives each file the time of its source."""
    station.review.write_text("in the way")
    path = station.drop("top-1", "same.bmp", surface_file(seed=1, form="bmp"))
    with by_hand(station.settings()) as line:
        line.work_until(lambda: station.count() == 1 and "moving" in line.health.troubles())
        second = surface_file("patches", seed=2, form="bmp")
        before = path.stat()
        assert len(second) == before.st_size
        path.write_bytes(second)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        station.dropped["top-1", path.name] = [hashlib.sha256(second).hexdigest()]
        station.review.unlink()
        line.work_until(lambda: line.health.troubles() == {} and not path.exists())
    station.wait_for_images(1)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(43)
def test_a_file_of_another_owner_that_may_not_be_linked_is_copied(station: Station) -> None:
    if os.geteuid() != 0 or HARD_LINKS.read_text().strip() != "1":
        pytest.skip("only root gives files away, and fs.protected_hardlinks must be 1")
    without = "--bounding-set=-dac_override,-dac_read_search,-fowner"
    with station.process(wrapper=["setpriv", without]):
        made = station.root / "made"
        made.write_bytes(surface_file(seed=1))
        os.chown(made, 65534, 65534)
        number = made.stat().st_ino
        station.expect("top-1", "theirs.jpg", made.read_bytes())
        made.rename(station.folder("top-1") / "theirs.jpg")
        station.wait_for_images(1)
        assert station.troubles() == {}
    assert_every_image_accounted_for(station)
    (copy,) = station.files()
    assert (copy.stat().st_ino, copy.stat().st_uid) != (number, 65534)


@contextmanager
def silent_clients(station: Station, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as held:
        folder = os.open(station.state_dir, os.O_RDONLY | os.O_DIRECTORY)
        held.callback(os.close, folder)
        clients = [held.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
        for client in clients:
            client.connect(f"/proc/self/fd/{folder}/{SOCKET}")
        yield clients


@pytest.mark.fault(45)
def test_clients_that_say_nothing_hold_up_no_image_no_question_and_no_stop(
    station: Station,
) -> None:
    with station.process() as process, silent_clients(station, 20) as clients:
        clients[0].sendall(b'{"command": "sta')
        station.drop_surfaces(3)
        station.wait_for_images(3)
        assert station.status()["state"] == "running"
        assert stop_process(process) == 0
    assert_every_image_accounted_for(station)


@pytest.mark.fault(46)
def test_an_image_of_a_camera_that_was_taken_out_of_the_configuration_is_seen_through(
    station: Station,
) -> None:
    station.review.write_text("in the way")
    with by_hand(station.settings()) as line:
        station.drop("top-1", "kept.jpg", surface_file(seed=1))
        written = station.drop("top-1", "written.jpg", surface_file(seed=2))
        line.work_until(lambda: station.count() == 2 and "moving" in line.health.troubles())
    with written.open("ab") as file:
        file.write(b"more")
    longer = hashlib.sha256(written.read_bytes()).hexdigest()
    station.dropped["top-1", "written.jpg"] = [longer]
    station.review.unlink()
    cameras = station.cameras
    station.cameras = ("bottom-1",)
    station.write_config()
    with station.running():
        station.drop("bottom-1", "other.jpg", surface_file(seed=3))
        wait_until(lambda: not station.query("SELECT 1 FROM image WHERE progress = 'pending'"))
        wait_until(lambda: station.count() == 2, what="the record of what was written to is gone")
        assert written.exists()
        assert station.troubles() == {}
    station.cameras = cameras
    station.write_config()
    with station.running():
        station.wait_for_images(3)
    assert_every_image_accounted_for(station)
