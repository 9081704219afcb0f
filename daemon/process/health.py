"""What is wrong at the moment, in words. A change is logged once, however often it is told."""

import threading

import structlog

log = structlog.get_logger(__name__)


class Health:
    """Named troubles. Safe between threads."""

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def trouble(self, name: str, what: str) -> None:
        """Say what is wrong and what to do; the same trouble told again only renews its words."""
        with self._lock:
            new = name not in self._troubles
            self._troubles[name] = what
        if new:
            log.warning("degraded", trouble=name, what=what)

    def passing_trouble(self, name: str, what: str, *, now: float, seconds: float) -> None:
        """Tell of a trouble of single images, which is over when it was not met for so long."""
        with self._lock:
            self._until[name] = now + seconds
        self.trouble(name, what)

    def forget(self, *, now: float) -> None:
        """Call those troubles mended whose time is over."""
        with self._lock:
            over = [name for name, until in self._until.items() if now > until]
            for name in over:
                del self._until[name]
        for name in over:
            self.mended(name)

    def mended(self, name: str) -> None:
        with self._lock:
            was = self._troubles.pop(name, None)
        if was is not None:
            log.info("mended", trouble=name)

    def troubles(self) -> dict[str, str]:
        with self._lock:
            return dict(self._troubles)
