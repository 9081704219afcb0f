"""The service: composed, run and stopped."""

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from config.problems import ConfigurationError
from config.settings import Camera, Settings
from config.text import as_one_line
from daemon.alarms.alarms import Alarms
from daemon.clock import timestamp
from daemon.drift.minder import DriftMinder
from daemon.files.disks import DiskMinder
from daemon.files.mounts import DROP_FOLDERS, MountMemory
from daemon.files.reserve import Reserve
from daemon.intake.camera import CameraMinder
from daemon.intake.names import NameRule
from daemon.intake.waiting import Patience, WaitingRoom
from daemon.integrity.mending import Mender
from daemon.journey.pipeline import Pipeline
from daemon.names import to_text
from daemon.process.control import ControlServer, Handlers
from daemon.process.health import Health
from daemon.reloading import merged
from daemon.retention.deleting import Retention
from daemon.retraining.promotion import TROUBLE, Promoter
from daemon.retraining.retrainer import Retrainer
from daemon.review.commands import ReviewCommands
from daemon.review.labelling import Labeller
from daemon.review.minder import ReviewMinder
from daemon.review.reconciling import Reconciler
from daemon.serving import ServingModelError
from daemon.store import deliveries, images
from daemon.store.database import Database, StoreError
from daemon.systemd.supervisor import Supervisor
from daemon.web.desk import Desk
from daemon.web.door.users import Users
from daemon.web.server import WebServer
from models.registry import Model

log = structlog.get_logger(__name__)

_IDLE_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 10.0


class ThreadDiedError(Exception):
    """A thread that the service cannot do without has ended."""


