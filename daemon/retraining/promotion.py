"""Which model serves: promotion, going back, and what goes back by itself.

The pointer (`daemon.serving`) is the truth; a start makes the record follow it after a kill between
the two. Pictures are judged on meanwhile: the pipeline swaps between two batches.
"""

import math
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Final, Protocol

import structlog

from config.settings import Settings
from daemon.process.control import Handlers, RefusedError
from daemon.process.health import Health
from daemon.retraining.shadow import Shadow
from daemon.retraining.trying import allowed_seconds, tried
from daemon.serving import (
    folder_of,
    load_for_serving,
    misnamed,
    not_at_hand,
    point_to,
    pointed_versions,
    registry_folder,
    serving_folder,
    start_folder,
)
from daemon.store import models as store
from daemon.store.audit import Deed
from daemon.store.database import Database, StoreError
from daemon.store.labels import newest_label
from daemon.store.models import statuses
from models.binomial import interval
from models.checkpoint import CheckpointError, load_metadata
from models.registry import Model

log = structlog.get_logger(__name__)

TROUBLE: Final = "model"
_WATCH: Final = "model watch"
_BY_COMMAND: Final = "command"
_PROBATION_SECONDS: Final = 24 * 3600.0
_LOOK_SECONDS: Final = 10.0
_MIN_CONTRADICTIONS: Final = 3
_FEWEST_BATCHES: Final = 10
_FEW_FAILURES: Final = 3
"""Pictures that a new model may fail on. None is too odd for it: they are decoded, of one size, and grey."""
_CERTAINLY_DEFECTS: Final = 0.05
"""Of what passed and was looked at, the share that people called defects: with 95 % assurance more."""


class Line(Protocol):
    """What judges: the pipeline."""

    @property
    def model(self) -> Model: ...

    @property
    def shadow(self) -> Shadow: ...

    @property
    def failed_on(self) -> Counter[str]: ...

    @property
    def judging_seconds(self) -> Iterable[tuple[str, float]]: ...

    def serve_with(self, model: Model) -> None: ...


