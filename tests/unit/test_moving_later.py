"""An image that is moved or removed later than it was judged, or beside others."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from delivered import DATA, SHA256, delivery_of, names
from filesystems import filesystem, obeying_permissions
from meanwhile import noting_what_is_opened

from daemon.files import moving
from daemon.files.moving import Release
from daemon.files.placing import ChangedError, GoneError
from daemon.values import Delivery


def overwrite(path: Path, data: bytes, delivery: Delivery) -> None:
    """As a program does that copies files with their times, over one of the same size."""
    assert len(data) == delivery.size
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(delivery.mtime_ns, delivery.mtime_ns))
    assert moving.same_file(path.stat(), delivery)


@pytest.mark.fault(42)
@pytest.mark.parametrize("lies", ["in the drop folder", "aside"])
@pytest.mark.parametrize("data", [DATA[::-1], bytes(len(DATA))], ids=["other", "zeros"])
def test_what_is_moved_later_has_the_bytes_that_were_judged(
    delivery: Delivery, target: Path, data: bytes, lies: str
) -> None:
    overwrite(delivery.path, data, delivery)
    if lies == "aside":
        delivery.path.rename(moving.aside_of(delivery))
    with pytest.raises(ChangedError):
        moving.bring(delivery, SHA256, target, None)
    assert delivery.path.read_bytes() == data
    assert names(delivery.path.parent) == {"x.jpg"}
    assert names(target.parent) == set()


@pytest.mark.fault(42)
@pytest.mark.parametrize("lies", ["in the drop folder", "aside"])
def test_what_is_removed_later_has_the_bytes_that_were_judged(
    delivery: Delivery, target: Path, lies: str
) -> None:
    target.write_bytes(DATA)  # a copy, as to another filesystem
    overwrite(delivery.path, DATA[::-1], delivery)
    marker = Path(f"{delivery.path}.done")
    marker.touch()
    if lies == "aside":
        delivery.path.rename(moving.aside_of(delivery))
    assert not moving.bring(delivery, SHA256, target, None)
    assert moving.release(delivery, ".done", sha256=SHA256) is Release.WRITTEN
    assert delivery.path.read_bytes() == DATA[::-1]
    assert names(delivery.path.parent) == {"x.jpg", "x.jpg.done"}
    assert target.read_bytes() == DATA


@pytest.mark.fault(3)
def test_two_cameras_copies_of_one_picture_have_two_names(delivery: Delivery, target: Path) -> None:
    """Two disks may number their files alike, and black images are all the same."""
    with delivery.path.open("rb") as held, noting_what_is_opened(target.parent) as opened:
        delivery.path.unlink()  # or it would be linked
        for camera in ("top-1", "bottom-1"):
            there = target.with_name(camera)
            moving.bring(replace(delivery, camera=camera), SHA256, there, held.fileno())
    assert len({path for path in opened if path.endswith(".part")}) == 2
    assert names(target.parent) == {"top-1", "bottom-1"}


@pytest.mark.fault(22)
def test_a_file_for_which_there_is_no_room_fills_no_disk(delivery: Delivery, target: Path) -> None:
    with filesystem(target.parent, size="1m"):
        os.truncate(delivery.path, 100 << 30)  # and takes none itself
        large = delivery_of(delivery.path)
        with (
            noting_what_is_opened(target.parent) as opened,
            pytest.raises(OSError, match="No space left"),
        ):
            moving.bring(large, SHA256, target, None)
        assert opened == []
        assert names(target.parent) == set()


@pytest.mark.fault(18)
@pytest.mark.parametrize("kind", ["link", "loop", "pipe", "socket", "folder"])
def test_an_image_whose_name_was_taken_by_what_is_no_file_is_gone(
    delivery: Delivery, target: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not stuck for ever, as what no permission and no room will ever mend."""
    delivery.path.rename(target.with_name("taken"))  # which keeps its number from another
    if kind == "pipe":
        os.mkfifo(delivery.path)
    elif kind == "socket":
        monkeypatch.chdir(delivery.path.parent)  # a socket's path may not be long
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(delivery.path.name)
    elif kind == "folder":
        delivery.path.mkdir()
    else:
        delivery.path.symlink_to("/nowhere" if kind == "link" else delivery.path)
    with pytest.raises(GoneError):
        moving.bring(delivery, SHA256, target, None)
    assert moving.release(delivery) is Release.ABSENT
    assert os.path.lexists(delivery.path)


@pytest.mark.fault(21)
def test_a_folder_that_is_shut_keeps_nothing_from_being_given_back(
    delivery: Delivery, target: Path
) -> None:
    """As `lost+found` is, where a disk of its own is the drop folder."""
    moving.bring(delivery, SHA256, target, None)
    moving.release(delivery)
    target.write_bytes(b"the camera went on writing")
    (delivery.path.parent / "shut").mkdir(mode=0o000)
    with obeying_permissions(), pytest.raises(ChangedError):
        moving.bring(delivery, SHA256, target, None)
    assert delivery.path.read_bytes() == b"the camera went on writing"
    assert not target.exists()
