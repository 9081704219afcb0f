"""Brings what was written to the disk, so that a power failure spares it: one file, or a batch at once."""

import ctypes
import errno
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_MANY: Final = 4
"""From so many on, all that a filesystem has not on disk is written in one go.

One after the other, each small file costs a turn of the journal: 4 ms where the network keeps every core
busy, which for a batch is longer than to judge it.
"""
_WHOLE: Final = {0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs"}
"""By their numbers (statfs(2)): syncfs(2) does for each of their files and folders what fsync does. A
share's server is not told."""
_TELLS_ERRORS: Final = [int(n) for n in re.findall(r"\d+", platform.release())[:2]] >= [5, 8]
_LIBRARY: Final = ctypes.CDLL(None)
_STATFS_BYTES: Final = 256
"""More than `struct statfs` has anywhere. Its first field is the number of the filesystem."""
_FSYNC_UNKNOWN: Final = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}


def fsync(descriptor: int) -> None:
    """Make an open file durable, or the names in an open folder, where its filesystem can."""
    try:
        os.fsync(descriptor)
    except OSError as error:  # some shares know no fsync of a folder, or of a file open for reading
        if error.errno not in _FSYNC_UNKNOWN:
            raise


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where its filesystem can."""
    descriptor = _open_folder(folder)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_all(descriptors: Sequence[int]) -> dict[int, OSError]:
    """The same as `fsync` of each; those that could not be made durable, and why."""
    failed: dict[int, OSError] = {}
    for descriptor in not_synced(descriptors) if len(descriptors) >= _MANY else descriptors:
        try:
            fsync(descriptor)
        except OSError as error:
            failed[descriptor] = error
    return failed


def fsync_folders(folders: Sequence[str]) -> dict[str, OSError]:
    """The same as `fsync_folder` of each; those that could not be made durable, and why."""
    failed: dict[str, OSError] = {}
    opened: dict[int, str] = {}
    try:
        for folder in folders:
            try:
                opened[_open_folder(folder)] = folder
            except OSError as error:
                failed[folder] = error
        errors = fsync_all(list(opened))
        return failed | {opened[descriptor]: error for descriptor, error in errors.items()}
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _open_folder(folder: Path | str) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def not_synced(descriptors: Sequence[int]) -> list[int]:
    """Make whole filesystems durable; the files and folders for which that could not be said."""
    by_device: dict[int, list[int]] = {}
    unknown: list[int] = []
    for descriptor in descriptors:
        try:
            by_device.setdefault(os.fstat(descriptor).st_dev, []).append(descriptor)
        except OSError:  # a share that has forgotten the file: `fsync` tells the same, of it alone
            unknown.append(descriptor)
    apart = (group for group in by_device.values() if not _sync_filesystem(group[0]))
    return [*unknown, *(each for group in apart for each in group)]


def _sync_filesystem(descriptor: int) -> bool:
    """Whether all is on disk that was written to the filesystem of this open file."""
    kind = _WHOLE.get(_number_of_filesystem(descriptor))
    # Before Linux 5.8 it was silent about what could not be written.
    known = _TELLS_ERRORS and kind is not None and is_really(kind, descriptor)
    return known and _LIBRARY.syncfs(descriptor) == 0


def is_really(kind: str, descriptor: int) -> bool:
    """Whether an open file is on a filesystem of the kind that its number says.

    A share of a virtual machine (9p) gives the number of its server's, and has no block device. Nor has Btrfs:
    it is asked by the line of its mount in `/proc/self/mountinfo` (proc(5)).
    """
    if os.major(os.fstat(descriptor).st_dev):
        return True
    try:
        info = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return False
    mount = re.search(r"^mnt_id:\s*(\d+)$", info, re.MULTILINE)
    line = mount and re.search(rf"^{mount[1]} .* - (\S+) ", mounts, re.MULTILINE)
    return line is not None and line[1] == kind


def _number_of_filesystem(descriptor: int) -> int:
    """By statfs(2); -1 where that is not known."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if _LIBRARY.fstatfs(descriptor, found) != 0:
        return -1
    return ctypes.c_long.from_buffer(found).value
