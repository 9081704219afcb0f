"""Commissioning day: a new camera's surface, labelled by moving files, learned, judged by the gate.

    NEU_DET_DIR=... MAGNETIC_TILE_DIR=... make test PYTEST_ARGS="-n 0 -s tests/acceptance/test_commissioning.py"

What is asserted is what is promised: nothing passes before it was learned, hardly a labelled kind of
defect passes then, the six known ones are known as before, and every image is accounted for. How many
clean tiles pass, and how many kinds that nobody labelled, is printed: of a second pass at the missed-defect
rate that is the default, and of a third at one in seventy, which needs no retraining.
"""

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from builders import Station, assert_every_image_accounted_for, run_cli, wait_until

from models.registry import PRETRAINED
from training.data.manifest import Part
from training.data.neu_det import prepare

NEU_DET = os.environ.get("NEU_DET_DIR")
TILES = os.environ.get("MAGNETIC_TILE_DIR")
LABELS = {"MT_Free": 150, "MT_Blowhole": 25, "MT_Break": 20, "MT_Uneven": 25}
NAMES = {"MT_Free": "no_defect"}
NEVER_LABELLED = ("MT_Crack", "MT_Fray")

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        NEU_DET is None or TILES is None,
        reason="set NEU_DET_DIR to NEU-DET and MAGNETIC_TILE_DIR to the magnetic tiles",
    ),
]


@pytest.fixture
def line(tmp_path: Path) -> Station:
    tables = {"model": {"runtime": "auto"}, "retraining": {"threads": 2}}
    return Station(root=tmp_path, model=PRETRAINED, cameras=("tiles", "strip"), tables=tables)


def tiles() -> dict[str, list[Path]]:
    """By kind, in an order that their names do not explain."""
    folders = sorted(each for each in Path(TILES or "").iterdir() if each.is_dir())
    return {
        folder.name: sorted(folder.rglob("*.jpg"), key=lambda path: path.stem[::-1])
        for folder in folders
    }


def strip_to_test() -> list[tuple[str, Path]]:
    """Of NEU-DET what no training of the shipped model saw, as its card says."""
    manifest, _ = prepare(Path(NEU_DET or ""), select_percent=10, test_percent=5)
    return [(image.label, manifest.root / image.path) for image in manifest.of_part(Part.TEST)]


def drop(line: Station, camera: str, which: str, images: dict[str, list[Path]]) -> None:
    for kind, paths in images.items():
        for path in paths:
            line.drop(camera, f"{which}/{kind}/{path.name}", path.read_bytes())


def of_pass(line: Station, which: str) -> dict[str, Counter[str]]:
    """Verdicts by kind, in one of the passes."""
    rows = line.query(
        "SELECT filename, verdict FROM inspections WHERE camera = 'tiles' AND filename LIKE ?",
        f"{which}/%",
    )
    counted: dict[str, Counter[str]] = {}
    for filename, verdict in rows:
        counted.setdefault(filename.split("/")[1], Counter())[verdict] += 1
    return counted


def strip_right(line: Station, which: str) -> int:
    rows = line.query(
        "SELECT filename, predicted_class FROM inspections WHERE camera = 'strip' AND filename LIKE ?",
        f"{which}/%",
    )
    return sum(filename.split("/")[1] == choice for filename, choice in rows)


def label_by_moving(line: Station, images: dict[str, list[Path]]) -> None:
    for kind, count in LABELS.items():
        folder = line.review / "labelled" / NAMES.get(kind, kind.removeprefix("MT_").lower())
        folder.mkdir(parents=True, exist_ok=True)
        for path in images[kind][:count]:
            ((place,),) = line.query(
                "SELECT path FROM inspections WHERE filename = ?", f"first/{kind}/{path.name}"
            )
            Path(place).rename(folder / Path(place).name)
    wait_until(lambda: line.query("SELECT count(*) FROM labels") == [(sum(LABELS.values()),)])


def retrained(line: Station) -> dict[str, Any]:
    run = line.ask("retrain")["run"]
    # Asked each moment, the daemon would take a fifth of a core from the run.
    wait_until(lambda: line.status()["retraining"]["running"] != run, seconds=3000, every=1.0)
    last: dict[str, Any] = line.status()["retraining"]["last_run"]
    assert last["state"] == "done", last["reason"]
    return last


def let_through(line: Station, which: str) -> tuple[int, int]:
    """How many of the labelled kinds passed, and of how many; both told, with what else passed."""
    verdicts = of_pass(line, which)
    clean = verdicts["MT_Free"]
    labelled = [verdicts[kind] for kind in LABELS if kind != "MT_Free"]
    missed, of = sum(kind["pass"] for kind in labelled), sum(kind.total() for kind in labelled)
    print(
        f"{which} pass: {verdicts}\nclean tiles passed: {clean['pass']} of {clean.total()}"
        f"\nlabelled kinds let through: {missed} of {of}"
        f"\nnever labelled, let through: "
        + ", ".join(
            f"{kind} {verdicts[kind]['pass']} of {verdicts[kind].total()}"
            for kind in NEVER_LABELLED
        )
    )
    return missed, of


def allow_one_in_seventy(line: Station, daemon: subprocess.Popen[str]) -> None:
    line.tables["policy"] = {"max_missed_defect_rate": round(1 / 70, 4)}
    line.write_config()
    daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: "configuration reloaded" in (line.root / "daemon.log").read_text())


def test_commissioning_day(line: Station) -> None:
    images, strip = tiles(), strip_to_test()
    by_class: dict[str, list[Path]] = {}
    for label, path in strip:
        by_class.setdefault(label, []).append(path)
    with line.process() as daemon:
        drop(line, "tiles", "first", images)
        drop(line, "strip", "first", by_class)
        line.wait_for_images(sum(map(len, images.values())) + len(strip))
        first = of_pass(line, "first")
        unknown, seen = line.query(
            "SELECT sum(reason = 'unknown'), count(*) FROM inspections WHERE camera = 'tiles'"
        )[0]
        print(f"\nfirst pass: {first}\ncalled unknown: {unknown} of {seen} ({unknown / seen:.1%})")
        assert not sum(kind["pass"] for kind in first.values())

        label_by_moving(line, images)
        last = retrained(line)
        print(f"the gate: {last['reason']}\nfrom {last['started_at']} to {last['ended_at']}")
        version, _, outcome = last["reason"].partition(": ")
        if outcome.startswith("needs_a_person"):
            done = run_cli("models", "promote", version, "--config", line.config)
            assert done.returncode == 0, done.stderr
        wait_until(lambda: line.status()["model_version"] == version)

        others = {kind: paths[LABELS.get(kind, 0) :] for kind, paths in images.items()}
        drop(line, "tiles", "second", others)
        drop(line, "strip", "second", by_class)
        more = sum(map(len, others.values())) + len(strip)
        line.wait_for_images(len(line.dropped))
        assert len(line.dropped) == seen + len(strip) + more
        allow_one_in_seventy(line, daemon)
        drop(line, "tiles", "third", others)
        line.wait_for_images(len(line.dropped))
    before, after = strip_right(line, "first"), strip_right(line, "second")
    print(f"NEU-DET's test part: {before} of {len(strip)} right before, {after} after")
    for which in ("second", "third"):
        missed, of = let_through(line, which)
        assert missed <= -(-of // 70)
    assert after >= before - 0.005 * len(strip)
    assert_every_image_accounted_for(line)
