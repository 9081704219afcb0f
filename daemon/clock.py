"""Times as the database holds them: UTC, to the second."""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_LATEST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
_KEPT_RIGHT: Final = timedelta(minutes=1)
"""By so much a clock is kept right little by little; what goes further was set."""


class SteadyMoment:
    """A moment that was, as the clock now says it: it may have been set since. From any thread."""

    def __init__(self, at: datetime) -> None:
        self._at = at
        self._steady = _steady()

    def told(self, now: datetime) -> datetime:
        """`now` is what the clock says."""
        at = now - timedelta(seconds=_steady() - self._steady)
        if abs(at - self._at) > _KEPT_RIGHT:
            self._at = at
        return self._at


def _steady() -> float:
    """Goes on while the computer sleeps, as the clock does."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def now_utc() -> datetime:
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ` of an aware moment."""
    # Not strftime: it writes the year 900 with three digits, which no longer sorts as text.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def moment(text: str) -> datetime:
    """The moment that `timestamp` wrote."""
    return datetime.fromisoformat(text)


def timestamp_of_ns(nanoseconds: int) -> str:
    """The same for a file's time, which may be anything; held to the years 1970 to 9999."""
    return _timestamp_of(min(max(nanoseconds // 1_000_000_000, 0), int(_LATEST)))


@lru_cache(maxsize=256)
def _timestamp_of(seconds: int) -> str:
    # Of one image it is asked several times, and of many images within one second.
    return timestamp(datetime.fromtimestamp(seconds, UTC))
