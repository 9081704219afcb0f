"""Four hundred real images through the daemon with the model that ships, killed on the way.

    NEU_DET_DIR=/path/to/NEU-DET make test PYTEST_ARGS="-s tests/acceptance/test_real_images.py"

Accuracy is not judged here: the shipped model has seen most of these images. The figures printed are
speed, latency and memory; what is asserted is that every image is accounted for.
"""

import os
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from builders import Station, assert_every_image_accounted_for, stop_process, wait_until
from speed import rows_as_seen

from models.registry import PRETRAINED

IMAGES = 400
FEED_PER_SECOND = 10
NEU_DET = os.environ.get("NEU_DET_DIR")

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(NEU_DET is None, reason="set NEU_DET_DIR to a folder with NEU-DET's train/"),
]


@pytest.fixture
def line(tmp_path: Path) -> Station:
    # Tests with a model of their own take torch; what is measured here is what serves on a line.
    return Station(root=tmp_path, model=PRETRAINED, tables={"model": {"runtime": "auto"}})


def real_images() -> list[Path]:
    """Evenly over the classes, by name."""
    folders = sorted((Path(NEU_DET or "") / "train" / "images").iterdir())
    by_turns = zip(*(sorted(folder.glob("*.jpg")) for folder in folders), strict=True)
    return [image for images in by_turns for image in images][:IMAGES]


def drop(line: Station, images: list[Path]) -> None:
    for number, image in enumerate(images):
        line.drop(line.cameras[number % 2], image.name, image.read_bytes())


def test_400_real_images_are_judged_and_each_lies_where_its_row_says(line: Station) -> None:
    images = real_images()
    with line.process() as process:
        start = time.perf_counter()
        drop(line, images)
        line.wait_for_images(IMAGES)
        seconds = time.perf_counter() - start
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        assert stop_process(process) == 0
    assert_every_image_accounted_for(line)
    rows = line.query("SELECT filename, predicted_class, verdict FROM inspections")
    assert len(rows) == IMAGES
    right = sum(name.rsplit("_", 1)[0] == predicted for name, predicted, _ in rows)
    assert peak
    print(
        f"\n{IMAGES} images in {seconds:.1f} s: {IMAGES / seconds:.1f} images/s; "
        f"peak memory {int(peak[1]) / 1024:.0f} MiB; class as its file name says: {right}; "
        f"verdicts {dict(Counter(verdict for *_, verdict in rows))}"
    )


def test_latency_from_drop_to_row_on_a_line_that_is_not_full(line: Station) -> None:
    images = real_images()[:200]
    dropped: dict[str, float] = {}
    pace = threading.Event()
    with line.process() as process:
        with rows_as_seen(line) as seen:
            start = time.perf_counter()
            for number, image in enumerate(images):
                pace.wait(max(0.0, start + number / FEED_PER_SECOND - time.perf_counter()))
                line.drop(line.cameras[number % 2], image.name, image.read_bytes())
                dropped[image.name] = time.perf_counter()
            wait_until(lambda: len(seen) == len(images), what="every row is there")
        assert stop_process(process) == 0
    assert_every_image_accounted_for(line)
    waits = sorted((seen[name] - dropped[name]) * 1000 for name in dropped)
    median, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100 - 1]
    print(
        f"\ndrop to committed row at {FEED_PER_SECOND} images/s, seen by another process: "
        f"median {median:.0f} ms, 99th percentile {p99:.0f} ms ({len(waits)} images)"
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_in_the_middle_and_started_again_leaves_the_same_400(
    line: Station, number: signal.Signals
) -> None:
    with line.process() as process:
        drop(line, real_images())
        wait_until(lambda: line.count() >= IMAGES // 4, what="a quarter of the images is recorded")
        stop_process(process, number)
    between = line.count()
    assert IMAGES // 4 <= between < IMAGES
    with line.process() as process:
        line.wait_for_images(IMAGES)
        assert stop_process(process) == 0
    assert_every_image_accounted_for(line)
    assert line.count() == IMAGES
    print(
        f"\n{number.name} after {between} of {IMAGES} rows; {line.count()} rows after the restart"
    )
