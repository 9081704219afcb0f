import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filesystems import kind_of_filesystem

from daemon.files.flushing import fsync_all, fsync_folders, is_really, not_synced

CACHESTAT = 451
"""The number of the system call, on every processor; Linux 6.5 and later have it."""


def pages_not_on_disk(descriptor: int) -> int:
    """Of a file: those that are only in memory, or on their way to the disk (cachestat(2))."""
    whole_file = (ctypes.c_uint64 * 2)(0, 0)
    found = (ctypes.c_uint64 * 5)()
    if ctypes.CDLL(None).syscall(CACHESTAT, descriptor, whole_file, found, 0) != 0:
        pytest.skip("this kernel does not tell which pages are on disk")
    _, dirty, writing, _, _ = found
    return dirty + writing


@contextmanager
def written(folder: Path, count: int) -> Iterator[list[int]]:
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(os.urandom(20_000))
    files = [os.open(folder / f"{number}.jpg", os.O_RDONLY) for number in range(count)]
    yield files
    for file in files:
        os.close(file)


@pytest.mark.fault(38)
@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_a_batch_is_on_disk_however_many_images_it_has(tmp_path: Path, count: int) -> None:
    with written(tmp_path, count) as files:
        if kind_of_filesystem(tmp_path) not in {"ext4", "xfs", "btrfs"}:
            pytest.skip("this filesystem has no disk, or does not tell")
        assert fsync_all(files) == {}
        assert sum(map(pages_not_on_disk, files)) == 0


def test_what_lies_on_another_filesystem_is_not_passed_over(tmp_path: Path) -> None:
    """A filesystem is synced as a whole only where that is known to do: the others file by file."""
    with written(tmp_path, 4) as files, open("/proc/self/status", "rb") as other:  # noqa: PTH123
        assert not_synced([*files, other.fileno()])[-1] == other.fileno()
        assert fsync_all([*files, other.fileno()]) == {}


def test_a_share_that_gives_its_servers_kind_for_its_own_is_found_out(tmp_path: Path) -> None:
    """Its server writes nothing to the disk because of a syncfs(2) here."""
    with written(tmp_path, 1) as (file,), open("/proc/self/status", "rb") as other:  # noqa: PTH123
        assert is_really(kind_of_filesystem(tmp_path), file)
        assert not is_really("ext4", other.fileno())
        assert not is_really("btrfs", other.fileno())
        assert is_really("proc", other.fileno())


@pytest.mark.parametrize("count", [1, 9])
def test_a_folder_that_is_gone_is_told_and_the_others_are_flushed(
    tmp_path: Path, count: int
) -> None:
    folders = [tmp_path / str(number) for number in range(count)]
    for folder in folders:
        folder.mkdir()
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    gone = str(tmp_path / "gone")
    failed = fsync_folders([*map(str, folders), gone])
    assert list(failed) == [gone]
    assert isinstance(failed[gone], FileNotFoundError)
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


@pytest.mark.fault(28)
def test_a_file_that_cannot_even_be_looked_at_keeps_no_other_from_the_disk(tmp_path: Path) -> None:
    """A share may forget an open file. Here it is closed, which `fsync` alone passes over."""
    with written(tmp_path, 5) as files:
        forgotten = os.dup(files[0])
        os.close(forgotten)
        assert fsync_all([*files, forgotten]) == {}
