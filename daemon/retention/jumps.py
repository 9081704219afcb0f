"""Whether the clock may be believed: one that jumped ahead makes every image old."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from daemon.clock import moment, timestamp
from daemon.files.placing import write_durably
from daemon.process.health import Health

_JUMP: Final = timedelta(hours=1)
_OFF: Final = timedelta(days=1)
"""While the service is off, that is no jump: a line may rest every night, and ages are in days."""
_BELIEVED_SECONDS: Final = 86_400.0
_NOTE_SECONDS: Final = 600.0


class ClockTrust:
    """Goes by how the clock went before, until it has gone on for a day without another jump.

    Args:
        file: keeps what the clock last said, as it may jump while the service is off; by how much
            that is ahead of what is believed, and how long it takes until the clock is believed.
    """

    def __init__(self, file: Path, *, clock: Callable[[], datetime], health: Health) -> None:
        self._file = file
        self._clock = clock
        self._health = health
        self._steady = time.monotonic()
        self._limit = _OFF
        self._note_at = 0.0
        self._seen, self._ahead, self._believed_in = clock(), timedelta(), 0.0
        # A memory that is lost is made anew.
        with suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
            told = json.loads(file.read_text())
            self._seen, self._ahead, self._believed_in = (
                moment(told["seen"]).astimezone(UTC),
                timedelta(seconds=told["ahead_seconds"]),
                float(told["believed_in_seconds"]),
            )

    def is_trusted(self) -> bool:
        """Look at the clock, every few seconds: whether ages by it may be acted upon."""
        wall, steady = self._clock(), time.monotonic()
        passed = steady - self._steady
        jump = wall - self._seen - timedelta(seconds=passed)
        self._believed_in = max(0.0, self._believed_in - passed)
        # Back it goes only where it is set, however long the service was off.
        if jump > self._limit or jump < -_JUMP:
            ahead = self._ahead + jump
            # A clock that was behind only since the start, for want of a battery, is right again.
            self._ahead = ahead if abs(ahead) > self._limit else timedelta()
            self._believed_in = _BELIEVED_SECONDS if self._ahead else 0.0
            self._note_at = 0.0
        elif not self._believed_in:
            self._ahead = timedelta()
        self._seen, self._steady, self._limit = wall, steady, _JUMP
        self._note(steady)
        trusted = self._ahead <= timedelta()
        if trusted:
            self._health.mended("clock")
        else:
            self._tell(wall)
        return trusted

    def now(self) -> datetime:
        """What the clock said at the last look, and the time since; without its jump ahead."""
        passed = timedelta(seconds=time.monotonic() - self._steady)
        return self._seen + passed - max(self._ahead, timedelta())

    def _tell(self, wall: datetime) -> None:
        ahead = timedelta(seconds=round(self._ahead.total_seconds()))
        self._health.trouble(
            "clock",
            f"the clock jumped ahead by {ahead} to {timestamp(wall)}, unless the service was off for "
            "so long; see whether it is right. For a day nothing is deleted because of its age",
        )

    def _note(self, steady: float) -> None:
        if steady < self._note_at:
            return
        self._note_at = steady + _NOTE_SECONDS
        told = {
            "seen": timestamp(self._seen),
            "ahead_seconds": self._ahead.total_seconds(),
            "believed_in_seconds": round(self._believed_in),
        }
        with suppress(OSError):  # remembered until the next start at least
            write_durably(self._file, json.dumps(told, indent=2) + "\n")
