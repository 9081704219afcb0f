"""Files that were delivered and are not judged yet: bounded, and fair to every camera."""

import heapq
import os
import stat
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import structlog

from config.settings import Intake
from daemon.intake.completeness import StillnessTracker
from daemon.names import to_text
from daemon.values import Delivery, Signature

log = structlog.get_logger(__name__)

PLACES: Final = 4096
"""For each camera. What finds no place is found again by a rescan."""
_RETRY_SECONDS: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file that is due to be looked at. It stays in the room, busy, until its end is told."""

    camera: str
    filename: str


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
    turn: int = 0
    busy: bool = False
    told_again: bool = False
    """Its writer closed it, another took its name, or a record of it was taken back, while it was busy."""


@dataclass
class _Camera:
    folder: Path
    entries: dict[str, _Entry] = field(default_factory=dict)
    queue: list[tuple[float, int, str]] = field(default_factory=list)
    skipped: set[str] = field(default_factory=set)


class WaitingRoom:
    """Every file that an event or a scan has named, until it is judged. Safe between threads.

    No file system is touched while the lock is held: a share that hangs must hold up no other.
    """

    def __init__(self, folders: dict[str, Path], rules: Intake, *, places: int = PLACES) -> None:
        self._places = places
        self._rules = rules
        self._cameras = {name: _Camera(folder=folder) for name, folder in folders.items()}
        self._order = list(folders)
        self._turns = count()
        self._resting_until = 0.0
        self._woken = False
        self._changed = threading.Condition()

    def offer(
        self, camera: str, filename: str, *, closed: bool, now: float, look: Signature | None = None
    ) -> bool:
        """Name a file that may have been delivered.

        Args:
            closed: its writer has closed it, or it was renamed into place.
            look: what a scan saw of it. From here on it need only hold still: in a backlog it would
                first come to its turn to be looked at, and then have to wait.

        Returns:
            False when there is no place; a rescan will name it again.
        """
        with self._changed:
            room = self._cameras.get(camera)
            if room is None:  # recorded for a camera that was taken out of the configuration
                return False
            entry = room.entries.get(filename)
            if entry is None:
                if len(room.entries) >= self._places:
                    return False
                entry = _Entry(tracker=StillnessTracker(now=now), due=now)
                room.entries[filename] = entry
                due = now
                if look is not None:
                    entry.tracker.seen(look, now=now)
                    due += min(self._rules.quiet_seconds, self._pause)
                self._schedule(room, filename, entry, due)
            if closed:
                entry.tracker.closed()
                entry.told_again = entry.busy
                # However many events one file causes, it stands in the queue once.
                if not entry.busy and entry.due > now:
                    self._schedule(room, filename, entry, now)
            self._changed.notify_all()
        return True

    def waiting(self, camera: str) -> set[str]:
        """The names that are in the room."""
        with self._changed:
            room = self._cameras.get(camera)
            return set(room.entries) if room else set()

    def due(self, limit: int, *, now: float, without: Collection[str] = ()) -> list[Candidate]:
        """Up to `limit` files to look at, one camera after the other, but for some cameras."""
        found: list[Candidate] = []
        with self._changed:
            cameras = [name for name in self._order if name not in without]
            if now < self._resting_until:
                return []
            while cameras and len(found) < limit:
                for name in list(cameras)[: limit - len(found)]:
                    filename = self._pop(self._cameras[name], now)
                    if filename is None:
                        cameras.remove(name)
                    else:
                        found.append(Candidate(camera=name, filename=filename))
            # Whoever was served first is served last the next time.
            self._order = self._order[1:] + self._order[:1]
        return found

    def look(self, candidate: Candidate, *, now: float) -> Arrival | None:
        """Look at a file: it is complete and to be judged, or it waits on, or it is no image."""
        path = self._cameras[candidate.camera].folder / candidate.filename
        try:
            status = path.lstat()
            marked = self._is_marked(path)
        except (FileNotFoundError, NotADirectoryError):
            self._end(candidate.camera, candidate.filename, now)
            return None
        except OSError:  # a share that does not answer, a folder without permission
            self._wait_on(candidate, now, after_seconds=_RETRY_SECONDS)
            return None
        if not stat.S_ISREG(status.st_mode):
            self._say_once(candidate.camera, path)
            self._end(candidate.camera, candidate.filename, now)
            return None
        if not marked:
            self._wait_on(candidate, now, after_seconds=self._pause)
            return None
        return self._judge_look(candidate, path, Signature.of(status), now)

    def done(self, deliveries: Sequence[Delivery], *, now: float) -> None:
        """These are recorded."""
        for delivery in deliveries:
            self._end(delivery.camera, delivery.filename, now)

    def undecodable(self, delivery: Delivery, *, now: float) -> None:
        """This did not decode: it may not be whole yet, and waits for a change or for its time."""
        with self._changed:
            room = self._cameras[delivery.camera]
            if entry := room.entries.get(delivery.filename):
                entry.tracker.failed(delivery.signature, now=now)
                self._return(room, delivery.filename, entry, now, now + self._pause)

    def again(self, deliveries: Sequence[Delivery], *, now: float, after_seconds: float) -> None:
        """These could not be judged through no fault of theirs, or have changed: once more."""
        for delivery in deliveries:
            candidate = Candidate(camera=delivery.camera, filename=delivery.filename)
            if not self._wait_on(candidate, now, after_seconds=after_seconds):
                self.offer(delivery.camera, delivery.filename, closed=False, now=now)

    def withdrawn(self, delivery: Delivery, *, now: float) -> None:
        """Its record was taken back: it is judged once more, after what is being judged under its name."""
        with self._changed:
            room = self._cameras.get(delivery.camera)
            entry = None if room is None else room.entries.get(delivery.filename)
            if entry is not None and entry.busy:
                entry.told_again = True
                return
        self.offer(delivery.camera, delivery.filename, closed=False, now=now)

    def rest(self, seconds: float, *, now: float) -> None:
        """Give nothing to judge for a while: what is judged now could not be recorded."""
        with self._changed:
            self._resting_until = max(self._resting_until, now + seconds)

    def wait(self, seconds: float, *, now: float, without: Collection[str] = ()) -> None:
        """Return when a file may be due, something was named, it is woken, or the time is over."""
        with self._changed:
            if self._woken:
                self._woken = False
                return
            dues = [
                room.queue[0][0]
                for name, room in self._cameras.items()
                if room.queue and name not in without
            ]
            until = max(min(dues, default=now + seconds), self._resting_until) - now
            if until > 0:
                self._changed.wait(min(until, seconds))
            self._woken = False

    def wake(self) -> None:
        """End the wait, or the next one where nobody waits now."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def backlog(self) -> dict[str, int]:
        """Files waiting, by camera. A camera at `PLACES` may have more in its folder."""
        with self._changed:
            return {name: len(room.entries) for name, room in self._cameras.items()}

    @property
    def _pause(self) -> float:
        """Between looks at a file that is not whole."""
        return min(max(self._rules.quiet_seconds, 0.1), self._rules.give_up_seconds / 4 + 0.1)

    def _pop(self, room: _Camera, now: float) -> str | None:
        while room.queue and room.queue[0][0] <= now:
            _, turn, filename = heapq.heappop(room.queue)
            entry = room.entries.get(filename)
            if entry is not None and entry.turn == turn:
                entry.busy = True
                return filename
        return None

    def _judge_look(
        self, candidate: Candidate, path: Path, look: Signature, now: float
    ) -> Arrival | None:
        with self._changed:
            room = self._cameras[candidate.camera]
            entry = room.entries.get(candidate.filename)
            if entry is None:
                return None
            complete = entry.tracker.is_complete(
                look, now=now, quiet_seconds=self._rules.quiet_seconds
            )
            hopeless = entry.tracker.is_hopeless(
                look, now=now, give_up_seconds=self._rules.give_up_seconds
            )
            if not complete and not hopeless:
                self._return(room, candidate.filename, entry, now, now + self._pause)
                return None
            if not entry.told_again:  # else this look may be older than what was told
                entry.tracker.taken()
        delivery = Delivery(
            camera=candidate.camera,
            filename=candidate.filename,
            path=path,
            inode=look.inode,
            size=look.size,
            mtime_ns=look.mtime_ns,
        )
        return Arrival(delivery=delivery, last_chance=hopeless)

    def _end(self, camera: str, filename: str, now: float) -> None:
        """Let a file go, unless its name was told again while it was busy."""
        with self._changed:
            room = self._cameras[camera]
            entry = room.entries.get(filename)
            if entry is None or not entry.busy:  # handed back before
                return
            if entry.told_again:
                self._return(room, filename, entry, now, now)
            else:
                del room.entries[filename]

    def _wait_on(self, candidate: Candidate, now: float, *, after_seconds: float) -> bool:
        """Let a file wait that does not come nearer to its turn by waiting, if it is here.

        Where places are short it gives its place up, and the rescan names it again: a few thousand
        such files would keep every other one out.
        """
        with self._changed:
            room = self._cameras.get(candidate.camera)
            entry = None if room is None else room.entries.get(candidate.filename)
            if room is None or entry is None:
                return False
            crowded = after_seconds > 0 and len(room.entries) >= self._places
            if crowded and not entry.told_again:
                del room.entries[candidate.filename]
            else:
                self._return(room, candidate.filename, entry, now, now + after_seconds)
        return True

    def _return(self, room: _Camera, filename: str, entry: _Entry, now: float, due: float) -> None:
        due = min(due, now) if entry.told_again else due
        entry.busy = entry.told_again = False
        self._schedule(room, filename, entry, due)

    def _schedule(self, room: _Camera, filename: str, entry: _Entry, due: float) -> None:
        entry.due, entry.turn = due, next(self._turns)
        heapq.heappush(room.queue, (due, entry.turn, filename))

    def _is_marked(self, path: Path) -> bool:
        marker = self._rules.marker_suffix
        return not marker or os.path.lexists(f"{path}{marker}")

    def _say_once(self, camera: str, path: Path) -> None:
        with self._changed:
            skipped = self._cameras[camera].skipped
            new = str(path) not in skipped and len(skipped) < self._places
            if new:
                skipped.add(str(path))
        if new:
            log.warning("not a regular file, left alone", path=to_text(path))
