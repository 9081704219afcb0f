"""Files that were delivered and are not judged yet: bounded, and fair to every camera."""

import heapq
import os
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import structlog

from daemon.intake.completeness import Look, StillnessTracker
from daemon.names import to_text
from daemon.values import Delivery

log = structlog.get_logger(__name__)

PLACES: Final = 4096
"""For each camera. What finds no place is found again by a rescan."""
_RETRY_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a file is waited for (`[intake]` in the configuration)."""

    quiet_seconds: float
    give_up_seconds: float
    marker_suffix: str = ""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A file whose turn it is.

    Attributes:
        last_chance: it did not decode and has not changed since; now it is quarantined.
    """

    delivery: Delivery
    last_chance: bool


@dataclass
class _Entry:
    tracker: StillnessTracker
    due: float
    turn: int


@dataclass
class _Camera:
    folder: Path
    entries: dict[str, _Entry] = field(default_factory=dict)
    queue: list[tuple[float, int, str]] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)


class WaitingRoom:
    """Every file that an event or a scan has named, until it is judged. Safe between threads."""

    def __init__(self, folders: dict[str, Path], patience: Patience) -> None:
        self._patience = patience
        self._cameras = {name: _Camera(folder=folder) for name, folder in folders.items()}
        self._order = list(folders)
        self._turns = count()
        self._changed = threading.Condition()

    def offer(self, camera: str, filename: str, *, closed: bool, now: float) -> bool:
        """Name a file that may have been delivered.

        Args:
            closed: its writer has closed it, or it was renamed into place.

        Returns:
            False when there is no place; a rescan will name it again.
        """
        with self._changed:
            room = self._cameras[camera]
            entry = room.entries.get(filename)
            if entry is None:
                if filename in room.busy and not closed:
                    return True
                if len(room.entries) >= PLACES:
                    return False
                entry = _Entry(tracker=StillnessTracker(now=now), due=now, turn=0)
                room.entries[filename] = entry
                self._schedule(room, filename, entry, now)
            if closed:
                entry.tracker.closed()
                self._schedule(room, filename, entry, now)
            self._changed.notify_all()
        return True

    def take(self, limit: int, *, now: float) -> list[Arrival]:
        """Up to `limit` files that are complete, one camera after the other."""
        taken: list[Arrival] = []
        with self._changed:
            cameras = list(self._order)
            while cameras and len(taken) < limit:
                for name in list(cameras):
                    arrival = self._next(name, now)
                    if arrival is None:
                        cameras.remove(name)
                    else:
                        taken.append(arrival)
                    if len(taken) == limit:
                        break
            # Whoever was served first is served last the next time.
            self._order = self._order[1:] + self._order[:1]
        return taken

    def done(self, deliveries: Sequence[Delivery], *, now: float) -> None:
        """These are recorded, or not there any more."""
        with self._changed:
            for delivery in deliveries:
                room = self._cameras[delivery.camera]
                room.busy.discard(delivery.filename)
                # The same name was delivered again meanwhile.
                if entry := room.entries.get(delivery.filename):
                    self._schedule(room, delivery.filename, entry, now)

    def undecodable(self, delivery: Delivery, *, now: float) -> None:
        """This did not decode: it may not be whole yet, and waits for a change or for its time."""
        with self._changed:
            room, entry = self._back(delivery, now)
            look = Look(inode=delivery.inode, size=delivery.size, mtime_ns=delivery.mtime_ns)
            entry.tracker.failed(look, now=now)
            self._schedule(room, delivery.filename, entry, now + self._pause)

    def again(self, deliveries: Sequence[Delivery], *, now: float, after_seconds: float) -> None:
        """These could not be judged through no fault of theirs, or have changed: once more."""
        with self._changed:
            for delivery in deliveries:
                room, entry = self._back(delivery, now)
                self._schedule(room, delivery.filename, entry, now + after_seconds)

    def wait(self, seconds: float, *, now: float) -> None:
        """Return when a file may be due, something was named, or the time is over."""
        with self._changed:
            dues = [room.queue[0][0] for room in self._cameras.values() if room.queue]
            until = min((due - now for due in dues), default=seconds)
            if until > 0:
                self._changed.wait(min(until, seconds))

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def backlog(self) -> dict[str, int]:
        """Files waiting, by camera. A camera at `PLACES` may have more in its folder."""
        with self._changed:
            return {name: len(room.entries) for name, room in self._cameras.items()}

    @property
    def _pause(self) -> float:
        """Between looks at a file that is not whole."""
        return min(max(self._patience.quiet_seconds, 0.1), self._patience.give_up_seconds / 4 + 0.1)

    def _next(self, camera: str, now: float) -> Arrival | None:
        """The next complete file of a camera, or None when none is due."""
        room = self._cameras[camera]
        while room.queue and room.queue[0][0] <= now:
            _, turn, filename = heapq.heappop(room.queue)
            entry = room.entries.get(filename)
            if entry is None or entry.turn != turn:
                continue
            arrival = self._look_at(camera, room, filename, entry, now)
            if arrival is not None:
                del room.entries[filename]
                room.busy.add(filename)
                return arrival
        return None

    def _look_at(
        self, camera: str, room: _Camera, filename: str, entry: _Entry, now: float
    ) -> Arrival | None:
        path = room.folder / filename
        try:
            status = path.lstat()
        except OSError as error:
            if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                del room.entries[filename]
            else:  # a share that does not answer, a folder without permission
                self._schedule(room, filename, entry, now + _RETRY_SECONDS)
            return None
        if not stat.S_ISREG(status.st_mode):
            del room.entries[filename]
            self._say_once(room, path, "not a regular file, left alone")
            return None
        look = Look.of(status)
        if filename in room.busy or not self._is_marked(path):
            self._schedule(room, filename, entry, now + self._pause)
            return None
        complete = entry.tracker.is_complete(
            look, now=now, quiet_seconds=self._patience.quiet_seconds
        )
        hopeless = entry.tracker.is_hopeless(
            look, now=now, give_up_seconds=self._patience.give_up_seconds
        )
        if not complete and not hopeless:
            self._schedule(room, filename, entry, now + self._pause)
            return None
        delivery = Delivery(
            camera=camera,
            filename=filename,
            path=path,
            inode=look.inode,
            size=look.size,
            mtime_ns=look.mtime_ns,
        )
        return Arrival(delivery=delivery, last_chance=hopeless)

    def _is_marked(self, path: Path) -> bool:
        marker = self._patience.marker_suffix
        return not marker or os.path.lexists(f"{path}{marker}")

    def _back(self, delivery: Delivery, now: float) -> tuple[_Camera, _Entry]:
        room = self._cameras[delivery.camera]
        room.busy.discard(delivery.filename)
        entry = room.entries.get(delivery.filename)
        if entry is None:
            entry = _Entry(tracker=StillnessTracker(now=now), due=now, turn=0)
            room.entries[delivery.filename] = entry
        return room, entry

    def _schedule(self, room: _Camera, filename: str, entry: _Entry, due: float) -> None:
        entry.due, entry.turn = due, next(self._turns)
        heapq.heappush(room.queue, (due, entry.turn, filename))

    def _say_once(self, room: _Camera, path: Path, what: str) -> None:
        if str(path) not in room.skipped and len(room.skipped) < PLACES:
            room.skipped.add(str(path))
            log.warning(what, path=to_text(path))
