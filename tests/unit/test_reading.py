import hashlib
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from builders import surface_file
from delivered import delivery_of

from daemon.journey.reading import Limits, MovedOnError, Reading, fetch, understand
from daemon.values import Delivery

LIMITS = Limits(max_pixels=1_000_000, max_bytes=1_000_000, allow_zero_tail=False)
HASHED_ONLY = Limits(max_pixels=1, max_bytes=1, allow_zero_tail=False)


def delivered(path: Path, data: bytes) -> Delivery:
    path.write_bytes(data)
    return delivery_of(path)


def read(delivery: Delivery, *, limits: Limits) -> Reading:
    return understand(fetch(delivery, limits=limits, decodable=True), size=64, limits=limits)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_hash_and_pixels_come_from_the_same_bytes(tmp_path: Path) -> None:
    data = surface_file(seed=1)
    reading = read(delivered(tmp_path / "x.jpg", data), limits=LIMITS)
    assert reading.sha256 == hashlib.sha256(data).hexdigest()
    assert reading.pixels is not None
    assert reading.pixels.shape == (64, 64)
    reading.close()


def test_a_file_whose_descriptor_cannot_be_closed_is_let_go_like_any_other(tmp_path: Path) -> None:
    """As a share tells that lost its server: it must not end the watch on the line."""
    reading = read(delivered(tmp_path / "x.jpg", b"no picture"), limits=LIMITS)
    os.close(reading.held)
    reading.close()


@contextmanager
def writing_all_the_time(path: Path) -> Iterator[None]:
    stop = threading.Event()

    def write() -> None:
        with path.open("r+b", buffering=0) as file:
            for number in itertools.count():
                if stop.is_set():
                    return
                os.pwrite(file.fileno(), b"%d" % number, 0)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.fault(9)
def test_a_file_that_is_written_to_while_it_is_read_is_judged_again(tmp_path: Path) -> None:
    path = tmp_path / "x.bmp"
    path.write_bytes(bytes(64 << 20))
    before = open_files()
    with writing_all_the_time(path):
        delivery = delivery_of(path)
        with pytest.raises(MovedOnError):
            read(delivery, limits=HASHED_ONLY)
    assert open_files() == before


def test_what_was_replaced_or_removed_before_it_is_read_is_judged_again(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    delivery = delivered(path, surface_file(seed=1))
    before = open_files()
    other = tmp_path / "other.jpg"
    other.write_bytes(surface_file(seed=1))
    other.replace(path)
    with pytest.raises(MovedOnError):
        read(delivery, limits=LIMITS)
    path.unlink()
    with pytest.raises(MovedOnError):
        read(delivery, limits=LIMITS)
    assert open_files() == before


@pytest.mark.fault(18)
def test_a_link_or_a_pipe_that_took_the_name_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    delivery = delivered(path, surface_file(seed=1))
    path.rename(tmp_path / "elsewhere.jpg")
    path.symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(OSError, match="symbolic links"):
        read(delivery, limits=LIMITS)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MovedOnError):
        read(delivery, limits=LIMITS)


def test_a_file_larger_than_the_limit_is_hashed_in_pieces_and_not_decoded(tmp_path: Path) -> None:
    data = surface_file(seed=1)
    reading = read(delivered(tmp_path / "x.jpg", data), limits=HASHED_ONLY)
    assert reading.pixels is None
    assert reading.unreadable is not None
    assert reading.unreadable.reason == "too_many_bytes"
    assert reading.sha256 == hashlib.sha256(data).hexdigest()
    reading.close()
