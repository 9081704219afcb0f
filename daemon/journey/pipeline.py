"""An image's journey. `Pipeline.step` is its table of contents."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from config.settings import Settings
from daemon.drift.measuring import measure
from daemon.drift.sights import Sights
from daemon.intake.waiting import WaitingRoom
from daemon.journey.judging import ModelFailedError, Pixels, judge
from daemon.journey.metering import Meter
from daemon.journey.mover import RETRY_SECONDS, Mover
from daemon.journey.reader import Reader
from daemon.journey.reading import Reading
from daemon.journey.routing import Folders
from daemon.journey.sampling import is_sampled
from daemon.names import to_text
from daemon.process.health import Health
from daemon.process.lanes import ANSWER_SECONDS, Lane, Lanes, end_all
from daemon.retraining.shadow import Shadow
from daemon.store import images, outbox
from daemon.store.database import Database, StoreError
from daemon.store.recent import last_recorded, latest_looks
from daemon.values import Delivery, Finding, Intent
from models.decision import Decision
from models.registry import Model
from models.taxonomy import Reason, Verdict

log = structlog.get_logger(__name__)

NOT_JUDGED: Final = "not_judged"
"""The reason of an image that is a picture, but that the model fails on."""


AHEAD: Final = 4
"""Batches that are read and not yet recorded, in a backlog: one waits for a judge while others wait for
the disk. Where little waits it would only make the batches smaller, and each image wait for more of them."""
_JUDGES: Final = 2
"""Batches that are judged at a time: the one goes on where the other has come to its end."""
_LEAST_IMAGES: Final = 32
"""That a batch may have, however few wait."""


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Images that were read, and what a model says of those that are pictures."""

    model: Model
    readings: Sequence[Reading]
    outcomes: Future[list[Decision | Exception]]


