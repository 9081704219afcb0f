"""How near a drain comes to what the machine could do at best, and how far it is ahead of others.

All sides run in one go on the same files, one after the other. Ratios are printed, and nothing is
asserted about time. For Ultralytics make an environment that has it, outside of this folder, and name
its Python: BENCH_ULTRALYTICS=/path/to/venv/bin/python.
"""

import os
import subprocess
import sys
from pathlib import Path

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

    station = shipped_station(tmp_path / "line")
    for number in range(IMAGES[size]):
        # The first camera's folder alone: one lane has to keep the whole machine busy.
        data = files[number % len(files)]
        station.drop("top-1", f"{number:05d}.jpg", data)
    # Before and after: a machine that others share is faster now and slower then, by some percent.
    before = alone(known, model)
    with station.process() as process:
        runtime = station.status()["runtime"]
        drain = drain_rate(station, IMAGES[size])
        assert stop_process(process) == 0
    after = alone(known, model)
    limit = 2 / (1 / before.limit + 1 / after.limit)
    assert_every_image_accounted_for(station)
    print(
        f"\n{machine()}"
        f"\n{size} JPEG of {len(files[0]) // 1024} KiB, {runtime}, input {model.input_size} px"
        f"\nalone, before: {before}"
        f"\nalone, after: {after}"
        f"\nraw inference {1000 * CORES / before.inference:.1f} images/s, then "
        f"{1000 * CORES / after.inference:.1f}; the journey's limit {before.limit:.1f} images/s, "
        f"then {after.limit:.1f}, in the middle {limit:.1f}"
        f"\ndrain, drop folder to database and review folder: {drain:.1f} images/s"
        f"\ndrain / limit: {drain / limit:.3f}"
        f"\n{_against('plain PyTorch loop that only predicts', drain, loop)}"
        f"\n{_against('Ultralytics yolo11n-cls', drain, yolo)}"
    )


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
