"""Reads what is due, across cameras whose shares may hang, on as many cores as are free."""

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from config.settings import Settings
from daemon.intake.waiting import Arrival, Candidate, WaitingRoom
from daemon.journey.reading import Fetched, Limits, MovedOnError, Reading, fetch, understand
from daemon.names import to_text
from daemon.process.crashes import CrashGuard
from daemon.process.health import Health
from daemon.process.lanes import ANSWER_SECONDS, Helpers, Lanes, by_camera
from daemon.values import Delivery

log = structlog.get_logger(__name__)

_RETRY_SECONDS: Final = 2.0
_WORTH_A_HAND: Final = 65536
"""Bytes. A smaller file is decoded in less time than it takes to hand it over and back."""


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A file that is decoded, or that a helper is decoding."""

    arrival: Arrival
    reading: Future[Reading] | Reading


class Reader:
    """Reads a batch. One thread calls it."""

    def __init__(
        self, settings: Settings, *, room: WaitingRoom, lanes: Lanes, large: Lanes, health: Health
    ) -> None:
        self._limits = Limits(
            max_pixels=settings.intake.max_pixels,
            max_bytes=settings.intake.max_bytes,
            allow_zero_tail=settings.intake.allow_zero_tail,
        )
        self._forget_seconds = 2 * max(_RETRY_SECONDS, settings.intake.rescan_seconds)
        self._room = room
        self._lanes = lanes
        self._health = health
        self._guard = CrashGuard(settings.state_dir, max_pixels=settings.intake.max_pixels)
        # A camera's own lane decodes too.
        self._helpers = Helpers(max(1, len(os.sched_getaffinity(0)) - 1))
        self._large = large
        self._being_hashed: set[Delivery] = set()
        self._late: deque[Reading] = deque()

    def read(self, candidates: Sequence[Candidate], *, size: int) -> list[Reading]:
        """Look at what is due, and read what is complete; the rest waits on.

        Args:
            size: of the network's input. What came late and was read for another is read again.
        """
        late = self._fitting(self._came_late(), size)
        groups = by_camera(candidates, lambda candidate: candidate.camera)
        work = {camera: partial(self._read_all, group, size) for camera, group in groups.items()}
        results = self._lanes.run(work, seconds=ANSWER_SECONDS, late=self._take_late)
        return [*late, *(reading for readings in results.values() for reading in readings)]

    def late_deliveries(self) -> set[Delivery]:
        """What the next calls of `read` give besides what they read."""
        hashed = tuple(self._being_hashed)  # first: what ends meanwhile is late then
        return {*hashed, *(reading.delivery for reading in tuple(self._late))}

    def let_go(self, readings: Sequence[Reading]) -> None:
        """Close the files."""
        for lanes, are_large in ((self._lanes, False), (self._large, True)):
            these = [each for each in readings if self._is_large(each.delivery) is are_large]
            for camera, group in by_camera(these, lambda each: each.delivery.camera).items():
                # In its lane: a share that hangs may hang here too. Behind whatever the lane still
                # does with these descriptors, whose numbers other files would get.
                lanes.afterwards(camera, partial(_close_all, group))

    def end(self) -> None:
        """Nothing is to be read any more; the lanes may still have to end."""
        self.let_go(self._came_late())

    def close(self, *, seconds: float) -> None:
        """When the lanes have ended."""
        self._helpers.close(seconds=seconds)
        self._guard.close()

    def _read_all(self, candidates: Iterable[Candidate], size: int) -> list[Reading]:
        try:
            begun = [self._begin(candidate, size) for candidate in candidates]
        finally:
            self._guard.rest(by=threading.current_thread().name)
        ended = [self._end(each) for each in begun if each]
        return [reading for reading in ended if reading]

    def _begin(self, candidate: Candidate, size: int) -> _Begun | None:
        """Fetch a file and have it decoded: by a helper if one is free, so that none waits for one.

        As many files as there are helpers, and one, are so in memory for each camera.
        """
        arrival = self._room.look(candidate, now=time.monotonic())
        if arrival is None:
            return None
        delivery = arrival.delivery
        if self._is_large(delivery):
            self._being_hashed.add(delivery)
            self._large.afterwards(delivery.camera, partial(self._read_large, delivery, size))
            return None
        try:
            decodable = not self._guard.crashes(delivery)
            fetched = fetch(delivery, limits=self._limits, decodable=decodable)
            reading: Future[Reading] | Reading | None = None
            if delivery.size >= _WORTH_A_HAND:
                reading = self._helpers.take(partial(self._help, fetched, size))
            if reading is None:
                reading = self._understand(fetched, size)
        except Exception as error:  # noqa: BLE001 -- told
            self._not_read(delivery, error)
            return None
        return _Begun(arrival=arrival, reading=reading)

    def _is_large(self, delivery: Delivery) -> bool:
        return delivery.size > self._limits.max_bytes

    def _read_large(self, delivery: Delivery, size: int) -> None:
        """Beside the other files of its camera: only to hash a terabyte takes the better part of an hour."""
        try:
            fetched = fetch(delivery, limits=self._limits, decodable=False)
            self._take_late([self._understand(fetched, size)])
        except Exception as error:  # noqa: BLE001 -- told
            self._not_read(delivery, error)
        finally:
            self._being_hashed.discard(delivery)

    def _help(self, fetched: Fetched, size: int) -> Reading:
        try:
            return self._understand(fetched, size)
        finally:
            self._guard.rest(by=threading.current_thread().name)

    def _understand(self, fetched: Fetched, size: int) -> Reading:
        if fetched.data is not None:
            self._guard.note(fetched.delivery, by=threading.current_thread().name)
        return understand(fetched, size=size, limits=self._limits)

    def _end(self, begun: _Begun) -> Reading | None:
        """What was read, unless it is to be read once more: then the room has it back."""
        arrival, reading = begun.arrival, begun.reading
        if isinstance(reading, Future):
            try:
                reading = reading.result()
            except Exception as error:  # noqa: BLE001 -- told
                self._not_read(arrival.delivery, error)
                return None
        unreadable = reading.unreadable
        if unreadable and unreadable.may_be_unfinished and not arrival.last_chance:
            reading.close()
            self._room.undecodable(arrival.delivery, now=time.monotonic())
            return None
        return reading

    def _not_read(self, delivery: Delivery, error: Exception) -> None:
        """One image must not end the watch on a line: it is tried again."""
        if isinstance(error, MovedOnError):
            self._room.again([delivery], now=time.monotonic(), after_seconds=0.0)
            return
        cause, remedy = f"{type(error).__name__}: {error}", "see the log"
        if isinstance(error, OSError):
            cause, remedy = error.strerror or str(error), "see whether its disk or share is well"
            if isinstance(error, PermissionError):
                remedy = "mend its permissions"
        else:  # no memory, say
            log.error("cannot be read", path=to_text(delivery.path), exc_info=error)
        self._health.passing_trouble(
            f"reading {delivery.camera}",
            f"{to_text(delivery.path)} cannot be read: {cause}; {remedy}, it is tried again by itself",
            now=time.monotonic(),
            seconds=self._forget_seconds,
        )
        self._room.again([delivery], now=time.monotonic(), after_seconds=_RETRY_SECONDS)

    def _take_late(self, readings: list[Reading]) -> None:
        self._late.extend(readings)
        self._room.wake()

    def _came_late(self) -> list[Reading]:
        return [self._late.popleft() for _ in range(len(self._late))]

    def _fitting(self, readings: Iterable[Reading], size: int) -> list[Reading]:
        """Without those that were read for a model of another size: they are read again."""
        kept = []
        for reading in readings:
            if reading.pixels is None or reading.pixels.shape[0] == size:
                kept.append(reading)
            else:
                self.let_go([reading])
                self._room.again([reading.delivery], now=time.monotonic(), after_seconds=0.0)
        return kept


def _close_all(readings: Iterable[Reading]) -> None:
    for reading in readings:
        reading.close()