class Promoter:
    """Changes which model serves. The daemon's, or a command's that holds the instance lock."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        health: Health,
        clock: Callable[[], datetime],
        line: Line | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._health = health
        self._clock = clock
        self._line = line
        self._lock = threading.Lock()
        self._swapped_at: float | None = None
        self._labels_before: int | None = None
        self._allowed_seconds = math.inf
        self._resumed = False
        self._look_at = 0.0
        self._contradiction = ""
        self._stuck = False
        self._go_back_at = 0.0

    def commands(self) -> Handlers:
        """What commands and the page ask of a running daemon."""
        by = {"address": _BY_COMMAND}
        return {
            "models promote": lambda asked: {"version": self.promote(**{**by, **asked})},
            "models rollback": lambda asked: {"version": self.roll_back(**{**by, **asked})},
        }

    def promote(
        self,
        version: str,
        by: str,
        *,
        address: str | None = None,
        reason: str | None = None,
        if_as_fast: bool = False,
    ) -> str:
        """Let a model serve from the next batch on.

        Args:
            address: where from a person wants it, for the audit trail; None where nobody does.
            reason: that is kept with it; that it was asked for, when None.
            if_as_fast: refuse one that is much slower than what serves, now or, by going back, once it
                serves. A person may want it.

        Raises:
            RefusedError: there is none, it serves already, or it failed a check; nothing was changed.
            StoreError, OSError: nothing was changed.
        """
        with self._lock:
            folder = folder_of(self._settings, version)
            if folder is None:
                raise RefusedError(not_at_hand(self._settings, version))
            if folder.resolve() == serving_folder(self._settings).resolve():
                raise RefusedError(f"model {version} serves already")
            model = tried(self._settings, folder)
            if model.version != version:
                raise RefusedError(misnamed(folder, model.version))
            allowed = math.inf
            if if_as_fast and self._line is not None:
                allowed = allowed_seconds(model, self._line.model)
            before = serving_folder(self._settings)
            labels_before = newest_label(self._database)
            point_to(self._settings, folder, before=before)
            try:
                self._remember_start(before)
                why = reason or f"promoted by {by}"
                store.remember_current(
                    self._database,
                    model.metadata,
                    self._clock(),
                    reason=why,
                    deed=_deed(by, address, "promote", version),
                )
            except StoreError:
                point_to(self._settings, before)
                raise
            self._take_over(model, on_probation=True)
            self._labels_before = labels_before
            self._allowed_seconds = allowed
            self._health.mended(TROUBLE)
            with suppress(StoreError):
                self._keep_few()
        return version

    def roll_back(self, by: str, *, address: str | None = None) -> str:
        """Let the model serve that did before this one.

        Args:
            address: as of `promote`.

        Returns:
            Its version.

        Raises:
            RefusedError: there is none that loads; nothing was changed.
            StoreError, OSError: nothing was changed.
        """
        with self._lock:
            deed = _deed(by, address, "rollback")
            version = self._go_back(f"rolled back by {by}", deed)
            self._health.mended(TROUBLE)
        return version

    def reconfigure(self, settings: Settings) -> None:
        """Have the model that serves decide by another policy from the next batch on.

        Raises:
            ServingModelError: nothing was changed.
        """
        with self._lock:
            if self._line is not None and settings.policy != self._settings.policy:
                self._line.serve_with(load_for_serving(settings, serving_folder(settings)))
            self._settings = settings

    def close(self, *, seconds: float) -> None:
        """Begin with no model any more; one that is being loaded comes to its end, in that time.

        A runtime that is cut off in it brings down the process, as if it had crashed.
        """
        self._lock.acquire(timeout=max(0.0, seconds))  # and held until the process ends

    def step(self, *, now: float) -> None:
        """Go back by itself from a new model that fails, or that people contradict."""
        if self._line is None:
            return
        try:
            why = self._found_wanting(self._line, now)
        except StoreError as error:
            self._health.trouble(
                _WATCH, f"whether people contradict the new model cannot be looked up: {error}"
            )
            return
        self._health.mended(_WATCH)
        if not why and self._stuck:
            self._stuck = False
            self._health.mended(TROUBLE)
        if not why or now < self._go_back_at:
            return
        try:
            self._go_back_by_itself(why)
            self._stuck = False
        except (RefusedError, StoreError, OSError, CheckpointError) as error:
            self._stuck, self._go_back_at = True, now + _LOOK_SECONDS
            self._health.trouble(
                TROUBLE, f"the model should be rolled back ({why}) and cannot be: {error}"
            )

    def _found_wanting(self, line: Line, now: float) -> str:
        """Why the model that serves must not, in the time in which it is watched. Raises StoreError."""
        self._resume(now)
        if self._swapped_at is None or now - self._swapped_at > _PROBATION_SECONDS:
            return ""
        why = self._failing(line)
        if not why and now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._contradiction = self._contradicted(line.model.version)
        return why or self._contradiction

    def _resume(self, now: float) -> None:
        """Go on, once, with the probation that a restart interrupted."""
        if self._resumed:
            return
        promoted = store.promoted_at(self._database)
        self._resumed = True
        if self._swapped_at is None and promoted is not None:
            # A clock that was set back makes it longer than it would be, and not shorter.
            ago = (self._clock() - promoted).total_seconds()
            self._swapped_at = now - max(0.0, ago)
            self._labels_before = 0 if ago < 0 else None  # by such a clock none was given since

    def _go_back_by_itself(self, why: str) -> None:
        with self._lock:
            failed = self._version_of(serving_folder(self._settings))
            version = self._go_back(f"rolled back by itself: {why}")
        self._health.trouble(
            TROUBLE,
            f"model {failed} was rolled back by itself: {why}. Model {version} serves again; "
            "`millwatch models list` shows both, promote another or retrain",
        )

    def _failing(self, line: Line) -> str:
        failed = line.failed_on[line.model.version]
        if failed >= _FEW_FAILURES:
            return f"it failed on {failed} pictures, which lie in quarantine: deliver them again"
        return self._health.troubles().get("judging", "") or self._slow(line)

    def _slow(self, line: Line) -> str:
        """How much slower it is on the line than it may be; what it took when it was tried is not all."""
        version = line.model.version
        taken = [
            seconds for judged_by, seconds in list(line.judging_seconds) if judged_by == version
        ]
        if len(taken) < _FEWEST_BATCHES or median(taken) <= self._allowed_seconds:
            return ""
        return (
            f"it takes {median(taken) * 1000:.0f} ms for a picture on the line; "
            f"{self._allowed_seconds * 1000:.0f} ms are allowed beside the model before it"
        )

    def _contradicted(self, version: str) -> str:
        normal = self._settings.policy.normal_classes
        before = self._labels_before
        seen = store.contradiction(self._database, version, normal, after=before)
        if seen.defects < _MIN_CONTRADICTIONS:
            return ""
        low, _ = interval(seen.defects, seen.looked_at)
        if low <= _CERTAINLY_DEFECTS:
            return ""
        return (
            f"of {seen.looked_at} images that it let pass and people looked at, {seen.defects} "
            "are defects"
        )

    def _go_back(self, reason: str, deed: Deed | None = None) -> str:
        serving = serving_folder(self._settings)
        for folder in self._before(serving):
            try:
                model = tried(self._settings, folder)
            except RefusedError as error:
                log.warning("cannot go back to it", model=folder.name, why=str(error))
                continue
            # The record first: after a kill in between it serves on, recorded so, and can be gone
            # back from again. The other way about it would be retired, and gone back to.
            store.roll_back_to(
                self._database,
                model.metadata,
                self._clock(),
                rejected=self._version_of(serving),
                reason=reason,
                deed=deed,
            )
            try:
                point_to(self._settings, folder)
            except OSError:
                store.remember_current(self._database, load_metadata(serving), self._clock())
                raise
            self._take_over(model, on_probation=False)
            log.warning("rolled back", to=model.version, why=reason)
            return model.version
        raise RefusedError("there is no model that served before this one and still loads")

    def _before(self, serving: Path) -> list[Path]:
        """Where to go back to, the last good one first, at the end the start."""
        versions = [*pointed_versions(self._settings)[1:], *store.served_before(self._database)]
        known = [folder_of(self._settings, version) for version in versions]
        folders = [folder for folder in known if folder is not None]
        start = start_folder(self._settings)
        if start not in folders:
            folders.append(start)
        return [folder for folder in folders if folder.resolve() != serving.resolve()]

    def _version_of(self, folder: Path) -> str:
        """By its name in the registry, where there is nothing left in it perhaps."""
        try:
            return load_metadata(folder).version
        except CheckpointError:
            if folder.parent != registry_folder(self._settings):
                raise
            return folder.name

    def _remember_start(self, folder: Path) -> None:
        """A command alone may promote before any daemon recorded what the line began with."""
        if not statuses(self._database):
            metadata = load_metadata(folder)
            store.remember_current(self._database, metadata, self._clock())

    def _take_over(self, model: Model, *, on_probation: bool) -> None:
        now = time.monotonic()
        self._swapped_at, self._resumed = (now if on_probation else None), True
        self._contradiction = ""
        if self._line is None:
            return
        before = self._line.model
        self._line.failed_on.clear()
        self._line.serve_with(model)
        if on_probation:
            self._line.shadow.begin(
                before=before, new=model.version, now=now, seconds=_PROBATION_SECONDS
            )
        else:
            self._line.shadow.forget()

    def keep_few(self) -> None:
        """Remove old versions beyond the count; never what serves, where to go back to, nor the start.

        First those that were rejected, of the others the oldest.
        """
        with self._lock, suppress(StoreError):
            self._keep_few()

    def _keep_few(self) -> None:
        found = statuses(self._database)
        rejected = {version for version, status in found if status == "rejected"}
        registry = registry_folder(self._settings)
        serving, start = serving_folder(self._settings), start_folder(self._settings)
        safe = {each.resolve() for each in (serving, *self._before(serving)[:1], start)}
        with suppress(OSError):
            kept = [each for each in registry.iterdir() if each.is_dir() and each.name[0] != "."]
            kept.sort(key=lambda each: (each.name not in rejected, each.stat().st_mtime))
            others = [each for each in reversed(kept) if each.resolve() not in safe]
            room = self._settings.retraining.keep_versions - (len(kept) - len(others))
            for folder in others[max(0, room) :]:
                shutil.rmtree(folder, ignore_errors=True)
                log.info("old model removed", model=folder.name)


def _deed(by: str, address: str | None, deed: str, what: str = "") -> Deed | None:
    """None where no person did it."""
    return None if address is None else Deed(who=by, address=address, deed=deed, what=what)
