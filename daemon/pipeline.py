"""An image's journey. `Pipeline.step` is its table of contents."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from config.settings import Settings
from daemon.crashes import CrashGuard
from daemon.drift.measuring import measure
from daemon.drift.sights import Sights
from daemon.health import Health
from daemon.intake.waiting import Arrival, Candidate, WaitingRoom
from daemon.judging import ModelFailedError, judge
from daemon.lanes import ANSWER_SECONDS, Lanes
from daemon.metering import Meter
from daemon.mover import RETRY_SECONDS, Mover
from daemon.names import to_text
from daemon.reading import Limits, MovedOnError, Reading, read
from daemon.routing import Folders
from daemon.sampling import is_sampled
from daemon.store import images
from daemon.store.database import Database, StoreError
from daemon.values import Delivery, Finding, Intent
from models.decision import Decision
from models.registry import Model
from models.taxonomy import Reason, Verdict

log = structlog.get_logger(__name__)

NOT_JUDGED: Final = "not_judged"
"""The reason of an image that is a picture, but that the model fails on."""


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
        leaves = settings.policy.on_pass == "leave"  # noqa: S105 -- no password
        self._sample_passed = 0.0 if leaves else settings.review.sample_passed
        self._database = database
        self._model = model
        self._next = model
        self._room = room
        self._health = health
        self._clock = clock
        self._forget_seconds = 2 * max(RETRY_SECONDS, settings.intake.rescan_seconds)
        self._guard = CrashGuard(settings.state_dir, max_pixels=settings.intake.max_pixels)
        self._lanes = Lanes()
        self._mover = Mover(
            settings, database=database, lanes=self._lanes, health=health, clock=clock
        )
        self.sights = Sights(settings, health=health, now=time.monotonic())
        self._late: deque[Reading] = deque()
        self._overdue: set[str] = set()
        self._troubled_until: dict[str, float] = {}
        self.meter = Meter()
        self.verdicts: Counter[str] = Counter()
        """Images recorded since the start, by verdict."""
        self.latency_seconds: deque[float] = deque(maxlen=1000)
        """From the last write of a file to the commit of its record, of the latest images."""

    def step(self) -> bool:
        """Judge one batch of what has arrived.

        Returns:
            Whether there was any.
        """
        self._forget_troubles()
        self._swap()
        overdue = self._mind_lanes()
        candidates = self._room.due(self._max_images, now=time.monotonic(), without=overdue)
        readings = [*self._fitting(self._came_late()), *self._read(candidates)]
        try:
            self._carry(readings)
        finally:
            self._close(readings)
        return bool(candidates or readings)

    def serve_with(self, model: Model) -> None:
        """Judge with another model from the next batch on. From any thread; returns at once."""
        self._next = model
        self._room.wake()

    def _swap(self) -> None:
        model = self._next
        if model is not self._model:
            self._model = model
            log.info("model swapped", model=model.version, runtime=model.runtime.name)

    def _carry(self, readings: Sequence[Reading]) -> None:
        """Take what was read through predict, record and route, or set it aside for a while."""
        if not readings:
            return
        try:
            findings = self._predict(readings)
            intents = self._record(findings, readings)
            self._route(intents, readings)
        except StoreError as error:
            if error.damaged:  # the next start refuses it, and names the backup
                raise
            if error.again_helps:
                self._set_aside(readings, "database", str(error))
            else:  # one of them may be to blame
                self._carry_each(readings, error)
        except ModelFailedError as error:
            self._set_aside(readings, "judging", f"the model fails on every image: {error}")
        except Exception as error:
            # Unforeseen. It must not end the watch on a line, nor harm the rest of the batch.
            log.exception("failed", path=to_text(readings[0].delivery.path), images=len(readings))
            self._carry_each(readings, error)

    def _carry_each(self, readings: Sequence[Reading], error: Exception) -> None:
        """Find the one that a batch fails on. What has a record by now is moved by the mover."""
        self._mover.retry_later()
        if len(readings) > 1:
            for reading in readings:
                self._carry([reading])
            return
        delivery = readings[0].delivery
        what = f"{to_text(delivery.path)} failed: {error!r}; see the log"
        self._passing_trouble("image", what)
        self._hand_back([delivery], RETRY_SECONDS)

    def retry_if_due(self) -> bool:
        """Do some of the recorded plans that are not yet known to be done.

        There may be some after a start, and while a disk is full or away.

        Returns:
            Whether there is more to do at once.
        """
        more, withdrawn = self._mover.retry_if_due()
        self._judge_again(withdrawn)
        return more

    def wait(self, seconds: float) -> None:
        """Return when there may be something to judge, or the time is over."""
        self._room.wait(seconds, now=time.monotonic(), without=self._lanes.overdue())

    @property
    def model(self) -> Model:
        """What judges now."""
        return self._model

    def close(self, *, seconds: float) -> None:
        """Let go of every file."""
        self._close(self._came_late())
        self._lanes.close(seconds=seconds)
        self._guard.close()

    def _read(self, candidates: Sequence[Candidate]) -> list[Reading]:
        """Look at what is due, and read what is complete; the rest waits on."""
        work = {
            camera: partial(self._read_all, group)
            for camera, group in _by_camera(candidates).items()
        }
        results = self._lanes.run(work, seconds=ANSWER_SECONDS, late=self._take_late)
        return [reading for readings in results.values() for reading in readings]

    def _read_all(self, candidates: Iterable[Candidate]) -> list[Reading]:
        readings: list[Reading] = []
        for candidate in candidates:
            arrival = self._room.look(candidate, now=time.monotonic())
            reading = arrival and self._read_one(arrival)
            if reading:
                readings.append(reading)
        return readings

    def _read_one(self, arrival: Arrival) -> Reading | None:
        delivery = arrival.delivery
        try:
            crashes = self._guard.crashes(delivery)
            self._guard.note(delivery)
            reading = read(
                delivery, size=self._model.input_size, limits=self._limits, decodable=not crashes
            )
        except MovedOnError:
            self._hand_back([delivery], 0.0)
            return None
        except OSError as error:
            self._cannot_read(delivery, error.strerror or str(error))
            return None
        except Exception as error:
            # No memory, say. One image must not end the watch on a line.
            log.exception("cannot be read", path=to_text(delivery.path))
            self._cannot_read(delivery, f"{type(error).__name__}: {error}")
            return None
        unreadable = reading.unreadable
        if unreadable and unreadable.may_be_unfinished and not arrival.last_chance:
            reading.close()
            self._room.undecodable(delivery, now=time.monotonic())
            return None
        return reading

    def _predict(self, readings: Sequence[Reading]) -> list[Finding]:
        pictures = [reading.pixels for reading in readings if reading.pixels is not None]
        outcomes = iter(judge(self._model, pictures))
        findings: list[Finding] = []
        for reading in readings:
            outcome = None if reading.pixels is None else next(outcomes)
            if isinstance(outcome, Decision):
                findings.append(self._judged(reading, outcome))
            else:
                findings.append(_unreadable(reading, outcome))
        self._health.mended("judging")
        return findings

    def _record(self, findings: Sequence[Finding], readings: Sequence[Reading]) -> list[Intent]:
        recorded = images.record(self._database, findings, self._folders.plan, self._clock())
        self._health.mended("database")
        now = time.time()
        for finding in recorded.findings:
            self.verdicts[finding.verdict.value] += 1
            latency = now - finding.delivery.mtime_ns / 1e9
            self.latency_seconds.append(latency)
            self.meter.recorded(
                finding.delivery.camera, finding.verdict.value, at=now, latency_seconds=latency
            )
        pixels = {reading.delivery: reading.pixels for reading in readings}
        self.sights.see(recorded.findings, pixels, now=time.monotonic())
        return recorded.intents

    def _route(self, intents: Sequence[Intent], readings: Sequence[Reading]) -> None:
        held_by = {reading.delivery: reading.held for reading in readings}
        held = {
            intent.image_id: held_by[intent.delivery]
            for intent in intents
            if intent.delivery in held_by
        }
        self._judge_again(self._mover.move(intents, held))
        self._room.done([reading.delivery for reading in readings], now=time.monotonic())

    def _judge_again(self, withdrawn: Sequence[Intent]) -> None:
        self._hand_back([intent.delivery for intent in withdrawn], 0.0)
        for intent in withdrawn:
            # One that was recorded before the start was not counted since.
            self.verdicts[intent.verdict.value] = max(0, self.verdicts[intent.verdict.value] - 1)

    def _hand_back(self, deliveries: Sequence[Delivery], after_seconds: float) -> None:
        self._room.again(deliveries, now=time.monotonic(), after_seconds=after_seconds)

    def _set_aside(self, readings: Sequence[Reading], trouble: str, what: str) -> None:
        """Hand a batch back: what has no record is judged again, what has one is only moved.

        Nothing else is judged meanwhile: the next batch would most likely come to the same end.
        """
        self._health.trouble(trouble, what)
        self._hand_back([reading.delivery for reading in readings], RETRY_SECONDS)
        self._room.rest(RETRY_SECONDS, now=time.monotonic())
        self._mover.retry_later()

    def _take_late(self, readings: list[Reading]) -> None:
        self._late.extend(readings)
        self._room.wake()

    def _came_late(self) -> list[Reading]:
        return [self._late.popleft() for _ in range(len(self._late))]

    def _fitting(self, readings: Iterable[Reading]) -> list[Reading]:
        """Without those that were read for a model of another size: they are read again."""
        size, kept = self._model.input_size, []
        for reading in readings:
            if reading.pixels is None or reading.pixels.shape[0] == size:
                kept.append(reading)
            else:
                self._close([reading])
                self._hand_back([reading.delivery], 0.0)
        return kept

    def _close(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            # In its lane: a share that hangs may hang here too. Behind whatever the lane still does
            # with this descriptor, whose number another file would get.
            self._lanes.afterwards(reading.delivery.camera, reading.close)

    def _mind_lanes(self) -> set[str]:
        """The cameras to go on without for now."""
        overdue = self._lanes.overdue()
        for camera in overdue:
            self._health.trouble(
                f"files of {camera}",
                f"the folder of camera {camera}, or where its images go, has not answered for "
                f"{ANSWER_SECONDS:g} s or more; see whether a share or a disk hangs. The other "
                "cameras go on",
            )
        for camera in self._overdue - overdue:
            self._health.mended(f"files of {camera}")
        self._overdue = overdue
        return overdue

    def _cannot_read(self, delivery: Delivery, cause: str) -> None:
        self._passing_trouble(
            f"reading {delivery.camera}",
            f"{to_text(delivery.path)} cannot be read: {cause}; mend its permissions, it is tried "
            "again by itself",
        )
        self._hand_back([delivery], RETRY_SECONDS)

    def _passing_trouble(self, name: str, what: str) -> None:
        """Tell of a trouble of single images, which is over when it was not met for a while."""
        self._troubled_until[name] = time.monotonic() + self._forget_seconds
        self._health.trouble(name, what)

    def _forget_troubles(self) -> None:
        for name, until in list(self._troubled_until.items()):
            if time.monotonic() > until:
                del self._troubled_until[name]
                self._health.mended(name)

    def _judged(self, reading: Reading, decision: Decision) -> Finding:
        passed = decision.verdict is Verdict.PASS
        drawn = passed and is_sampled(reading.delivery, reading.sha256, self._sample_passed)
        return Finding(
            delivery=reading.delivery,
            sha256=reading.sha256,
            verdict=decision.verdict,
            reason=(Reason.SAMPLE if drawn else decision.reason).value,
            predicted_class=decision.predicted_class,
            confidence=decision.confidence,
            novelty=decision.novelty,
            model_version=self._model.version,
            appearance=None if reading.pixels is None else measure(reading.pixels),
            notes=reading.notes,
        )


def _unreadable(reading: Reading, error: Exception | None) -> Finding:
    """The finding of a picture that does not decode, or that the model fails on."""
    notes = reading.notes
    reason = NOT_JUDGED
    if reading.unreadable is not None:
        reason = reading.unreadable.reason.value
    elif error is not None:
        notes = (*notes, f"{type(error).__name__}: {error}")
    return Finding(
        delivery=reading.delivery,
        sha256=reading.sha256,
        verdict=Verdict.UNREADABLE,
        reason=reason,
        notes=notes,
    )


def _by_camera(candidates: Iterable[Candidate]) -> dict[str, list[Candidate]]:
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.camera].append(candidate)
    return groups
