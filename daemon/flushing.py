"""Brings what was written to the disk, so that a power failure spares it: one file, or a batch at once."""

import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from daemon.lanes import Helpers

_AT_ONCE: Final = 4
"""Where every core is busy, 128 small files one after the other take 4 ms each, for whoever waits for
the disk then waits for a core; by four threads 0.06 ms each, and by eight no less."""
_FSYNC_UNKNOWN: Final = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}
Item = TypeVar("Item")


def fsync(descriptor: int) -> None:
    """Make an open file durable, or the names in an open folder, where its filesystem can."""
    try:
        os.fsync(descriptor)
    except OSError as error:  # some shares know no fsync of a folder, or of a file open for reading
        if error.errno not in _FSYNC_UNKNOWN:
            raise


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where its filesystem can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


class Flusher:
    """Waits for the disk with a few threads: what they ask for together, it does in one go.

    From any thread. Where a share holds the helpers up, whoever calls waits for its own files alone.
    """

    def __init__(self) -> None:
        self._helpers = Helpers(_AT_ONCE - 1)

    def each(self, items: Sequence[Item], flush: Callable[[Item], None]) -> dict[Item, OSError]:
        """Flush all of them. Returns those that could not be, and why."""
        parts = [items[first::_AT_ONCE] for first in range(min(_AT_ONCE, len(items)))]
        work = [partial(_flush_each, part, flush) for part in parts]
        helped = [self._helpers.take(part) for part in work[1:]]
        own = work[:1] + [part for part, future in zip(work[1:], helped, strict=True) if not future]
        failed: dict[Item, OSError] = {}
        for part in own:
            failed |= part()
        for future in filter(None, helped):
            failed |= future.result()
        return failed

    def close(self, *, seconds: float) -> None:
        self._helpers.close(seconds=seconds)


def _flush_each(items: Sequence[Item], flush: Callable[[Item], None]) -> dict[Item, OSError]:
    failed: dict[Item, OSError] = {}
    for item in items:
        try:
            flush(item)
        except OSError as error:
            failed[item] = error
    return failed
