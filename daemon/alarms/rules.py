"""What an alarm is about: which of the things that it watches hold now, in words."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Final

from config.oversight import Alarm
from config.settings import Settings
from config.text import counted, percent
from daemon.clock import timestamp
from daemon.files.disks import Rooms
from daemon.names import to_text
from daemon.process.health import Health
from daemon.reports.limits import Sample, laney_chart
from daemon.reports.rules import WORDS, signals
from daemon.store import rates, retraining
from daemon.store.database import Database
from daemon.store.models import statuses
from daemon.store.recent import recent_defects
from daemon.store.spans import Span

_CHART: Final = timedelta(days=7)
_FEWEST_HOURS: Final = 10
OWN_TROUBLE: Final = "alarm "
"""How the names of troubles begin that alarms themselves have: of these none is sent."""
_ABOUT_MODELS: Final = ("model", "retraining")
_WAITS: Final = "needs_a_person"
_REFUSED: Final = {"rejected": "was rejected", _WAITS: "waits for a person"}
Holds = Mapping[str, str]
"""What holds, in words, by a name of it that stays the same as long as it does."""


class Watch:
    """Answers for each alarm what holds now."""

    def __init__(self, settings: Settings, *, database: Database, health: Health) -> None:
        self._database = database
        self._health = health
        self._rooms = Rooms(settings)
        self._cameras = {camera.name for camera in settings.cameras}
        self._kinds: dict[str, Callable[[Alarm, Holds, datetime], Holds]] = {
            "trouble": self._troubles,
            "silent": self._silent,
            "disk": self._disks,
            "retraining": self._retraining,
            "rate": self._rates,
            "chart": self._charts,
            "defects": self._defects,
        }

    def holds(self, alarm: Alarm, told: Holds, now: datetime) -> Holds:
        """What holds; what cannot be known now holds on if it was `told`.

        Raises:
            StoreError: the database cannot be read.
        """
        found = self._kinds[alarm.when](alarm, told, now)
        # Words may name files whose bytes no encoding explains.
        return {
            name: what.encode("utf-8", "backslashreplace").decode() for name, what in found.items()
        }

    def close(self, *, seconds: float) -> None:
        self._rooms.close(seconds=seconds)

    def _troubles(self, alarm: Alarm, _: Holds, __: datetime) -> Holds:
        return {
            name: what
            for name, what in self._health.troubles().items()
            if any(fnmatchcase(name, pattern) for pattern in alarm.troubles)
            and not name.startswith(OWN_TROUBLE)
            and (not alarm.camera or alarm.camera in name.split())
        }

    def _silent(self, alarm: Alarm, _: Holds, __: datetime) -> Holds:
        return {
            name: what
            for name, what in self._health.troubles().items()
            if name == f"silent {alarm.camera}" or (not alarm.camera and name.startswith("silent "))
        }

    def _disks(self, alarm: Alarm, told: Holds, _: datetime) -> Holds:
        holds: dict[str, str] = {}
        seen: set[int] = set()
        rooms = self._rooms.look()
        for folder, path in self._rooms.folders.items():
            name = to_text(path)
            # Not there yet, away, or a share that hangs: which the troubles tell.
            if (answer := rooms.get(folder)) is None:
                holds |= {each: what for each, what in told.items() if each == name}
                continue
            disk, room = answer
            if disk not in seen and room.free < alarm.free_below_gb * 1e9:
                holds[name] = (
                    f"{room.free / 1e9:.1f} GB are free on the disk of {name}, less than "
                    f"{alarm.free_below_gb:g} GB; free space there"
                )
            seen.add(disk)
        return holds

    def _retraining(self, _: Alarm, __: Holds, ___: datetime) -> Holds:
        """Each run for itself: that one was refused must not hide what came of the next."""
        troubles = self._health.troubles().items()
        holds = {name: what for name, what in troubles if name in _ABOUT_MODELS}
        status_of = dict(statuses(self._database))
        runs = retraining.latest(self._database, states=("done", "failed"))
        for run in runs:
            version, why = (*(run.reason or "").split(": ", 1), "")[:2]
            status = status_of.get(version, "")
            if run.state == "done" and status not in _REFUSED:
                break  # it serves, or did: what came before it is settled
            if run.state == "failed":
                what = f"the retraining {run.name} failed: {run.reason or ''}"
            else:
                what = f"the new model {version} {_REFUSED[status]}: {why}. `millwatch models list` shows it"
            if run is runs[0] or status == _WAITS:
                holds[f"run {run.name}"] = what
        return holds

    def _rates(self, alarm: Alarm, told: Holds, now: datetime) -> Holds:
        hour = now.replace(minute=0, second=0, microsecond=0)
        since = timestamp(hour - timedelta(hours=alarm.hours))
        told = self._watched(alarm, told)
        holds: dict[str, str] = {}
        # What a camera with a wrong clock dates later would count for years.
        until = timestamp(hour + timedelta(hours=1))
        span = Span(since=since, until=until, camera=alarm.camera or None)
        found = rates.rates(self._database, span, by="camera")
        for each in found:
            if each.inspected < alarm.min_images or each.defect_rate is None:
                holds |= {name: what for name, what in told.items() if name == each.camera}
            elif not alarm.min_rate <= each.defect_rate <= alarm.max_rate:
                high = each.defect_rate > alarm.max_rate
                limit = (
                    f"above {percent(alarm.max_rate)}"
                    if high
                    else f"below {percent(alarm.min_rate)}"
                )
                holds[each.camera] = (
                    f"camera {each.camera}: {percent(each.defect_rate)} of {counted(each.inspected, 'image')} since "
                    f"{since} are defects, {limit}"
                )
        unseen = told.keys() - {each.camera for each in found}
        return holds | {name: told[name] for name in unseen}

    def _charts(self, alarm: Alarm, told: Holds, now: datetime) -> Holds:
        """Whether the last whole hour is a signal of the control chart of the week before it."""
        end = now.replace(minute=0, second=0, microsecond=0)
        since, until = timestamp(end - _CHART), timestamp(end)
        span = Span(since=since, until=until, camera=alarm.camera or None)
        samples: dict[str, list[Sample]] = {}
        for each in rates.rates(self._database, span, by="hour"):
            if each.inspected:
                sample = Sample(period=each.period, inspected=each.inspected, defects=each.defects)
                samples.setdefault(each.camera, []).append(sample)
        last = timestamp(end - timedelta(hours=1))
        told = self._watched(alarm, told)
        holds = {name: what for name, what in told.items() if name not in samples}
        for camera, hours in samples.items():
            if hours[-1].period != last or len(hours) < _FEWEST_HOURS:
                holds |= {name: what for name, what in told.items() if name == camera}
                continue
            limits = laney_chart(hours)
            if broken := signals(limits)[-1]:
                point = limits.samples[-1]
                holds[camera] = (
                    f"camera {camera}: {percent(point.sample.share)} of {counted(point.sample.inspected, 'image')} "
                    f"of the hour {last} are defects, {percent(limits.centre)} in the week, limits "
                    f"{percent(point.lower)} to {percent(point.upper)}: "
                    + "; ".join(f"{WORDS[rule]} (rule {rule})" for rule in broken)
                )
        return holds

    def _watched(self, alarm: Alarm, told: Holds) -> Holds:
        """What was told of cameras that are there still: of others nothing will ever be known again."""
        watched = {alarm.camera} if alarm.camera else self._cameras
        return {name: what for name, what in told.items() if name in watched}

    def _defects(self, alarm: Alarm, _: Holds, now: datetime) -> Holds:
        counts = recent_defects(
            self._database,
            since=timestamp(now - timedelta(minutes=alarm.minutes)),
            defect_class=alarm.defect_class,
            camera=alarm.camera,
        )
        what = alarm.defect_class or "any defect"
        return {
            camera: f"camera {camera}: {counted(count, 'image')} with {what} within {counted(alarm.minutes, 'minute')}, "
            f"{alarm.count} or more are told"
            for camera, count in counts.items()
            if count >= alarm.count
        }
