"""What is wrong at the moment, in words. A change is logged once, however often it is told."""

import threading

import structlog

log = structlog.get_logger(__name__)


class Health:
    """Named troubles. Safe between threads."""

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}
        self._lock = threading.Lock()

    def trouble(self, name: str, what: str) -> None:
        """Say what is wrong and what to do; the same trouble told again only renews its words."""
        with self._lock:
            new = name not in self._troubles
            self._troubles[name] = what
        if new:
            log.warning("degraded", trouble=name, what=what)

    def mended(self, name: str) -> None:
        with self._lock:
            was = self._troubles.pop(name, None)
        if was is not None:
            log.info("mended", trouble=name)

    def troubles(self) -> dict[str, str]:
        with self._lock:
            return dict(self._troubles)
