"""The service: run, reloaded and stopped."""

import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from config.problems import ConfigurationError
from config.settings import Settings
from config.text import as_one_line
from daemon.commands import by_socket, commands_of
from daemon.parts import compose
from daemon.process.control import ControlServer
from daemon.reloading import merged
from daemon.retraining.promotion import TROUBLE
from daemon.serving import ServingModelError
from daemon.status import Status
from daemon.store.database import Database
from daemon.systemd.supervisor import Supervisor
from daemon.web.desk import Desk
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
        self._stopping = stopping
        self._reloading = reloading or threading.Event()
        self._reread = reread
        self._supervisor = Supervisor(os.environ)
        parts = compose(settings, database=database, model=model, stopping=stopping, clock=clock)
        if troubled:
            parts.health.trouble(TROUBLE, troubled)
        self._parts = parts
        self._status = Status(parts, database=database, clock=clock)
        commands = commands_of(parts, settings, database=database, status=self._status, clock=clock)
        self._control = ControlServer(settings.state_dir, by_socket(commands))
        self._page = WebServer(
            Desk(
                settings=settings,
                database=database,
                health=parts.health,
                clock=clock,
                model=lambda: parts.pipeline.model,
                labeller=parts.labeller,
                status=self._status.tell,
                commands=commands,
                meter=parts.pipeline.meter,
            )
        )
        self._threads: list[threading.Thread] = []

    def run(self) -> None:
        """Start, run until told to stop, stop.

        Raises:
            ThreadDiedError: something unforeseen; whoever started the service starts it again.
        """
        self._threads += self._made()
        try:
            begun_here = tuple(self._threads)
            self._start_alarms()  # before the thread that may do it again, on a reload
            for thread in begun_here:
                thread.start()
            model = self._parts.pipeline.model
            log.info(
                "ready",
                model=model.version,
                runtime=model.runtime.name,
                cameras=len(self._parts.cameras),
            )
            self._supervisor.ready(self._status.in_words())
            while not self._stopping.is_set():
                self._check()
                self.step()
                self._supervisor.alive(self._status.in_words())
        finally:
            self._stop()

    def step(self) -> None:
        """Do some work, or wait a little for some."""
        parts, now = self._parts, time.monotonic()
        for camera in parts.cameras:
            camera.tell_if_stuck(now=now)
        parts.review.tell_if_stuck(now=now)
        parts.pipeline.sights.tell_silent(self._status.waiting(), now=now)
        parts.drift.step(now=now)
        more = parts.pipeline.retry_if_due() or parts.retention.step()
        if parts.disks.must_pause(now=time.monotonic()):
            parts.room.rest(_IDLE_SECONDS, now=time.monotonic())
        else:
            parts.reserve.hold()
        if not parts.pipeline.step() and not more:
            parts.pipeline.wait(_IDLE_SECONDS)

    def _made(self) -> list[threading.Thread]:
        """The threads beside this one, not started yet. No line waits for a share that hangs."""

        def thread(name: str, work: Callable[[], None]) -> threading.Thread:
            return threading.Thread(target=work, name=name, daemon=True)

        return [
            *(thread(f"camera {each.name}", each.run) for each in self._parts.cameras),
            self._page.thread,
            self._control.thread,
            thread("retraining", self._retrain),
            thread("review", lambda: self._parts.review.run(self._stopping)),
            thread("stop", self._end_wait),
        ]

    def _start_alarms(self) -> None:
        """Once there are any: without one nothing is there that calls anybody."""
        alarms = self._parts.alarms
        if alarms.configured and alarms.thread not in self._threads:
            alarms.thread.start()
            self._threads.append(alarms.thread)

    def _check(self) -> None:
        for thread in self._threads:
            # One that has just heard of the stop, before this one has, may end.
            if not thread.is_alive() and not self._stopping.is_set():
                raise ThreadDiedError(f"the thread '{thread.name}' has ended; see its error above")

    def _end_wait(self) -> None:
        """A line that waits for images waits no longer than until it is stopped."""
        self._stopping.wait()
        self._parts.pipeline.wake()

    def _stop(self) -> None:
        parts = self._parts
        self._stopping.set()
        self._supervisor.stopping()
        self._control.stop()
        parts.review.wake()
        self._page.stop()
        deadline = time.monotonic() + _STOP_SECONDS
        parts.pipeline.close(seconds=_STOP_SECONDS)
        parts.retention.close(seconds=1.0)
        parts.alarms.close(seconds=1.0)
        for thread in self._threads:
            if thread.is_alive() and thread is not parts.alarms.thread:
                thread.join(timeout=max(0.0, deadline - time.monotonic()))
        parts.promoter.close(seconds=deadline - time.monotonic())
        log.info("stopped", recorded=parts.pipeline.verdicts.total())

    def _retrain(self) -> None:
        """Beside the line, which does not wait while a model is loaded and tried."""

        def each() -> None:
            self._parts.promoter.step(now=time.monotonic())
            self._parts.pipeline.shadow.step(idle=self._status.is_idle, now=time.monotonic())
            if self._reread is not None and self._reloading.is_set():
                self._reloading.clear()
                self._reload(self._reread)

        self._parts.retrainer.run(self._stopping, each=each)

    def _reload(self, reread: Callable[[], Settings]) -> None:
        """Take over what may change while the line runs, or go on as before and say why."""
        self._supervisor.reloading()
        health = self._parts.health
        try:
            settings, changed, waiting = merged(self._settings, reread())
            self._parts.reconfigure(settings)
        except (ConfigurationError, ServingModelError) as error:
            health.trouble(
                "configuration", f"it was read again and is not used: {as_one_line(str(error))}"
            )
        else:
            self._start_alarms()
            self._settings = settings
            health.mended("configuration")
            log.info("configuration reloaded", changed=changed, needs_a_restart=waiting)
        self._supervisor.ready(self._status.in_words())
