"""Drift: each camera's latest day held against the days before it, now and then; and what is accepted."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from config.settings import Settings
from daemon.clock import timestamp
from daemon.drift.comparing import compare
from daemon.process.control import Handlers, RefusedError
from daemon.process.health import Health
from daemon.store import days
from daemon.store.database import Database, StoreError
from models.registry import Model

_LOOK_SECONDS: Final = 60.0
_LOOK_BACK: Final = timedelta(days=60)
_LATEST: Final = timedelta(days=1)
FIGURES: Final = ("brightness", "sharpness", "novelty", "mix")


class DriftMinder:
    """The daemon's, or without a `model` a command's that holds the instance lock."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        health: Health,
        clock: Callable[[], datetime],
        model: Callable[[], Model] | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._health = health
        self._clock = clock
        self._model = model
        self._look_at = 0.0

    def commands(self) -> Handlers:
        """What commands ask of a running daemon."""
        return {"drift accept": lambda asked: {"since": self.accept(**asked)}}

    def accept(self, camera: str) -> str:
        """Take a camera as it is from today on for usual; what it was before is no reference.

        Returns:
            The first day that counts.

        Raises:
            RefusedError: there is no such camera.
            StoreError: nothing was changed.
        """
        names = [each.name for each in self._settings.cameras]
        if camera not in names:
            raise RefusedError(f"there is no camera {camera!r}; there are {', '.join(names)}")
        today = _day(self._clock())
        days.refer_from(self._database, camera, today)
        self._look_at = 0.0
        return today

    def reconfigure(self, settings: Settings) -> None:
        """Tell what these say from now on. From any thread."""
        self._settings = settings
        self._look_at = 0.0

    def step(self, *, now: float) -> None:
        """Compare, when that is due."""
        if self._model is None or now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        try:
            self._compare(self._model())
        except StoreError as error:
            if error.damaged:
                raise
            self._health.trouble("drift", f"drift cannot be looked for: {error}")
        else:
            self._health.mended("drift")

    def _compare(self, model: Model) -> None:
        today = self._clock()
        by_camera, since = {}, {}
        if self._settings.drift.enabled:
            by_camera = days.camera_days(self._database, since=_day(today - _LOOK_BACK))
            since = days.references(self._database)
        pass_rule = model.decider.pass_rule
        for camera in self._settings.cameras:
            first = since.get(camera.name, "")
            shifts = compare(
                [day for day in by_camera.get(camera.name, ()) if day.day >= first],
                self._settings.drift,
                version=model.version,
                side=model.input_size,
                matured=pass_rule is not None and pass_rule.kept,
                not_before=_day(today - _LATEST),
                not_after=_day(today),
            )
            told = {shift.figure: shift.what for shift in shifts}
            for figure in FIGURES:
                trouble = f"{figure} of {camera.name}"
                if figure in told:
                    self._health.trouble(trouble, told[figure])
                else:
                    self._health.mended(trouble)


def _day(moment: datetime) -> str:
    return timestamp(moment)[:10]