class Pipeline:
    """Takes what is waiting through read, predict, record and route. One thread calls it.

    While batches are judged, in threads of their own that touch nothing else, the one before them is
    recorded and routed and the one behind them is read.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        model: Model,
        room: WaitingRoom,
        health: Health,
        clock: Callable[[], datetime],
        placed: Callable[[list[Path]], None] = lambda _: None,
    ) -> None:
        self._max_images = settings.batching.max_images
        self._folders = Folders.of(settings)
        leaves = settings.policy.on_pass == "leave"  # noqa: S105 -- no password
        self._sample_passed = 0.0 if leaves else settings.review.sample_passed
        self._database = database
        self._model = model
        self._next = model
        self._room = room
        self._health = health
        self._clock = clock
        self._forget_seconds = 2 * max(RETRY_SECONDS, settings.intake.rescan_seconds)
        self._lanes, self._large = Lanes(), Lanes("large files of")
        self._reader = Reader(
            settings, room=room, lanes=self._lanes, large=self._large, health=health
        )
        self._judges = deque(Lane(f"judge {number}") for number in range(1, _JUDGES + 1))
        self._ahead: deque[_Batch] = deque()
        self._mover = Mover(
            settings,
            database=database,
            lanes=self._lanes,
            large=self._large,
            health=health,
            clock=clock,
            wake=room.wake,
            in_hand=self._in_hand,
            placed=placed,
        )
        self.sights = Sights(settings, health=health, now=time.monotonic())
        self._remember_sights(settings)
        self.shadow = Shadow(settings, database=database, health=health)
        self._overdue: set[str] = set()
        self.meter = Meter(camera.name for camera in settings.cameras)
        self.verdicts: Counter[str] = Counter()
        """Images recorded since the start, by verdict."""
        self.failed_on: Counter[str] = Counter()
        """Pictures that a model failed on, and not on all, by its version."""
        self.judging_seconds: deque[tuple[str, float]] = deque(maxlen=100)
        """The version that judged, and what it took for a picture, of the latest batches."""
        self.latency_seconds: deque[float] = deque(maxlen=1000)
        """From the last write of a file to the commit of its record, of the latest images."""

    def _remember_sights(self, settings: Settings) -> None:
        told = outbox.told(self._database)
        alarms = [told[alarm.name] for alarm in settings.alarms if alarm.name in told]
        for camera in settings.cameras:
            looks = latest_looks(self._database, camera.name, settings.drift.images_in_a_row)
            self.sights.remember(camera.name, looks)
            # Else an alarm would tell that it is over. Where none told of it, the line may have rested.
            last = last_recorded(self._database, camera.name)
            if last and any(f"silent {camera.name}" in alarm.holds for alarm in alarms):
                silence = (self._clock() - last).total_seconds()
                self.sights.remember_silence(camera.name, silence, now=time.monotonic())

    def step(self) -> bool:
        """Read a batch of what has arrived and give it to be judged; finish one that is judged.

        Returns:
            Whether there was anything to do, or is, once it is judged.
        """
        self._health.forget(now=time.monotonic())
        self._swap()
        waiting = sum(self._room.backlog().values())
        # A quarter of what waits: a burst is read, judged and moved at once, a long backlog in
        # batches that cost little for each image.
        limit = min(self._max_images, max(_LEAST_IMAGES, waiting // 4))
        ahead = AHEAD if waiting >= 2 * self._max_images else _JUDGES
        begun = len(self._ahead) < ahead and self._begin(limit)
        if not self._ahead:
            return begun
        if len(self._ahead) >= ahead or self._ahead[0].outcomes.done():
            self._finish(self._ahead.popleft())
        elif not begun:
            self.wait(ANSWER_SECONDS)
        return True

    def serve_with(self, model: Model) -> None:
        """Judge with another model from the next batch on. From any thread; returns at once."""
        self._next = model
        self._room.wake()

    def _swap(self) -> None:
        model = self._next
        if model is not self._model:
            self._model = model
            log.info("model swapped", model=model.version, runtime=model.runtime.name)

    def _begin(self, limit: int) -> bool:
        """Read what is due, so many at most. Returns whether anything was."""
        overdue = self._mind_lanes()
        candidates = self._room.due(limit, now=time.monotonic(), without=overdue)
        readings = self._reader.read(candidates, size=self._model.input_size)
        if readings:
            self._ahead.append(self._judge(self._model, readings))
        return bool(candidates or readings)

    def _judge(self, model: Model, readings: Sequence[Reading]) -> _Batch:
        pictures = [reading.pixels for reading in readings if reading.pixels is not None]
        outcomes = self._judges[0].submit(partial(self._timed, model, pictures))
        self._judges.rotate()
        outcomes.add_done_callback(lambda _: self._room.wake())
        return _Batch(model=model, readings=readings, outcomes=outcomes)

    def _timed(self, model: Model, pictures: Sequence[Pixels]) -> list[Decision | Exception]:
        start = time.perf_counter()
        outcomes = judge(model, pictures)
        if pictures:
            taken = (time.perf_counter() - start) / len(pictures)
            self.judging_seconds.append((model.version, taken))
        return outcomes

    def _finish(self, batch: _Batch) -> None:
        """Take a batch through record and route, or set it aside for a while; let its files go."""
        try:
            self._carry(batch)
        finally:
            self._reader.let_go(batch.readings)

    def _carry(self, batch: _Batch) -> None:
        try:
            findings = self._findings(batch)
            intents = self._record(findings, batch.readings)
            self._route(intents, batch.readings)
        except StoreError as error:
            if error.damaged:  # the next start refuses it, and names the backup
                raise
            if error.again_helps:
                self._set_aside(batch.readings, "database", str(error))
            else:  # one of them may be to blame
                self._carry_each(batch, error)
        except ModelFailedError as error:
            if batch.model is self._model:
                what = (
                    f"the model fails on every image: {error}. They wait in their drop folders; go back "
                    "with `millwatch models rollback` or promote another, and where it is a GPU's "
                    "error, restart Millwatch"
                )
                self._set_aside(batch.readings, "judging", what)
            else:  # which does not serve any more: the one that does knows nothing of them
                self._hand_back([reading.delivery for reading in batch.readings], 0.0)
        except Exception as error:
            # Unforeseen. It must not end the watch on a line, nor harm the rest of the batch.
            path = to_text(batch.readings[0].delivery.path)
            log.exception("failed", path=path, images=len(batch.readings))
            self._carry_each(batch, error)

    def _carry_each(self, batch: _Batch, error: Exception) -> None:
        """Find the one that a batch fails on. What has a record by now is moved by the mover."""
        self._mover.retry_later()
        if len(batch.readings) > 1:
            for reading in batch.readings:
                self._carry(self._judge(batch.model, [reading]))
            return
        delivery = batch.readings[0].delivery
        self._health.passing_trouble(
            "image",
            f"{to_text(delivery.path)} failed: {error!r}; see the log",
            now=time.monotonic(),
            seconds=self._forget_seconds,
        )
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
        """Return when there may be something to judge or to finish, or the time is over."""
        self._room.wait(seconds, now=time.monotonic(), without=self._lanes.overdue())

    def wake(self) -> None:
        """End that wait. From any thread."""
        self._room.wake()

    @property
    def model(self) -> Model:
        """What judges now."""
        return self._model

    def close(self, *, seconds: float) -> None:
        """Let go of every file. What is being judged has no record, and is judged anew."""
        deadline = time.monotonic() + seconds
        for batch in self._ahead:
            self._reader.let_go(batch.readings)
        self._ahead.clear()
        self._reader.end()
        self._lanes.close(seconds=seconds)
        self._large.close(seconds=0.0)
        left = max(0.0, deadline - time.monotonic())
        end_all(self._judges, seconds=left)
        self._reader.close(seconds=max(0.0, deadline - time.monotonic()))

    def _findings(self, batch: _Batch) -> list[Finding]:
        outcomes = iter(batch.outcomes.result())
        findings: list[Finding] = []
        for reading in batch.readings:
            outcome = None if reading.pixels is None else next(outcomes)
            if isinstance(outcome, Decision):
                findings.append(self._judged(reading, outcome, batch.model.version))
            else:
                findings.append(_unreadable(reading, outcome))
                self.failed_on[batch.model.version] += outcome is not None
        self._health.mended("judging")
        return findings

    def _record(self, findings: Sequence[Finding], readings: Sequence[Reading]) -> list[Intent]:
        recorded = images.record(self._database, findings, self._folders.plan, self._clock())
        self._health.mended("database")
        now = time.time()
        for finding in recorded.findings:
            self.verdicts[finding.verdict.value] += 1
            # A camera's clock may be ahead.
            latency = max(0.0, now - finding.delivery.mtime_ns / 1e9)
            self.latency_seconds.append(latency)
            self.meter.recorded(
                finding.delivery.camera, finding.verdict.value, at=now, latency_seconds=latency
            )
        pixels = {reading.delivery: reading.pixels for reading in readings}
        self.sights.see(recorded.findings, pixels, now=time.monotonic())
        self.shadow.see(recorded.findings, pixels)
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
        for intent in withdrawn:
            self._room.withdrawn(intent.delivery, now=time.monotonic())
            # One that was recorded before the start was not counted since.
            self.verdicts[intent.verdict.value] = max(0, self.verdicts[intent.verdict.value] - 1)

    def _in_hand(self) -> set[Delivery]:
        """What is read and not yet recorded, or found to have a record."""
        ahead = {reading.delivery for batch in self._ahead for reading in batch.readings}
        return ahead | self._reader.late_deliveries()

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

    def _mind_lanes(self) -> set[str]:
        """The cameras to go on without for now."""
        overdue = self._lanes.overdue()
        for camera in overdue:
            self._health.trouble(
                f"files of {camera}",
                f"the folder of camera {camera}, or where its images go, has not answered for "
                f"{ANSWER_SECONDS:g} s or more; see whether a share or a disk hangs. Where one was "
                "unmounted and mounted anew, restart Millwatch. The other cameras go on",
            )
        for camera in self._overdue - overdue:
            self._health.mended(f"files of {camera}")
        self._overdue = overdue
        return overdue

    def _judged(self, reading: Reading, decision: Decision, version: str) -> Finding:
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
            model_version=version,
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
