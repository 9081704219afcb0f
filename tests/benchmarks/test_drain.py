"""How much of a plain prediction loop's speed is left when nothing may be lost.

Both sides run in one go on the same files, the shipped model and the same machine; a ratio is printed
and nothing is asserted about time.
"""

import time
from pathlib import Path

import numpy as np
import pytest
from builders import Station, assert_every_image_accounted_for, surface_file

from config.settings import Policy as PolicySettings
from models.decision import Policy
from models.preprocessing import decode
from models.registry import PRETRAINED, load_model

IMAGES = 400
BATCH = 32


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_drain_of_a_backlog_against_a_loop_that_only_predicts(tmp_path: Path) -> None:
    station = Station(root=tmp_path, model=PRETRAINED)
    for number in range(IMAGES):
        camera = station.cameras[number % 2]
        station.drop(camera, f"{number:04d}.jpg", surface_file(seed=number))
    loop = _loop(sorted((tmp_path / "cameras").rglob("*.jpg")))
    with station.running():
        start = time.perf_counter()
        station.wait_for_images(IMAGES)
        drain = time.perf_counter() - start
        latency = station.status()["latency_ms"]
    assert_every_image_accounted_for(station)
    print(
        f"\nloop that only predicts: {IMAGES / loop:.1f} images/s"
        f"\ndaemon, drop folder to review folder: {IMAGES / drain:.1f} images/s"
        f"\nratio: {loop / drain:.2f}   ({latency['images']} latencies kept)"
    )


def _loop(files: list[Path]) -> float:
    defaults = PolicySettings()
    policy = Policy(
        normal_classes=defaults.normal_classes,
        max_missed_defect_rate=defaults.max_missed_defect_rate,
        min_defect_confidence=defaults.min_defect_confidence,
    )
    model = load_model(PRETRAINED, policy=policy)
    model.judge(np.zeros((BATCH, model.input_size, model.input_size), dtype=np.uint8))
    start = time.perf_counter()
    for first in range(0, len(files), BATCH):
        pictures = [
            decode(path.read_bytes(), size=model.input_size).pixels
            for path in files[first : first + BATCH]
        ]
        model.judge(np.stack(pictures))
    return time.perf_counter() - start
