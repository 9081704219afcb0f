"""When a retraining is due: cron's times, in the plant's zone."""

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

_INSTANT: Final = timedelta(microseconds=1)
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Schedule:
    """Due times of a cron line such as `0 3 * * *`."""

    def __init__(self, line: str, time_zone: str) -> None:
        minute, hour, day, month, weekday = line.split()
        zone = ZoneInfo(time_zone)
        self._is_hourly = "*" in hour

        def trigger(day: str, weekday: str) -> CronTrigger:
            return CronTrigger(
                minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, timezone=zone
            )

        # Where both are restricted, which is without a star (crontab(5)), cron takes either; APScheduler
        # would take both.
        if "*" not in day + weekday:
            self._triggers = [trigger(day, "*"), trigger("*", _by_name(weekday))]
        else:
            self._triggers = [trigger(day, _by_name(weekday))]

    def after(self, moment: datetime) -> datetime | None:
        """The first due time later than a moment; None for a day that never comes."""
        times = [self._next(each, moment) for each in self._triggers]
        return min((time for time in times if time is not None), default=None)

    def _next(self, trigger: CronTrigger, moment: datetime) -> datetime | None:
        due: datetime | None = trigger.get_next_fire_time(None, moment + _INSTANT)
        # Where a clock that is put back shows an hour twice, cron keeps a time of the day once.
        while due is not None and due.fold and not self._is_hourly:
            due = trigger.get_next_fire_time(None, due.astimezone(UTC) + _INSTANT)
        return due


def _by_name(weekday: str) -> str:
    """Cron counts from Sunday, APScheduler from Monday: names mean the same to both."""
    if weekday == "*":
        return weekday
    days: list[int] = []
    for part in weekday.split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0-6" if span == "*" else span).partition("-")
        upto = int(last or (6 if step else first))
        days += range(int(first), upto + 1, int(step or 1))
    return ",".join(dict.fromkeys(_DAYS[day] for day in days))
