"""Retraining: started when it is due or asked for, watched, judged by the gate. One at a time."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from config.settings import Settings
from daemon.clock import timestamp
from daemon.control import Answer, Arguments, Handlers, RefusedError
from daemon.health import Health
from daemon.retraining import folders
from daemon.retraining.gate import Outcome, Rules, Ruling, decide
from daemon.retraining.promotion import Promoter
from daemon.retraining.schedule import Schedule
from daemon.serving import is_version, registry_folder, serving_folder
from daemon.store import models, retraining
from daemon.store.database import Database, StoreError
from daemon.store.labels import count_new_since, labels_to_learn_from
from models.checkpoint import CheckpointError, fsync, load_metadata
from models.figures import FiguresError, RunFigures

log = structlog.get_logger(__name__)

_TROUBLE: Final = "retraining"
_BACK: Final = timedelta(days=1)
_STEP_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 5.0
_LONGEST: Final = timedelta(hours=12)
_STOPPED: Final = "Millwatch stopped while it ran; the current model is as it was"
_UNIT: Final = "millwatch-retrain.path"
_UNIT_FOLDERS: Final = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


class _Going:
    """A run that goes on: of `process`, or None where systemd runs it."""

    def __init__(
        self, run_id: int, folder: Path, since: datetime, process: "subprocess.Popen[bytes] | None"
    ) -> None:
        self.run_id = run_id
        self.folder = folder
        self.since = since
        self.process = process


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
    ) -> None:
        self._settings = settings
        self._database = database
        self._promoter = promoter
        self._health = health
        self._clock = clock
        self._schedule = Schedule(settings.retraining.schedule, settings.time_zone)
        self._runs = folders.runs_folder(settings)
        self._lock = threading.Lock()
        self._going: _Going | None = None

    def commands(self) -> Handlers:
        def retrain(_: Arguments) -> Answer:
            return {"run": self.start()}

        return {"retrain": retrain}

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
            going = _Going(run.id, folder, self._clock(), None)
            done = (folder / folders.EVALUATION).exists()
            if done or (self._by_systemd() and folder.is_dir()):
                if not done:  # where it runs on, this changes nothing; after a power cut it starts
                    folders.request(folder)
                self._going = going
            else:
                self._failed(going, _STOPPED)

    def step(self) -> None:
        """Look after the run that goes on, or start one that is due."""
        try:
            with self._lock:
                if self._going is not None:
                    self._watch(self._going)
                else:
                    self._start_if_due(self._clock())
            self._health.mended(_TROUBLE)
        except (StoreError, OSError, RefusedError) as error:
            self._health.trouble(
                _TROUBLE, f"retraining waits: {error}; it is tried again by itself"
            )

    def start(self) -> str:
        """Start a run now; the name of its folder.

        Raises:
            RefusedError: one goes on, or there is nothing to learn from.
            StoreError, OSError: none was started.
        """
        with self._lock:
            if self._going is not None:
                raise RefusedError(f"a retraining goes on already: {self._going.folder.name}")
            return self._start(self._clock(), due=False)

    def reconfigure(self, settings: Settings) -> None:
        """Retrain as these say from now on; a run that goes on is not changed. From any thread."""
        with self._lock:
            self._settings = settings
            self._schedule = Schedule(settings.retraining.schedule, settings.time_zone)

    def status(self) -> dict[str, Any]:
        """What goes on, when the next is due and what came of the last, as JSON values."""
        going = self._going
        now = self._clock()
        next_due = self._schedule.after(now)
        done = [run for run in retraining.latest(self._database) if run.state != "running"]
        return {
            "running": None if going is None else going.folder.name,
            "progress": None if going is None else folders.progress_of(going.folder),
            "next_due": None if next_due is None else timestamp(next_due),
            "new_labels": self.new_labels(),
            "last": None if not done else asdict(done[0]),
        }

    def new_labels(self) -> int:
        """Since the last run that came to an end. Raises StoreError."""
        return count_new_since(self._database, retraining.last_done(self._database) or "")

    @property
    def busy(self) -> bool:
        return self._going is not None

    def close(self) -> None:
        """End the run that goes on; the schedule starts it again."""
        with self._lock:
            going = self._going
            if going is None or going.process is None:
                return
            _end(going.process)
            with suppress(StoreError):
                self._failed(going, _STOPPED, still_due=True)

    def _start_if_due(self, now: datetime) -> None:
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
            why = f"due, but there are {new} new labels and {needed} are needed"
            retraining.skip(self._database, why, now)
            return
        try:
            self._start(now, due=True)
        except RefusedError as error:
            retraining.skip(self._database, f"due, but {error}", now)

    def _start(self, now: datetime, *, due: bool) -> str:
        current = load_metadata(serving_folder(self._settings))
        labels = folders.usable(
            labels_to_learn_from(self._database),
            known=current.classes,
            fewest=self._settings.retraining.min_class_labels,
        )
        if not labels:
            raise RefusedError(
                "there are no labelled images to learn from: label some, at least "
                f"{self._settings.retraining.min_class_labels} of each new class"
            )
        folder = self._runs / folders.name_of(now)
        while folder.exists():  # asked for twice in a second
            now += timedelta(seconds=1)
            folder = self._runs / folders.name_of(now)
        run_id = retraining.begin(self._database, folder.name, now, due=due)
        going = _Going(run_id, folder, now, None)
        try:
            folders.freeze(self._settings, folder, labels, now, seed=run_id)
            if self._by_systemd():
                folders.request(folder)
            else:
                going.process = self._spawn(folder)
        except OSError as error:
            self._failed(going, f"it could not be started: {error}")
            raise
        self._going = going
        log.info("retraining started", run=folder.name, labels=len(labels))
        return folder.name

    def _spawn(self, folder: Path) -> "subprocess.Popen[bytes]":
        wanted = self._settings.retraining
        threads = str(wanted.threads)
        memory = str(int(wanted.max_memory_gb * 1e9))
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environ = {**os.environ, **dict.fromkeys(names, threads)}
        environ.pop("NOTIFY_SOCKET", None)  # it is not for it to tell systemd anything
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
        status = None if going.process is None else going.process.poll()
        if going.process is not None and status is None:
            if self._clock() - going.since > _LONGEST:
                _end(going.process)
            return
        if (folder / folders.EVALUATION).exists() and not status:
            self._finish(going)
            return
        why = folders.failure_of(folder)
        if why or going.process is not None:
            told = f"it ended with status {status}; see {folder / folders.LOG}"
            self._failed(going, why or told)
        elif self._clock() - going.since > _LONGEST:
            self._failed(going, "nothing was heard of it for 12 hours; see its unit's log")

    def _finish(self, going: _Going) -> None:
        """Let the gate decide on what a run made."""
        try:
            figures = RunFigures.from_json((going.folder / folders.EVALUATION).read_text())
            version = self._adopt(going.folder)
            metadata = load_metadata(registry_folder(self._settings) / version)
        except (FiguresError, CheckpointError) as error:
            self._failed(going, str(error))
            return
        ruling = decide(figures, self._rules())
        status = "candidate" if ruling.outcome is Outcome.PROMOTE else _STATUS[ruling.outcome]
        document = asdict(figures)
        models.remember_candidate(
            self._database, metadata, status=status, reason=ruling.reason, figures=document
        )
        if ruling.outcome is Outcome.PROMOTE:
            ruling = self._promote(version, ruling)
        said = f"{version}: {ruling.outcome.value}: {ruling.reason}"
        retraining.end(self._database, going.run_id, "done", said, self._clock(), figures=document)
        self._going = None
        log.info("retraining done", run=going.folder.name, model=version, said=said)

    def _adopt(self, folder: Path) -> str:
        """Bring a candidate to the registry; its version. Raises CheckpointError, OSError."""
        registry = registry_folder(self._settings)
        candidate = folder / folders.CANDIDATE
        noted = folder / "version.txt"
        if not candidate.exists() and noted.exists():  # a kill after the move
            return noted.read_text().strip()
        version = load_metadata(candidate).version
        if not is_version(version) or (registry / version).exists():
            raise CheckpointError(
                f"the candidate's version {version!r} cannot name a folder, or is taken; retrain"
            )
        noted.write_text(f"{version}\n")
        registry.mkdir(parents=True, exist_ok=True)
        candidate.rename(registry / version)
        fsync(registry)
        return version

    def _promote(self, version: str, ruling: Ruling) -> Ruling:
        try:
            self._promoter.promote(
                version, "the gate", reason=f"promoted: {ruling.reason}", if_as_fast=True
            )
        except RefusedError as error:
            why = f"the gate let it through, and then {error}"
            models.set_status(self._database, version, "rejected", why)
            self._health.trouble("model", f"model {version} was not promoted: {why}")
            return Ruling(outcome=Outcome.REJECT, reasons=(why,))
        return ruling

    def _failed(self, going: _Going, why: str, *, still_due: bool = False) -> None:
        folders.clear(going.folder)
        retraining.end(
            self._database, going.run_id, "failed", why, self._clock(), still_due=still_due
        )
        self._going = None
        log.warning("retraining failed", run=going.folder.name, why=why)

    def _rules(self) -> Rules:
        gate = self._settings.gate
        return Rules(
            max_missed_defect_rate=self._settings.policy.max_missed_defect_rate,
            max_extra_missed=gate.max_extra_missed,
            max_reference_loss=gate.max_reference_loss,
            max_calibration_error=gate.max_calibration_error,
            max_times_slower=gate.max_times_slower,
        )


_STATUS: Final = {Outcome.REJECT: "rejected", Outcome.NEEDS_A_PERSON: "needs_a_person"}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """With all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_STOP_SECONDS)
