"""How often a login may fail: by the name that is tried, and by the address that tries."""

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

FAILURES: Final = 10
WINDOW_SECONDS: Final = 15 * 60.0
_MOST_KEYS: Final = 10_000


class Attempts:
    """Failures of the last quarter of an hour, in memory and bounded. Safe between threads."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, keys: Sequence[str], *, now: float) -> float:
        """How long none of the keys may be tried again; 0 when they may.

        Args:
            now: monotonic seconds.
        """
        with self._lock:
            return max((self._wait(key, now) for key in keys), default=0.0)

    def failed(self, keys: Sequence[str], *, now: float) -> None:
        with self._lock:
            for key in keys:
                self._failures.setdefault(key, deque(maxlen=FAILURES)).append(now)
                self._failures.move_to_end(key)
            while len(self._failures) > _MOST_KEYS:
                self._failures.popitem(last=False)

    def succeeded(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)

    def _wait(self, key: str, now: float) -> float:
        times = self._failures.get(key)
        if times is None or len(times) < FAILURES:
            return 0.0
        return max(0.0, times[0] + WINDOW_SECONDS - now)
