"""From the moment that a camera has closed a file until its row is there, on an idle and a busy line.

Seen by another process, which looks every two milliseconds. Nothing is asserted about time.
"""

import threading
import time
from pathlib import Path

import pytest
from builders import Station, assert_every_image_accounted_for, stop_process, wait_until
from speed import SMALL, drain_rate, jpegs, machine, rows_as_seen, shipped_station

IDLE_IMAGES, IDLE_PER_SECOND = 200, 8
BUSY_SECONDS = 15
DRAINED = 2000


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_latency_from_a_closed_file_to_its_row(tmp_path: Path) -> None:
    files = jpegs(SMALL, 100)
    full = _drain_rate(tmp_path / "full", files)
    station = shipped_station(tmp_path / "line")
    print(f"\n{machine()}")
    with station.process() as process:
        idle = _latencies_ms(station, files, IDLE_IMAGES, IDLE_PER_SECOND, "idle")
        _tell(f"idle line, {IDLE_PER_SECOND} images/s", idle)
        half = full / 2
        busy = _latencies_ms(station, files, int(half * BUSY_SECONDS), half, "busy")
        _tell(f"half-loaded line, {half:.0f} images/s where it drains {full:.0f}", busy)
        station.wait_for_images(len(idle) + len(busy))
        assert stop_process(process) == 0
    assert_every_image_accounted_for(station)


def _drain_rate(root: Path, files: list[bytes]) -> float:
    """Images a second that the line can do, from a backlog."""
    station = shipped_station(root)
    for number in range(DRAINED):
        data = files[number % len(files)]
        station.drop(station.cameras[number % 2], f"{number:05d}.jpg", data)
    with station.process() as process:
        rate = drain_rate(station, DRAINED)
        assert stop_process(process) == 0
    return rate


def _latencies_ms(
    station: Station, files: list[bytes], images: int, per_second: float, name: str
) -> list[float]:
    """Written in place, as most cameras do, by turns of the cameras."""
    closed: dict[str, float] = {}
    pace = threading.Event()
    with rows_as_seen(station) as seen:
        start = time.perf_counter()
        for number in range(images):
            pace.wait(max(0.0, start + number / per_second - time.perf_counter()))
            filename = f"{name}-{number:05d}.jpg"
            data = files[number % len(files)]
            station.drop(station.cameras[number % 2], filename, data, rename=False)
            closed[filename] = time.perf_counter()
        wait_until(lambda: len(seen) == images, what="every row is there", every=0.1)
    return sorted(1000 * (seen[filename] - closed[filename]) for filename in closed)


def _tell(line: str, ordered: list[float]) -> None:
    median, last = ordered[len(ordered) // 2], ordered[-(len(ordered) // 100) - 1]
    print(
        f"{line}: closed file to row, median {median:.1f} ms, 99th percentile {last:.1f} ms "
        f"({len(ordered)} images)"
    )
