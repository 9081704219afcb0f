"""Hours, shifts and days of the plant: which of them an hour of the kept counts belongs to.

Counts are kept by the UTC hour, so that a clock that is put forward or back loses and doubles none. An
hour belongs whole to the shift or the day of the plant in which it begins.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from daemon.clock import timestamp

_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_LAST_HOUR: Final = datetime(9999, 12, 31, 23, tzinfo=UTC)
_END_OF_TIME: Final = "9999-12-31T23:59:59Z"


class By(StrEnum):
    HOUR = "hour"
    SHIFT = "shift"
    DAY = "day"
    CAMERA = "camera"


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """The plant's own time.

    Attributes:
        shifts: when each shift of a day begins, by the clock on the wall, in order.
    """

    zone: ZoneInfo
    shifts: tuple[time, ...]

    def period(self, by: By, hour: str) -> str:
        """The name of the period that an hour belongs to; names sort in the order of time.

        A shift is named by the day and the time that it begins: a night's shift belongs to the evening.

        Args:
            hour: `YYYY-MM-DDTHH:00:00Z`, as the counts are kept.

        Returns:
            The hour as it is; `YYYY-MM-DD HH:MM` of a shift; `YYYY-MM-DD` of a day; "" of `CAMERA`.
        """
        if by is By.HOUR:
            return hour
        if by is By.CAMERA:
            return ""
        moment = datetime.fromisoformat(hour)
        return self._shift(moment) if by is By.SHIFT else str(self._day(moment))

    def first_counted(self, since: datetime) -> str:
        """The first hour of the kept counts from a moment on: the one that it lies in counts whole.

        But not where that one begins in the shift or the day before: a report would tell one hour of
        them as if it were all, and what is asked for day by day would count it twice.
        """
        within = first_hour(since)
        begun = datetime.fromisoformat(within)
        if (self._shift(begun), self._day(begun)) == (self._shift(since), self._day(since)):
            return within
        return _hour_after(begun)

    def span_of_day(self, day: date) -> tuple[str, str]:
        """When a day of the plant begins and ends, as the database holds times."""
        after = day + _DAY if day < date.max else day
        return timestamp(self._moment(day, time(0))), timestamp(self._moment(after, time(0)))

    def local(self, hour: str) -> str:
        """An hour by the plant's clock; with its offset where a clock that was put back shows it twice."""
        there = self.there(datetime.fromisoformat(hour))
        text = f"{there:%Y-%m-%d %H:%M}"
        twice = there.replace(fold=0).utcoffset() != there.replace(fold=1).utcoffset()
        return f"{text} UTC{there:%z}" if twice else text

    def remark(self, by: By, on: date) -> str | None:
        """What to know of periods of that time that do not begin with an hour of UTC."""
        if by not in (By.SHIFT, By.DAY):
            return None
        starts = self.shifts if by is By.SHIFT else (time(0),)
        off = [f"{begins:%H:%M}" for begins in starts if self._moment(on, begins).minute]
        if not off:
            return None
        return (
            f"Counts are kept by the hour of UTC: a {by.value} that begins at {' or '.join(off)} here gets "
            "the images from the first such hour after it."
        )

    def _shift(self, moment: datetime) -> str:
        day = self.there(moment).date()
        begun = [
            (self._moment(each, begins), each, begins)
            for each in (_before(day), day)
            for begins in self.shifts
        ]
        at = bisect_right([start for start, *_ in begun], moment) - 1
        _, on, begins = begun[max(at, 0)]
        return f"{on} {begins:%H:%M}"

    def _day(self, moment: datetime) -> date:
        return self.there(moment).date()

    def _moment(self, day: date, begins: time) -> datetime:
        """When the plant's clock shows this: of two such moments the first."""
        try:
            return datetime.combine(day, begins, tzinfo=self.zone).astimezone(UTC)
        except OverflowError:  # likewise, and in the year 1
            return datetime.combine(day, begins, tzinfo=UTC)

    def there(self, moment: datetime) -> datetime:
        """A moment by the plant's clock."""
        try:
            return moment.astimezone(self.zone)
        except OverflowError:  # at the end of the year 9999: a camera may have such a clock
            return moment


def _before(day: date) -> date:
    return day - _DAY if day > date.min else day


def first_hour(moment: datetime) -> str:
    """The hour that a moment lies in, as the counts are kept."""
    whole = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    return whole.isoformat() + "Z"


def first_not_counted(until: datetime) -> str:
    """The hour that follows the one that a moment lies in, or that it begins."""
    begun = datetime.fromisoformat(first_hour(until))
    return timestamp(begun) if begun == until else _hour_after(begun)


def _hour_after(begun: datetime) -> str:
    return timestamp(begun + _HOUR) if begun < _LAST_HOUR else _END_OF_TIME
