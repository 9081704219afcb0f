"""Retraining: started when it is due or asked for, watched, judged by the gate. One at a time."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from config.settings import Settings
from config.text import counted
from daemon.clock import timestamp
from daemon.process.control import Handlers, RefusedError
from daemon.process.health import Health
from daemon.retraining import folders
from daemon.retraining.finishing import Finisher
from daemon.retraining.promotion import Promoter
from daemon.retraining.schedule import Schedule
from daemon.serving import serving_folder
from daemon.store import retraining
from daemon.store.database import Database, StoreError
from daemon.store.labels import count_new_since, labels_to_learn_from, newest_label
from models.checkpoint import CheckpointError, load_metadata
from models.figures import FiguresError

log = structlog.get_logger(__name__)

_TROUBLE: Final = "retraining"
_BACK: Final = timedelta(days=1)
_AGAIN: Final = timedelta(minutes=10)
"""After a run that was due could not be started."""
_STEP_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 5.0
_WITHOUT_MEMORY: Final = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGKILL)
"""How libraries, and the kernel, end a process that gets none."""
_LONGEST_SECONDS: Final = 12 * 3600.0
_STOPPED: Final = "Millwatch stopped while it ran; the current model is as it was"
_UNIT: Final = "millwatch-retrain.path"
_UNIT_FOLDERS: Final = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


@dataclass(kw_only=True)
class _Going:
    """A run that goes on.

    Attributes:
        begun: by a clock that never jumps.
        due: whether the schedule asked for it.
        to_spawn: it has no process yet, and systemd runs none for it.
        ask_again_at: systemd for it, by that clock, should there be no sign of it.
    """

    run_id: int
    folder: Path
    since: datetime
    begun: float = field(default_factory=time.monotonic)
    due: bool = False
    to_spawn: bool = False
    ask_again_at: float = 0.0
    process: "subprocess.Popen[bytes] | None" = None


class Retrainer:
    """The daemon's, or a command's that holds the instance lock. `step` is called by one thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        promoter: Promoter,
        health: Health,
        clock: Callable[[], datetime],
        ask_seconds: float = 60.0,
        longest_seconds: float = _LONGEST_SECONDS,
    ) -> None:
        """How long systemd may take until there is a sign of a run, and a run until it is done."""
        self._ask_seconds = ask_seconds
        self._longest_seconds = longest_seconds
        self._settings = settings
        self._database = database
        self._promoter = promoter
        self._health = health
        self._clock = clock
        self._schedule = Schedule(settings.retraining.schedule, settings.time_zone)
        self._runs = folders.runs_folder(settings)
        self._lock = threading.Lock()
        self._going: _Going | None = None
        self._not_before: datetime | None = None

    def commands(self) -> Handlers:
        return {"retrain": lambda _: {"run": self.start()}}

    def run(self, stopping: threading.Event, *, each: Callable[[], None]) -> None:
        """Step until told to stop. `each` is called between steps."""
        recovered = False
        while not stopping.wait(_STEP_SECONDS):
            try:
                if not recovered:
                    self.recover()
                    recovered = True
            except StoreError as error:
                self._health.trouble(_TROUBLE, f"retraining waits: {error}")
                continue
            self.step()
            each()
        self.close()

    def recover(self) -> None:
        """See to what an earlier daemon left unfinished. Raises StoreError."""
        with self._lock:
            if self._going is None:  # else one was asked for before this thread came here
                self._recover()

    def _recover(self) -> None:
        for run in retraining.unfinished(self._database):
            folder = self._runs / (run.name or "")
            going = _Going(run_id=run.id, folder=folder, since=self._clock())
            going.ask_again_at = going.begun + self._ask_seconds
            done = (folder / folders.EVALUATION).exists()
            if done or folders.is_requested(folder):
                # Where it runs on, this changes nothing; after a power cut it starts.
                if not done and not folders.failure_of(folder):
                    folders.forget_progress(folder)
                    folders.request(folder)
                self._going = going
            else:
                before = [each for each in retraining.latest(self._database) if each.id < run.id]
                # Once: what ends the daemon each time is not to be tried each time.
                again = not before or before[0].reason != _STOPPED
                self._failed(going, _STOPPED, still_due=again)

    def step(self) -> None:
        """Look after the run that goes on, or start one that is due."""
        try:
            with self._lock:
                if self._going is not None:
                    self._watch(self._going)
                else:
                    self._start_if_due(self._clock())
        except (StoreError, OSError, RefusedError, CheckpointError) as error:
            self._health.trouble(
                _TROUBLE, f"retraining waits: {error}; it is tried again by itself"
            )
        else:
            if self._not_before is None:
                self._health.mended(_TROUBLE)

    def start(self) -> str:
        """Start a run now; the name of its folder.

        Raises:
            RefusedError: one goes on, there is nothing to learn from, or no model to begin with.
            StoreError, OSError: none was started.
        """
        with self._lock:
            if self._going is not None:
                raise RefusedError(f"a retraining goes on already: {self._going.folder.name}")
            try:
                return self._start(self._clock(), due=False)
            except CheckpointError as error:
                raise RefusedError(f"the model that serves cannot be read: {error}") from error

    def reconfigure(self, settings: Settings) -> None:
        """Retrain as these say from now on; a run that goes on is not changed. From any thread."""
        with self._lock:
            self._settings = settings
            self._schedule = Schedule(settings.retraining.schedule, settings.time_zone)

    def status(self) -> dict[str, Any]:
        """What goes on, when the next is due, and what came of the last, as JSON values.

        The `last` may be a due time that needed no run, which comes right behind the `last_run` perhaps.
        """
        going = self._going
        # A command beside a daemon that was stopped finds what systemd runs on.
        name = going.folder.name if going else self._unfinished()
        now = self._clock()
        next_due = self._schedule.after(now)
        met = retraining.latest(self._database, limit=1, states=("done", "failed", "skipped"))
        ended = retraining.latest(self._database, limit=1, states=("done", "failed"))
        return {
            "running": name,
            "progress": None if name is None else folders.progress_of(self._runs / name),
            "next_due": None if next_due is None else timestamp(next_due),
            "new_labels": self.new_labels(),
            "last": asdict(met[0]) if met else None,
            "last_run": asdict(ended[0]) if ended else None,
        }

    def _unfinished(self) -> str | None:
        return next((run.name for run in retraining.unfinished(self._database)), None)

    def new_labels(self) -> int:
        """Since the last run that came to an end. Raises StoreError."""
        return count_new_since(self._database, *retraining.last_done(self._database))

    @property
    def busy(self) -> bool:
        return self._going is not None

    def close(self) -> None:
        """End the run that goes on; the schedule starts it again."""
        with self._lock:
            going = self._going
            if going is None or (going.process is None and not going.to_spawn):
                return
            if going.process is not None:
                _end(going.process)
            with suppress(StoreError):
                self._failed(going, _STOPPED, still_due=True)

    def _start_if_due(self, now: datetime) -> None:
        if self._not_before is not None and now < self._not_before <= now + _AGAIN:
            return
        self._not_before = None
        until = retraining.handled_until(self._database)
        if until is None:
            retraining.skip(self._database, "the schedule begins", now)
            return
        kept = datetime.fromisoformat(until)
        if kept > now + _BACK:
            retraining.skip(self._database, "the clock was set back", now)
            return
        due = self._schedule.after(kept)
        if due is None or due > now:
            return
        new, needed = self.new_labels(), self._settings.retraining.min_new_labels
        if new < needed:
            why = f"due, but there came {counted(new, 'new label')} and {needed} are needed"
            retraining.skip(self._database, why, now)
            return
        try:
            self._start(now, due=True)
        except RefusedError as error:
            retraining.skip(self._database, f"due, but {error}", now)

    def _start(self, now: datetime, *, due: bool) -> str:
        current = load_metadata(serving_folder(self._settings))
        labels_until = newest_label(self._database)
        learned = folders.usable(
            labels_to_learn_from(self._database),
            known=current.classes,
            fewest=self._settings.retraining.min_class_labels,
        )
        if not learned.labels:
            raise RefusedError(
                "there are no labelled images to learn from: label some, at least "
                f"{self._settings.retraining.min_class_labels} of each new class"
            )
        folder = self._runs / folders.name_for(self._runs, now)
        run_id = retraining.begin(
            self._database, folder.name, now, due=due, labels_until=labels_until
        )
        going = _Going(run_id=run_id, folder=folder, since=now, due=due)
        try:
            folders.freeze(self._settings, folder, learned, now, seed=run_id)
            if self._by_systemd():
                going.ask_again_at = going.begun + self._ask_seconds
                folders.request(folder)
            else:
                going.to_spawn = True
        except OSError as error:
            self._not_started(going, error)
            raise
        self._going = going
        log.info("retraining started", run=folder.name, labels=len(learned.labels))
        return folder.name

    def _not_started(self, going: _Going, error: OSError) -> None:
        self._failed(going, f"it could not be started: {error}", still_due=going.due)
        self._not_before = going.since + _AGAIN if going.due else None

    def _spawn(self, folder: Path) -> "subprocess.Popen[bytes]":
        wanted = self._settings.retraining
        threads = str(wanted.threads)
        memory = str(int(wanted.max_memory_gb * 1e9))
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environ = {**os.environ, **dict.fromkeys(names, threads)}
        environ.pop("NOTIFY_SOCKET", None)  # it is not for it to tell systemd anything
        # Else a package of the folder that the daemon was begun in goes before ours.
        environ["PYTHONSAFEPATH"] = "1"
        command = [sys.executable, "-m", "daemon.retraining.lowly", str(folder), memory]
        with (folder / folders.LOG).open("wb") as output:
            return subprocess.Popen(  # noqa: S603 -- ourselves
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environ,
                start_new_session=True,
            )

    def _by_systemd(self) -> bool:
        runner = self._settings.retraining.runner
        if runner == "auto":
            has_unit = any((Path(folder) / _UNIT).exists() for folder in _UNIT_FOLDERS)
            return "INVOCATION_ID" in os.environ and has_unit
        return runner == "systemd"

    def _watch(self, going: _Going) -> None:
        folder = going.folder
        if going.to_spawn:
            # Here and not where it was asked for: the kernel ends it with the thread that began it.
            going.to_spawn = False
            try:
                going.process = self._spawn(folder)
            except OSError as error:
                self._not_started(going, error)
                raise
        status = None if going.process is None else going.process.poll()
        if going.process is not None and status is None:
            if time.monotonic() - going.begun > self._longest_seconds:
                _end(going.process)
                hours = f"{self._longest_seconds / 3600:g} hours"
                why = (
                    f"it was not done after {hours}, and was ended; give it more retraining.threads"
                )
                self._failed(going, why)
            return
        if (folder / folders.EVALUATION).exists() and not status:
            self._finish(going)
            return
        why = folders.failure_of(folder)
        if why or going.process is not None:
            told = f"it ended with status {status}; see {folder / folders.LOG}"
            if status in _WITHOUT_MEMORY:
                told += ". It may have needed more than retraining.max_memory_gb"
            self._failed(going, why or told)
        elif time.monotonic() - going.begun > self._longest_seconds:
            self._failed(going, "nothing was heard of it for 12 hours; see its unit's log")
        elif time.monotonic() >= going.ask_again_at and not folders.progress_of(folder):
            # Asked while the run before it was just about to end, systemd did not hear of it.
            going.ask_again_at = time.monotonic() + self._ask_seconds
            folders.request(folder)

    def _finish(self, going: _Going) -> None:
        finisher = Finisher(
            self._settings,
            database=self._database,
            promoter=self._promoter,
            health=self._health,
        )
        try:
            done = finisher.finish(going.folder)
        except (FiguresError, CheckpointError) as error:
            self._failed(going, str(error))
            return
        except (StoreError, OSError):
            raise
        except Exception as error:
            # Unforeseen. It must not end the watch on a line, at each start again.
            log.exception("retraining failed", run=going.folder.name)
            why = (
                f"what it made could not be ruled on: {type(error).__name__}: {error}; see the log"
            )
            self._failed(going, why)
            return
        retraining.end(
            self._database, going.run_id, "done", done.said, self._clock(), figures=done.figures
        )
        self._going = None
        folders.keep_few(self._runs)
        log.info("retraining done", run=going.folder.name, model=done.version, said=done.said)

    def _failed(self, going: _Going, why: str, *, still_due: bool = False) -> None:
        folders.give_up(going.folder, why)
        retraining.end(
            self._database, going.run_id, "failed", why, self._clock(), still_due=still_due
        )
        self._going = None
        log.warning("retraining failed", run=going.folder.name, why=why)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """With all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_STOP_SECONDS)
