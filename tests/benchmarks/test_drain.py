"""How near a drain comes to what the machine could do at best, and how far it is ahead of others.

All sides run in one go on the same files, one after the other. Ratios are printed, and nothing is
asserted about time. For Ultralytics make an environment that has it, outside of this folder, and name
its Python: BENCH_ULTRALYTICS=/path/to/venv/bin/python.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import pytest
from builders import assert_every_image_accounted_for, clean_environment, stop_process
from speed import (
    CORES,
    LARGE,
    SMALL,
    alone,
    drain_rate,
    jpegs,
    machine,
    shipped_model,
    shipped_station,
)

from models.registry import PRETRAINED

RIVALS = Path(__file__).with_name("rivals.py")
ULTRALYTICS = os.environ.get("BENCH_ULTRALYTICS", "")
IMAGES = {
    SMALL: int(os.environ.get("BENCH_SMALL", "5000")),
    LARGE: int(os.environ.get("BENCH_LARGE", "500")),
}
DIFFERENT = {SMALL: 100, LARGE: 7}
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SHOWN_TO_RIVALS = {SMALL: 200, LARGE: 70}


@pytest.mark.benchmark
@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_drain_of_a_folder_against_the_limit_and_against_others(tmp_path: Path, size: str) -> None:
    files = jpegs(size, DIFFERENT[size])
    rivals_folder = tmp_path / "rivals"
    rivals_folder.mkdir()
    for number in range(SHOWN_TO_RIVALS[size]):
        (rivals_folder / f"{number:05d}.jpg").write_bytes(files[number % len(files)])
    model = shipped_model()
    known = sorted(rivals_folder.iterdir())[: 3 * DIFFERENT[size]]
    loop = _rival(sys.executable, "torch", rivals_folder, model.input_size)
    yolo = _rival(ULTRALYTICS, "ultralytics", rivals_folder, model.input_size)

    # Before each and after it: a machine that others share is faster now and slower then, by some percent.
    beside = [alone(known, model)]
    drains = []
    for number in range(ROUNDS):
        drains.append(_drain(tmp_path / f"line-{number}", size, files))
        beside.append(alone(known, model))
    limits = [2 / (1 / before.limit + 1 / after.limit) for before, after in pairwise(beside)]
    ratios = [drain / limit for drain, limit in zip(drains, limits, strict=True)]
    print(
        f"\n{machine()}"
        f"\n{size} JPEG of {len(files[0]) // 1024} KiB, {model.runtime.name}, input {model.input_size} px"
    )
    for number, each in enumerate(beside):
        print(f"alone: {each}; {1000 * CORES / each.inference:.1f} images/s by inference alone")
        if number < ROUNDS:
            print(
                f"drain, drop folder to database and review folder: {drains[number]:.1f} images/s, "
                f"of {limits[number]:.1f} in the limit: {ratios[number]:.3f}"
            )
    drain = fmean(drains)
    print(
        f"drain / limit, in the mean: {fmean(ratios):.3f}"
        f"\n{_against('plain PyTorch loop that only predicts', drain, loop)}"
        f"\n{_against('Ultralytics yolo11n-cls', drain, yolo)}"
    )


def _drain(root: Path, size: str, files: Sequence[bytes]) -> float:
    station = shipped_station(root)
    for number in range(IMAGES[size]):
        # The first camera's folder alone: one lane has to keep the whole machine busy.
        station.drop("top-1", f"{number:05d}.jpg", files[number % len(files)])
    with station.process() as process:
        drain = drain_rate(station, IMAGES[size])
        assert stop_process(process) == 0
    assert_every_image_accounted_for(station)
    return drain


def _rival(python: str, which: str, folder: Path, side: int) -> float | None:
    """Images a second, in a process of its own with as many threads as it likes."""
    if not python:
        return None
    environment = {
        **clean_environment(),
        "YOLO_OFFLINE": "true",
        "YOLO_CONFIG_DIR": str(folder.parent),
    }
    environment.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(
        [python, RIVALS, which, folder, str(side), PRETRAINED],
        env={**environment, "PYTHONPATH": str(RIVALS.parents[2])},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


def _against(name: str, drain: float, other: float | None) -> str:
    if other is None:
        return (
            f"{name}: not measured; set BENCH_ULTRALYTICS to the Python of an environment with it"
        )
    return f"{name}: {other:.1f} images/s, drain / it: {drain / other:.2f}"
