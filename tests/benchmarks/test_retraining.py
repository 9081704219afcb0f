"""What a retraining costs the line: the time from a file to its row, idle and while a run goes on.

The shipped model, the real command, the real run at its low priority; both halves in one go on the same
daemon. Ratios are printed and nothing is asserted about time.
"""

import os
import time
from pathlib import Path
from statistics import median

import pytest
from builders import Station, surface_file
from composed import by_hand
from speed import waits

from daemon.clock import now_utc
from daemon.process.control import ask
from daemon.review.labelling import Labeller
from models.registry import PRETRAINED
from models.taxonomy import KNOWN_DEFECTS, NO_DEFECT

LABELS = int(os.environ.get("RETRAINING_LABELS", "500"))
PER_SECOND = 10
IDLE_IMAGES = 300


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_the_line_is_judged_nearly_as_soon_while_a_model_is_made(tmp_path: Path) -> None:
    tables = {"model": {"runtime": "auto"}, "retraining": {"threads": 1}}
    station = Station(root=tmp_path, model=PRETRAINED, tables=tables)
    _label(station)
    with station.process():
        idle = waits(station, "idle", per_second=PER_SECOND, enough=lambda fed: fed >= IDLE_IMAGES)
        started = time.perf_counter()
        run = ask(station.state_dir, "retrain", seconds=60.0)["run"]
        during = waits(
            station,
            "during",
            per_second=PER_SECOND,
            enough=lambda _: station.status()["retraining"]["running"] != run,
        )
        seconds = time.perf_counter() - started
        last = station.status()["retraining"]["last_run"]
    assert last["state"] == "done", last["reason"]
    print(
        f"\nretraining on {LABELS} labels: {seconds:.0f} s; {last['reason']}"
        f"\ndrop to row at {PER_SECOND} images/s, in ms: idle median {median(idle):.0f}, 99th "
        f"{_p99(idle):.0f} ({len(idle)} images); during a retraining median {median(during):.0f}, "
        f"99th {_p99(during):.0f} ({len(during)} images)"
        f"\nratio of the 99th percentiles: {_p99(during) / _p99(idle):.2f}"
    )


def _label(station: Station) -> None:
    """Drawn images, half of them sound, that the line judged and a person labelled."""
    surfaces = [
        NO_DEFECT if number % 2 else KNOWN_DEFECTS[number // 2 % len(KNOWN_DEFECTS)]
        for number in range(LABELS)
    ]
    for number, surface in enumerate(surfaces):
        data = surface_file(surface, seed=10_000 + number)
        station.drop("top-1", f"labelled-{number}-{surface}.jpg", data)
    with by_hand(station.settings()) as line:
        line.work_until(lambda: station.count() == LABELS)
        labeller = Labeller(
            station.settings(), database=line.database, health=line.health, clock=now_utc
        )
        for image_id, name in station.query("SELECT id, filename FROM inspections"):
            surface = name.removesuffix(".jpg").split("-", 2)[2]
            labeller.label(image_id, surface, "eva", seen=0)


def _p99(times: list[float]) -> float:
    return sorted(times)[max(0, len(times) * 99 // 100 - 1)]
