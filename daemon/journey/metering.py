"""What is counted for a monitoring system as it happens, since the start of this process."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from daemon.clock import SteadyMoment
from models.taxonomy import Verdict

_SECONDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class Meter:
    """Counters that only rise. An image that its camera went on writing is judged and counted again."""

    def __init__(self, cameras: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self.latest: dict[str, SteadyMoment] = {}
        """When an image of each camera was last recorded."""
        self._images = Counter(
            "millwatch_images",
            "Images recorded since the start, by camera and verdict.",
            ["camera", "verdict"],
            registry=self.registry,
        )
        # From 0 on: of a counter that begins with its first image no rate shows that one, and where
        # there was no defect yet a share of defects would be nothing, not 0.
        for camera in cameras:
            for verdict in Verdict:
                self._images.labels(camera, verdict.value)
        self._latency = Histogram(
            "millwatch_latency_seconds",
            "From the last write of a file to the commit of its record.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._latest = Gauge(
            "millwatch_last_image_timestamp_seconds",
            "When an image of this camera was last recorded.",
            ["camera"],
            registry=self.registry,
        )

    def recorded(self, camera: str, verdict: str, *, at: float, latency_seconds: float) -> None:
        """Count an image; `at` is a Unix time."""
        self._images.labels(camera, verdict).inc()
        self._latency.observe(latency_seconds)
        self._latest.labels(camera).set(at)
        self.latest[camera] = SteadyMoment(datetime.fromtimestamp(at, UTC))
