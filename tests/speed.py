"""What the benchmarks have in common: files, the machine in words, what each step costs alone."""

import hashlib
import io
import os
import platform
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from builders import ALL_CLASSES, Station, surface_file, wait_until
from PIL import Image

from models.decision import Policy
from models.preprocessing import decode
from models.registry import PRETRAINED, Model, load_model
from models.taxonomy import KNOWN_DEFECTS
from training.synthetic import draw_surface, encode

CORES = len(os.sched_getaffinity(0))
SMALL, LARGE = "200x200", "2592x1944"
_PACKAGES = ("openvino", "torch", "pillow", "numpy", "sqlalchemy", "watchdog")
_POLL_SECONDS = 0.05
"""A benchmark that asks more often takes the processor from what it measures."""
_LOOK_SECONDS = 0.002


def machine() -> str:
    """The processor, the cores that are ours, and the versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
    versions = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {name}, {CORES} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def jpegs(size: str, count: int) -> list[bytes]:
    """So many different pictures: 200x200, or five million pixels with a camera's noise."""
    names = [ALL_CLASSES[number % len(ALL_CLASSES)] for number in range(count)]
    if size == SMALL:
        drawn = [draw_surface(name, seed=i, height=200, width=200) for i, name in enumerate(names)]  # type: ignore[arg-type]
        return [encode(pixels, "jpeg") for pixels in drawn]
    return [_large_jpeg(name, seed) for seed, name in enumerate(names)]


def _large_jpeg(name: str, seed: int) -> bytes:
    drawn = Image.fromarray(draw_surface(name, seed=seed, height=486, width=648))  # type: ignore[arg-type]
    whole = np.asarray(drawn.resize((2592, 1944), Image.Resampling.BICUBIC), dtype=np.float32)
    noisy = whole + np.random.default_rng(seed).normal(0, 3, whole.shape)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def shipped_model() -> Model:
    policy = Policy(normal_classes=(), max_missed_defect_rate=0.005, min_defect_confidence=0.5)
    return load_model(PRETRAINED, policy=policy)


def shipped_station(root: Path, **tables: dict[str, object]) -> Station:
    """A station with the model that ships, on the runtime that serves, and the defaults elsewhere."""
    defaults: dict[str, dict[str, object]] = {
        "intake": {"quiet_seconds": 2.0, "give_up_seconds": 60.0, "rescan_seconds": 10.0},
        "model": {"runtime": "auto"},
    }
    return Station(root=root, model=PRETRAINED, tables={**defaults, **tables})


@dataclass(frozen=True, kw_only=True)
class Alone:
    """Core-milliseconds an image of each step, timed with nothing beside it."""

    inference: float
    read: float
    hash: float
    decode: float

    @property
    def limit(self) -> float:
        """Images a second, were there nothing else to do and no core ever idle."""
        return 1000 * CORES / (self.inference + self.read + self.hash + self.decode)

    def __str__(self) -> str:
        return (
            f"inference {self.inference:.2f}, read {self.read:.3f}, hash {self.hash:.3f}, decode and "
            f"resize {self.decode:.3f} core-ms an image"
        )


def alone(files: Sequence[Path], model: Model) -> Alone:
    """Each step by itself, on files that the system has in memory."""
    for file in files:
        file.read_bytes()
    whole = [file.read_bytes() for file in files]
    pictures = [decode(data, size=model.input_size).pixels for data in whole]
    batch = np.stack([pictures[number % len(pictures)] for number in range(256)])
    return Alone(
        # On all cores at once: that is how fast it can be.
        inference=CORES * _mean_ms(lambda: model.runtime.infer(batch), seconds=4.0) / len(batch),
        read=_mean_ms(lambda: [file.read_bytes() for file in files]) / len(files),
        hash=_mean_ms(lambda: [hashlib.sha256(data).hexdigest() for data in whole]) / len(files),
        decode=_mean_ms(lambda: [decode(data, size=model.input_size) for data in whole])
        / len(files),
    )


def _mean_ms(work: Callable[[], object], *, seconds: float = 1.0) -> float:
    """Over a while and not the best of a few, which is luck: a drain cannot pick its moments either."""
    work()
    times, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        work()
        times += 1
    return 1000 * taken / times


_RECORDED = "SELECT coalesce(sum(images), 0) FROM tally"
"""From the kept aggregates: to count the rows would take longer the more there are."""


def recorded(station: Station) -> int:
    return int(station.query(_RECORDED)[0][0])


def drain_rate(station: Station, images: int) -> float:
    """Images a second from the first batch's rows to the last image's move.

    Without the time that the files must first hold still for (`intake.quiet_seconds`).
    """
    first = wait_until(lambda: recorded(station), seconds=120)
    start = time.perf_counter()
    pending = "SELECT 1 FROM image WHERE progress = 'pending' LIMIT 1"
    # One connection: to open it for every question takes half a millisecond of what is measured.
    with closing(sqlite3.connect(f"file:{station.database}?mode=ro", uri=True)) as connection:
        wait_until(
            lambda: (
                connection.execute(_RECORDED).fetchone()[0] >= images
                and not connection.execute(pending).fetchone()
            ),
            seconds=900,
            what=f"{images} images are recorded and moved",
            every=_POLL_SECONDS,
        )
    return (images - first) / (time.perf_counter() - start)


@contextmanager
def rows_as_seen(station: Station) -> Iterator[dict[str, float]]:
    """When this process sees each new row, by file name, on `time.perf_counter`; to 2 ms.

    By one connection: to open one for each look takes a fifth of a core from what is measured.
    """
    seen: dict[str, float] = {}
    ready, over = threading.Event(), threading.Event()

    def look() -> None:
        with closing(sqlite3.connect(f"file:{station.database}?mode=ro", uri=True)) as connection:
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM image").fetchone()
            ready.set()
            while not over.wait(_LOOK_SECONDS):
                new = "SELECT id, filename FROM image WHERE id > ?"
                rows = connection.execute(new, (last,)).fetchall()
                now = time.perf_counter()
                for last, filename in rows:  # noqa: B007 -- the next look goes on from the last
                    seen[filename] = now

    reader = threading.Thread(target=look)
    reader.start()
    assert ready.wait(10)
    try:
        yield seen
    finally:
        over.set()
        reader.join()


def waits(
    station: Station, name: str, *, per_second: float, enough: Callable[[int], bool]
) -> list[float]:
    """Drop at a steady pace until so many are enough; milliseconds from each drop to its row."""
    dropped: dict[str, float] = {}
    pace = threading.Event()
    with rows_as_seen(station) as seen:
        start = time.perf_counter()
        while not enough(len(dropped)):
            number = len(dropped)
            pace.wait(max(0.0, start + number / per_second - time.perf_counter()))
            surface = KNOWN_DEFECTS[number % len(KNOWN_DEFECTS)]
            data = surface_file(surface, seed=number)
            station.drop(station.cameras[number % 2], f"{name}-{number}.jpg", data)
            dropped[f"{name}-{number}.jpg"] = time.perf_counter()
        wait_until(lambda: len(seen) == len(dropped), what="every row is there")
    return [(seen[each] - at) * 1000 for each, at in dropped.items()]


def resident_mib(pid: int, what: str = "VmRSS") -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = (int(line.split()[1]) for line in lines if line.startswith(what))
    return found / 1024
