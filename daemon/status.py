"""What a service is doing, as it tells people, programs and systemd."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from config.text import counted
from daemon.clock import SteadyMoment, timestamp
from daemon.names import to_text
from daemon.parts import Parts
from daemon.store import images
from daemon.store.database import Database, StoreError


class Status:
    """From any thread."""

    def __init__(self, parts: Parts, *, database: Database, clock: Callable[[], datetime]) -> None:
        self._parts = parts
        self._database = database
        self._clock = clock
        self._start = SteadyMoment(clock())

    def tell(self) -> dict[str, Any]:
        """What the daemon is doing, as JSON values."""
        waiting = self.waiting()
        pipeline = self._parts.pipeline
        latencies = sorted(pipeline.latency_seconds)
        return {
            "state": "running",
            "since": timestamp(self._start.told(self._clock())),
            "model_version": pipeline.model.version,
            "runtime": pipeline.model.runtime.name,
            "commissioning": not bool(pipeline.model.decider.normal.any()),
            "cameras": [
                {
                    "name": camera.name,
                    "folder": to_text(camera.folder),
                    "watching": camera.watching,
                    "waiting": waiting[camera.name],
                    "last_image": self._last_image(camera.name),
                    "rescans": camera.rescans,
                    "overflows": camera.overflows,
                }
                for camera in self._parts.cameras
            ],
            "recorded": dict(pipeline.verdicts),
            "pending_moves": self._pending_moves(),
            "latency_ms": {
                "images": len(latencies),
                "median": _percentile_ms(latencies, 50),
                "p99": _percentile_ms(latencies, 99),
            },
            "shadow": pipeline.shadow.status(),
            "retraining": self._retraining(),
            "troubles": self._parts.health.troubles(),
        }

    def in_words(self) -> str:
        """In a line, for `systemctl status`."""
        recorded = self._parts.pipeline.verdicts.total()
        troubles = len(self._parts.health.troubles())
        return f"{counted(recorded, 'image')} recorded" + (
            f", troubles: {troubles}" if troubles else ""
        )

    def waiting(self) -> dict[str, int]:
        """Images that wait, by camera."""
        backlog = self._parts.room.backlog()
        return {each.name: max(backlog[each.name], each.backlog) for each in self._parts.cameras}

    def is_idle(self) -> bool:
        """Whether nothing waits or is being judged."""
        return not any(self.waiting().values())

    def _retraining(self) -> dict[str, Any] | None:
        try:
            return self._parts.retrainer.status()
        except StoreError:  # which the troubles tell
            return None

    def _last_image(self, camera: str) -> str | None:
        """When one was recorded since the start."""
        at = self._parts.pipeline.meter.latest.get(camera)
        return None if at is None else timestamp(at.told(self._clock()))

    def _pending_moves(self) -> int | None:
        try:
            return images.count_pending(self._database)
        except StoreError:  # which the troubles tell
            return None


def _percentile_ms(ordered: Sequence[float], percent: int) -> float | None:
    """The nearest-rank percentile of sorted seconds, in milliseconds."""
    if not ordered:
        return None
    rank = max(0, -(-len(ordered) * percent // 100) - 1)
    return round(ordered[rank] * 1000, 1)
