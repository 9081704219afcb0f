"""An image's journey. `Pipeline.step` is its table of contents."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import numpy as np
import structlog

from config.settings import Settings
from daemon.health import Health
from daemon.intake.waiting import Arrival, WaitingRoom
from daemon.names import to_text
from daemon.reading import Limits, MovedOnError, Reading, read
from daemon.routing import Folders, Routed, route
from daemon.store import images
from daemon.store.database import Database, StoreError
from daemon.values import Delivery, Finding, Intent
from models.decision import Decision
from models.registry import Model
from models.taxonomy import Verdict

log = structlog.get_logger(__name__)

_RETRY_SECONDS: Final = 5.0
_RETRY_BATCH: Final = 200


class Pipeline:
    """Takes what is waiting through read, predict, record and route. One thread calls it."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        model: Model,
        room: WaitingRoom,
        health: Health,
        clock: Callable[[], datetime],
    ) -> None:
        self._max_images = settings.batching.max_images
        self._folders = Folders.of(settings)
        self._limits = Limits(
            max_pixels=settings.intake.max_pixels,
            max_bytes=settings.intake.max_bytes,
            allow_zero_tail=settings.intake.allow_zero_tail,
        )
        self._database = database
        self._model = model
        self._room = room
        self._health = health
        self._clock = clock
        self._retry_at: float | None = None
        self._unreadable_until: dict[str, float] = {}
        self.verdicts: Counter[str] = Counter()
        """Images recorded since the start, by verdict."""
        self.latency_seconds: deque[float] = deque(maxlen=1000)
        """From the last write of a file to the commit of its record, of the latest images."""

    def step(self) -> bool:
        """Judge one batch of what has arrived.

        Returns:
            Whether there was any.
        """
        arrivals = self._room.take(self._max_images, now=time.monotonic())
        if not arrivals:
            return False
        readings = self._read(arrivals)
        try:
            findings = self._predict(readings)
            intents = self._record(findings)
            self._route(intents, readings)
        except StoreError as error:
            self._set_aside(readings, "database", str(error))
        except Exception as error:
            # One batch that cannot be judged must not end the watch on a line: it is tried again,
            # the trouble is shown, and nothing was moved without its record.
            log.exception("batch failed")
            self._set_aside(readings, "judging", f"{type(error).__name__}: {error}; see the log")
        else:
            self._health.mended("database")
            self._health.mended("judging")
        finally:
            for reading in readings:
                reading.close()
        return True

    def finish_what_was_begun(self) -> int:
        """Do every recorded plan that is not yet known to be done, as far as the disks allow.

        Returns:
            How many remain.

        Raises:
            StoreError: when the database cannot say which they are.
        """
        remaining, last = 0, 0
        while intents := images.pending(self._database, after=last, limit=_RETRY_BATCH):
            last = intents[-1].image_id
            remaining += self._settle(intents, held={})
        self._retry_at = time.monotonic() + _RETRY_SECONDS if remaining else None
        return remaining

    def retry_if_due(self) -> None:
        """Try the moves again that stood still, every few seconds while there are any."""
        self._forget_read_troubles()
        if self._retry_at is None or time.monotonic() < self._retry_at:
            return
        try:
            self.finish_what_was_begun()
        except StoreError as error:
            self._health.trouble("database", str(error))
            self._retry_at = time.monotonic() + _RETRY_SECONDS

    def _read(self, arrivals: Iterable[Arrival]) -> list[Reading]:
        """Read what can be read; hand the rest back to wait."""
        readings: list[Reading] = []
        for arrival in arrivals:
            delivery = arrival.delivery
            try:
                reading = read(delivery, size=self._model.input_size, limits=self._limits)
            except MovedOnError:
                self._hand_back([delivery], 0.0)
                continue
            except OSError as error:
                self._cannot_read(delivery, error)
                continue
            unreadable = reading.unreadable
            if unreadable and unreadable.may_be_unfinished and not arrival.last_chance:
                reading.close()
                self._room.undecodable(delivery, now=time.monotonic())
                continue
            readings.append(reading)
        return readings

    def _predict(self, readings: Sequence[Reading]) -> list[Finding]:
        pixels = [reading.pixels for reading in readings if reading.pixels is not None]
        decisions = iter(self._model.judge(np.stack(pixels)) if pixels else [])
        return [
            self._unreadable(reading)
            if reading.pixels is None
            else self._judged(reading, next(decisions))
            for reading in readings
        ]

    def _record(self, findings: Sequence[Finding]) -> list[Intent]:
        recorded = images.record(self._database, findings, self._folders.plan, self._clock())
        now = time.time()
        for finding in recorded.findings:
            self.verdicts[finding.verdict.value] += 1
            self.latency_seconds.append(now - finding.delivery.mtime_ns / 1e9)
        return recorded.intents

    def _route(self, intents: Sequence[Intent], readings: Sequence[Reading]) -> None:
        held_by = {reading.delivery: reading.held for reading in readings}
        held = {
            intent.image_id: held_by[intent.delivery]
            for intent in intents
            if intent.delivery in held_by
        }
        self._settle(intents, held=held)
        self._room.done([reading.delivery for reading in readings], now=time.monotonic())

    def _settle(self, intents: Sequence[Intent], *, held: dict[int, int]) -> int:
        """Route, and see to what could not be. Returns how many moves remain pending."""
        routed: Routed = route(self._database, intents, held=held, now=self._clock())
        self._hand_back([intent.delivery for intent in routed.withdrawn], 0.0)
        for intent in routed.withdrawn:
            self.verdicts[intent.verdict.value] -= 1
        if routed.failed:
            intent, error = routed.failed[0]
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            self._health.trouble(
                "moving",
                f"{len(routed.failed)} images are judged but could not be moved, the first to "
                f"{to_text(intent.plan.target or '')}: {error.strerror or error}; they stay where "
                "the camera put them and are tried again. Free space there, or mend its permissions",
            )
        elif intents:
            self._health.mended("moving")
        return len(routed.failed)

    def _hand_back(self, deliveries: Sequence[Delivery], after_seconds: float) -> None:
        self._room.again(deliveries, now=time.monotonic(), after_seconds=after_seconds)

    def _set_aside(self, readings: Sequence[Reading], trouble: str, what: str) -> None:
        """Hand a batch back: what has no record is judged again, what has one is only moved."""
        self._health.trouble(trouble, what)
        self._hand_back([reading.delivery for reading in readings], _RETRY_SECONDS)
        self._retry_at = time.monotonic() + _RETRY_SECONDS

    def _cannot_read(self, delivery: Delivery, error: OSError) -> None:
        self._unreadable_until[delivery.camera] = time.monotonic() + 2 * _RETRY_SECONDS
        self._health.trouble(
            f"reading {delivery.camera}",
            f"{to_text(delivery.path)} cannot be read: {error.strerror}; mend its permissions, it "
            "is tried again by itself",
        )
        self._hand_back([delivery], _RETRY_SECONDS)

    def _forget_read_troubles(self) -> None:
        """A camera whose every file could be read for two rounds of trying is mended."""
        for camera, until in list(self._unreadable_until.items()):
            if time.monotonic() > until:
                del self._unreadable_until[camera]
                self._health.mended(f"reading {camera}")

    def _judged(self, reading: Reading, decision: Decision) -> Finding:
        return Finding(
            delivery=reading.delivery,
            sha256=reading.sha256,
            verdict=decision.verdict,
            reason=decision.reason.value,
            predicted_class=decision.predicted_class,
            confidence=decision.confidence,
            novelty=decision.novelty,
            model_version=self._model.version,
            notes=reading.notes,
        )

    def _unreadable(self, reading: Reading) -> Finding:
        if reading.unreadable is None:
            raise RuntimeError("a reading without pixels has no reason")
        return Finding(
            delivery=reading.delivery,
            sha256=reading.sha256,
            verdict=Verdict.UNREADABLE,
            reason=reading.unreadable.reason.value,
            notes=reading.notes,
        )
