"""Room that is held back on the database's disk: with it, a start on a full disk can make more.

SQLite cannot so much as open a database where there is no room for its shared memory (32 kB). Once it
can, the oldest images are deleted, or people are told; else the line stood still until somebody came.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from daemon.files.disks import Room
from daemon.names import to_text

log = structlog.get_logger(__name__)

_BYTES: Final = 256 << 10
_PLENTY: Final = 16 << 20


class Reserve:
    """A file of nothing beside the database."""

    def __init__(self, database: Path) -> None:
        self._file = database.with_name(f"{database.name}.reserve")

    def hold(self) -> None:
        """Where there is plenty of room; and not where it cannot be had."""
        with suppress(OSError):
            if not self._file.exists() and Room.of(self._file.parent).free >= _PLENTY:
                self._file.write_bytes(os.urandom(_BYTES))  # which no filesystem makes smaller

    def give_where_needed(self) -> None:
        """Let go of it on a disk that has no more than that. Held again once there is room."""
        with suppress(OSError):
            if Room.of(self._file.parent).free < _BYTES:
                self._file.unlink()
                log.warning("the disk is full; its reserve is used", file=to_text(self._file))