class Service:
    """One daemon on one state folder: with what `serve` holds for it."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        model: Model,
        stopping: threading.Event,
        clock: Callable[[], datetime],
        troubled: str = "",
        reloading: threading.Event | None = None,
        reread: Callable[[], Settings] | None = None,
    ) -> None:
        self._settings = settings
        self._reloading = reloading or threading.Event()
        self._reread = reread
        self._database = database
        self._stopping = stopping
        self._started_at = clock()
        self._health = Health()
        self._room = WaitingRoom(
            {camera.name: camera.folder for camera in settings.cameras},
            Patience(
                quiet_seconds=settings.intake.quiet_seconds,
                give_up_seconds=settings.intake.give_up_seconds,
                marker_suffix=settings.intake.marker_suffix,
            ),
        )
        self._labeller = Labeller(settings, database=database, health=self._health, clock=clock)
        self._review = ReviewMinder(
            Reconciler(
                settings,
                database=database,
                labeller=self._labeller,
                health=self._health,
                clock=clock,
            ),
            review=settings.review_folder,
            health=self._health,
        )
        self._pipeline = Pipeline(
            settings,
            database=database,
            model=model,
            room=self._room,
            health=self._health,
            clock=clock,
            placed=self._review.placed,
        )
        self._promoter = Promoter(
            settings, database=database, health=self._health, clock=clock, line=self._pipeline
        )
        if troubled:
            self._health.trouble(TROUBLE, troubled)
        self._retrainer = Retrainer(
            settings,
            database=database,
            promoter=self._promoter,
            health=self._health,
            clock=clock,
        )
        self._drift = DriftMinder(
            settings,
            database=database,
            health=self._health,
            clock=clock,
            model=lambda: self._pipeline.model,
        )
        self._alarms = Alarms(settings, database=database, health=self._health, clock=clock)
        self._disks = DiskMinder(settings, health=self._health)
        self._reserve = Reserve(settings.database_file)
        self._supervisor = Supervisor(os.environ)
        self._mounts = MountMemory(settings.state_dir / DROP_FOLDERS)
        self._retention = Retention(
            settings, database=database, health=self._health, clock=clock, mounts=self._mounts
        )
        self._minders = [self._minder(settings, camera) for camera in settings.cameras]
        commands: Handlers = {
            "status": lambda _: self.status(),
            **Users(database, clock).commands(),
            **self._promoter.commands(),
            **{
                name: self._review.settled_before(command)
                for name, command in self._retrainer.commands().items()
            },
            **ReviewCommands(
                settings,
                database=database,
                labeller=self._labeller,
                settled=self._review.wait_until_settled,
            ).handlers(),
            **Mender(settings, database=database, clock=clock).commands(),
            **self._drift.commands(),
            **self._alarms.commands(),
        }
        self._threads: list[threading.Thread] = []
        self._control = ControlServer(settings.state_dir, commands)
        self._page = WebServer(
            Desk(
                settings=settings,
                database=database,
                health=self._health,
                clock=clock,
                model=lambda: self._pipeline.model,
                labeller=self._labeller,
                status=self.status,
                commands=commands,
                meter=self._pipeline.meter,
            )
        )

    def run(self) -> None:
        """Start, run until told to stop, stop.

        Raises:
            ThreadDiedError: something unforeseen; whoever started the service starts it again.
        """
        threads = self._threads
        threads += [
            threading.Thread(target=minder.run, name=f"camera {minder.name}", daemon=True)
            for minder in self._minders
        ]
        threads.append(self._control.thread)
        threads.append(self._page.thread)
        threads.append(threading.Thread(target=self._retrain, name="retraining", daemon=True))
        # Beside the line, which does not wait for a share that hangs.
        mind = (self._stopping,)
        threads.append(
            threading.Thread(target=self._review.run, args=mind, name="review", daemon=True)
        )
        threads.append(threading.Thread(target=self._end_wait, name="stop", daemon=True))
        try:
            begun_here = tuple(threads)
            self._start_alarms()  # before the thread that may do it again, on a reload
            for thread in begun_here:
                thread.start()
            log.info(
                "ready",
                model=self._pipeline.model.version,
                runtime=self._pipeline.model.runtime.name,
                cameras=len(self._minders),
            )
            self._supervisor.ready(self._in_words())
            while not self._stopping.is_set():
                self._check(threads)
                self.step()
                self._supervisor.alive(self._in_words())
        finally:
            self._stop(threads)

    def _start_alarms(self) -> None:
        """Once there are any: without one nothing is there that calls anybody."""
        if self._alarms.configured and self._alarms.thread not in self._threads:
            self._alarms.thread.start()
            self._threads.append(self._alarms.thread)

    def _check(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            # One that has just heard of the stop, before this one has, may end.
            if not thread.is_alive() and not self._stopping.is_set():
                raise ThreadDiedError(f"the thread '{thread.name}' has ended; see its error above")

    def _end_wait(self) -> None:
        """A line that waits for images waits no longer than until it is stopped."""
        self._stopping.wait()
        self._pipeline.wake()

    def _stop(self, threads: list[threading.Thread]) -> None:
        self._stopping.set()
        self._supervisor.stopping()
        self._control.stop()
        self._review.wake()
        self._page.stop()
        deadline = time.monotonic() + _STOP_SECONDS
        self._pipeline.close(seconds=_STOP_SECONDS)
        self._retention.close(seconds=1.0)
        self._alarms.close(seconds=1.0)
        for thread in threads:
            if thread.is_alive() and thread is not self._alarms.thread:
                thread.join(timeout=max(0.0, deadline - time.monotonic()))
        self._promoter.close(seconds=deadline - time.monotonic())
        log.info("stopped", recorded=self._pipeline.verdicts.total())

    def step(self) -> None:
        """Do some work, or wait a little for some."""
        for minder in self._minders:
            minder.tell_if_stuck(now=time.monotonic())
        self._review.tell_if_stuck(now=time.monotonic())
        self._pipeline.sights.tell_silent(self._waiting(), now=time.monotonic())
        self._drift.step(now=time.monotonic())
        more = self._pipeline.retry_if_due() or self._retention.step()
        if self._disks.must_pause(now=time.monotonic()):
            self._room.rest(_IDLE_SECONDS, now=time.monotonic())
        else:
            self._reserve.hold()
        if not self._pipeline.step() and not more:
            self._pipeline.wait(_IDLE_SECONDS)

    def _retrain(self) -> None:
        """Beside the line, which does not wait while a model is loaded and tried."""

        def each() -> None:
            self._promoter.step(now=time.monotonic())
            self._pipeline.shadow.step(idle=self._is_idle, now=time.monotonic())
            if self._reread is not None and self._reloading.is_set():
                self._reloading.clear()
                self._reload(self._reread)

        self._retrainer.run(self._stopping, each=each)

    def _reload(self, reread: Callable[[], Settings]) -> None:
        """Take over what may change while the line runs, or go on as before and say why."""
        self._supervisor.reloading()
        try:
            settings, changed, waiting = merged(self._settings, reread())
            self._promoter.reconfigure(settings)
        except (ConfigurationError, ServingModelError) as error:
            self._health.trouble(
                "configuration", f"it was read again and is not used: {as_one_line(str(error))}"
            )
        else:
            self._retrainer.reconfigure(settings)
            self._retention.reconfigure(settings)
            self._disks.reconfigure(settings)
            self._pipeline.shadow.reconfigure(settings)
            self._pipeline.sights.reconfigure(settings)
            self._drift.reconfigure(settings)
            self._alarms.reconfigure(settings)
            self._start_alarms()
            self._settings = settings
            self._health.mended("configuration")
            log.info("configuration reloaded", changed=changed, needs_a_restart=waiting)
        self._supervisor.ready(self._in_words())

    def _retraining(self) -> dict[str, Any] | None:
        try:
            return self._retrainer.status()
        except StoreError:  # which the troubles tell
            return None

    def _in_words(self) -> str:
        recorded = self._pipeline.verdicts.total()
        troubles = len(self._health.troubles())
        return f"{recorded} images recorded" + (f", troubles: {troubles}" if troubles else "")

    def status(self) -> dict[str, Any]:
        """What the daemon is doing, as JSON values."""
        waiting = self._waiting()
        latencies = sorted(self._pipeline.latency_seconds)
        return {
            "state": "running",
            "since": timestamp(self._started_at),
            "model_version": self._pipeline.model.version,
            "runtime": self._pipeline.model.runtime.name,
            "commissioning": not bool(self._pipeline.model.decider.normal.any()),
            "cameras": [
                {
                    "name": minder.name,
                    "folder": to_text(minder.folder),
                    "watching": minder.watching,
                    "waiting": waiting[minder.name],
                    "last_image": self._last_image(minder.name),
                    "rescans": minder.rescans,
                    "overflows": minder.overflows,
                }
                for minder in self._minders
            ],
            "recorded": dict(self._pipeline.verdicts),
            "pending_moves": self._pending_moves(),
            "latency_ms": {
                "images": len(latencies),
                "median": _percentile_ms(latencies, 50),
                "p99": _percentile_ms(latencies, 99),
            },
            "shadow": self._pipeline.shadow.status(),
            "retraining": self._retraining(),
            "troubles": self._health.troubles(),
        }

    def _waiting(self) -> dict[str, int]:
        backlog = self._room.backlog()
        return {each.name: max(backlog[each.name], each.backlog) for each in self._minders}

    def _is_idle(self) -> bool:
        """Whether nothing waits or is being judged."""
        return not any(self._waiting().values())

    def _last_image(self, camera: str) -> str | None:
        """When one was recorded since the start."""
        at = self._pipeline.meter.latest.get(camera)
        return None if at is None else timestamp(datetime.fromtimestamp(at, UTC))

    def _pending_moves(self) -> int | None:
        try:
            return images.count_pending(self._database)
        except StoreError:  # which the troubles tell
            return None

    def _minder(self, settings: Settings, camera: Camera) -> CameraMinder:
        return CameraMinder(
            camera,
            room=self._room,
            rule=NameRule(extensions=settings.intake.extensions, ignore=settings.intake.ignore),
            known=lambda some: deliveries.known(self._database, some),
            mounts=self._mounts,
            health=self._health,
            rescan_seconds=settings.intake.rescan_seconds,
            marker_suffix=settings.intake.marker_suffix,
            stopping=self._stopping,
        )


def _percentile_ms(ordered: list[float], percent: int) -> float | None:
    """The nearest-rank percentile of sorted seconds, in milliseconds."""
    if not ordered:
        return None
    rank = max(0, -(-len(ordered) * percent // 100) - 1)
    return round(ordered[rank] * 1000, 1)
