"""How much room there is on the disks that the service cannot do without."""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

import structlog

from config.settings import Settings
from daemon.names import to_text
from daemon.process.health import Health
from daemon.process.lanes import Lanes

log = structlog.get_logger(__name__)

_GB: Final = 1e9
_PAUSE_SHARE: Final = 0.01
_LOOK_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 1.0
"""Of a disk that takes longer nothing new is known: its share may hang, and who asks with it."""
_LONG_LOG: Final = 256 << 20
"""SQLite starts its log anew after 4 MB, unless another program reads the database meanwhile."""
_RESERVED: Final = 256 << 10
_PLENTY: Final = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Room:
    """The room on one filesystem, in bytes."""

    total: int
    free: int

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Raises OSError when the folder is not there."""
        status = os.statvfs(folder)
        return cls(total=status.f_blocks * status.f_frsize, free=status.f_bavail * status.f_frsize)

    def is_below(self, gigabytes: float, *, at_most: float) -> bool:
        """Whether less is free than that, which counts as no more than a share of the disk."""
        return self.free < min(gigabytes * _GB, at_most * self.total)


class Rooms:
    """Asks for the room of several folders at once. Safe between threads."""

    def __init__(self, settings: Settings) -> None:
        self.folders: dict[str, Path] = {
            "state": settings.state_dir,
            "database": settings.database_file.parent,
            "review": settings.review_folder,
            "archive": settings.archive_folder,
            "quarantine": settings.quarantine_folder,
        }
        self._lanes = Lanes(named="room of")
        self._lock = threading.Lock()

    def look(self) -> dict[str, tuple[int, Room]]:
        """Which disk each folder is on and its room; none that is not there, or is slow to say so."""
        work = {name: partial(_look, folder) for name, folder in self.folders.items()}
        with self._lock:
            found = self._lanes.run(work, seconds=_ANSWER_SECONDS, late=lambda _: None)
        return {name: answer for name, answer in found.items() if answer is not None}

    def close(self, *, seconds: float) -> None:
        self._lanes.close(seconds=seconds)


def _look(folder: Path) -> tuple[int, Room] | None:
    try:
        return folder.stat().st_dev, Room.of(folder)
    except OSError:
        return None


class DiskMinder:
    """Says when the line must stand still, before the database's disk is full."""

    def __init__(self, settings: Settings, *, health: Health) -> None:
        self._pause_below_gb = settings.retention.pause_below_gb
        self._folders = {settings.state_dir, settings.database_file.parent}
        self._log = settings.database_file.with_name(settings.database_file.name + "-wal")
        self._health = health
        self._look_at = 0.0
        self._must_pause = False

    def reconfigure(self, settings: Settings) -> None:
        """Stand still below as much as these say from now on. From any thread."""
        self._pause_below_gb = settings.retention.pause_below_gb
        self._look_at = 0.0

    def must_pause(self, *, now: float) -> bool:
        """Whether so little room is left that no image may be judged. `now` is monotonic."""
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._must_pause = self._mind_room()
            self._mind_log()
        return self._must_pause

    def _mind_room(self) -> bool:
        for folder in self._folders:
            try:
                room = Room.of(folder)
            except OSError:  # what is written there will tell
                continue
            if room.is_below(self._pause_below_gb, at_most=_PAUSE_SHARE):
                self._health.trouble(
                    "space",
                    f"the disk of {to_text(folder)} is almost full ({room.free / 1e6:.1f} MB free), "
                    "and images wait in their drop folders; free space there, it goes on by "
                    "itself. Nothing labelled or in review is ever deleted to make room",
                )
                return True
        self._health.mended("space")
        return False

    def _mind_log(self) -> None:
        size = self._log.stat().st_size if self._log.exists() else 0
        if size > _LONG_LOG:
            self._health.trouble(
                "database log",
                f"{to_text(self._log)} has grown to {size >> 20} MiB: a program has been reading the "
                "database for long. End it, then the log shrinks by itself",
            )
        else:
            self._health.mended("database log")


class Reserve:
    """A file of nothing beside the database: room that is held back, with which a start on a full disk makes more.

    SQLite cannot so much as open a database where there is no room for its shared memory (32 kB). Once it
    can, the oldest images are deleted, or people are told; else the line stood still until somebody came.
    """

    def __init__(self, database: Path) -> None:
        self._file = database.with_name(f"{database.name}.reserve")

    def hold(self) -> None:
        """Where there is plenty of room; and not where it cannot be had."""
        with suppress(OSError):
            if not self._file.exists() and Room.of(self._file.parent).free >= _PLENTY:
                self._file.write_bytes(os.urandom(_RESERVED))  # which no filesystem makes smaller

    def give_where_needed(self) -> None:
        """Let go of it on a disk that has no more than that. Held again once there is room."""
        with suppress(OSError):
            if Room.of(self._file.parent).free < _RESERVED:
                self._file.unlink()
                log.warning("the disk is full; its reserve is used", file=to_text(self._file))
