"""A backlog of 100,000 images: as fast and as small at its end as at its beginning.

The model is the one that ships, on the runtime that serves. The daemon is the real command in a process
of its own. Ratios are printed and nothing is asserted about time.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
from builders import ALL_CLASSES, Station, surface_file, wait_until
from speed import machine, resident_mib, shipped_station

IMAGES = int(os.environ.get("BACKLOG_IMAGES", "100000"))
FAST, SLOW = "top-1", "bottom-1"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The line at one moment."""

    seconds: float
    recorded: int
    waiting: int
    memory_mib: float


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
def test_a_backlog_is_drained_as_fast_and_as_small_at_its_end_as_at_its_beginning(
    tmp_path: Path,
) -> None:
    station = shipped_station(tmp_path)
    forms = ("jpeg", "png", "bmp")
    pool = [
        surface_file(ALL_CLASSES[seed % len(ALL_CLASSES)], seed=seed, form=forms[seed % 3])
        for seed in range(96)
    ]
    backlog = IMAGES - IMAGES // 100
    for number in range(backlog):
        _drop(station, FAST, number, pool)
    start = time.perf_counter()
    with station.process() as process:
        print(f"\n{machine()}\nruntime {station.status()['runtime']}")
        print(f"ready after {time.perf_counter() - start:.1f} s with {backlog} images waiting")
        samples = [_sample(station, process.pid, start)]
        for number in range(backlog, IMAGES):  # of the other camera, while it lasts
            _drop(station, SLOW, number, pool)
        others = wait_until(
            lambda: _of_camera(station, SLOW) == IMAGES - backlog and station.count(), seconds=600
        )
        print(f"the other camera's {IMAGES - backlog} were done after {others} of {IMAGES}")
        while samples[-1].recorded < IMAGES:
            wait_until(lambda: time.perf_counter() - start > samples[-1].seconds + 1)
            samples.append(_sample(station, process.pid, start))
        station.wait_for_images(IMAGES)
    _report(samples)
    assert station.count() == IMAGES
    assert station.query("SELECT count(DISTINCT path) FROM inspections") == [(IMAGES,)]
    places = {os.fspath(path) for path in station.files()}
    assert places == {path for (path,) in station.query("SELECT path FROM inspections")}


def _drop(station: Station, camera: str, number: int, pool: list[bytes]) -> None:
    data = pool[number % len(pool)]
    suffix = {b"\xff\xd8": "jpg", b"\x89P": "png", b"BM": "bmp"}[data[:2]]
    (station.folder(camera) / f"{number:06d}.{suffix}").write_bytes(data)


def _of_camera(station: Station, camera: str) -> int:
    sql = "SELECT sum(images) FROM tally WHERE camera = ?"
    return int(station.query(sql, camera)[0][0] or 0)


def _sample(station: Station, pid: int, start: float) -> Sample:
    status = station.status()
    return Sample(
        seconds=time.perf_counter() - start,
        recorded=sum(status["recorded"].values()),
        waiting=sum(camera["waiting"] for camera in status["cameras"]),
        memory_mib=resident_mib(pid),
    )


def _report(samples: list[Sample]) -> None:
    def rate(low: float, high: float) -> float:
        part = [s for s in samples if low * IMAGES <= s.recorded <= high * IMAGES]
        return (part[-1].recorded - part[0].recorded) / (part[-1].seconds - part[0].seconds)

    first, last = rate(0.0, 0.1), rate(0.9, 1.0)
    tenth = max(1, len(samples) // 10)
    early = median(s.memory_mib for s in samples[1 : tenth + 1])
    late = median(s.memory_mib for s in samples[-tenth:])
    course = [f"{s.memory_mib:.0f}" for s in samples[1 :: max(1, len(samples) // 10)]]
    told = [f"{s.waiting} at {s.seconds:.0f} s" for s in samples[:: max(1, len(samples) // 5)]]
    print(
        f"{IMAGES} images in {samples[-1].seconds:.0f} s"
        f"\nfirst tenth {first:.1f} images/s, last tenth {last:.1f} images/s, "
        f"cost of an image, last / first: {first / last:.3f}"
        f"\nmemory {early:.0f} MiB in the first tenth, {late:.0f} MiB in the last, "
        f"ratio {late / early:.3f}"
        f"\nmemory in the course of it, MiB: {', '.join(course)}"
        f"\nwaiting, as the status told: {', '.join(told)}"
    )
