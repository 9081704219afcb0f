"""What a start refuses, or finds in review, and what a daemon says of strange names (rows 20, 25, 32, 64)."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from builders import (
    Station,
    assert_every_image_accounted_for,
    run_cli,
    stop_process,
    surface_file,
    wait_until,
)

from daemon.names import to_text
from daemon.serving import point_to

ON_A_LINE = {"MILLWATCH_MODEL__RUNTIME": "openvino"}  # to import torch takes long


def spoil_the_database(station: Station) -> Path:
    with station.database.open("r+b") as file:
        file.write(os.urandom(100))
    return station.database


def spoil_the_model(station: Station) -> Path:
    weights = station.model / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(weights.stat().st_size // 2)
        file.write(bytes(1000))
    return station.model


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(spoil_the_database, marks=pytest.mark.fault(25)),
        pytest.param(spoil_the_model, marks=pytest.mark.fault(32)),
    ],
    ids=lambda fault: fault.__name__,
)
def test_a_line_that_cannot_serve_refuses_to_start_and_touches_no_image(
    tmp_path: Path, model: Path, fault: Callable[[Station], Path]
) -> None:
    station = Station(root=tmp_path, model=shutil.copytree(model, tmp_path / "model"))
    with station.running():
        station.drop("top-1", "before.jpg", surface_file(seed=1))
        station.wait_for_images(1)
    sound = tmp_path / "sound"
    shutil.copytree(station.state_dir, sound / "state")
    shutil.copytree(station.model, sound / "model")
    culprit = fault(station)
    damaged = station.database.read_bytes()
    waiting = station.drop("top-1", "waiting.jpg", surface_file(seed=2))

    done = run_cli("run", "--config", station.config, **ON_A_LINE)

    assert done.returncode == 78
    assert str(culprit) in done.stderr
    assert "Traceback" not in done.stderr
    assert waiting.exists()
    assert station.database.read_bytes() == damaged

    shutil.copytree(sound / "model", station.model, dirs_exist_ok=True)
    shutil.copytree(sound / "state", station.state_dir, dirs_exist_ok=True)
    with station.running():
        station.wait_for_images(2)
    shutil.rmtree(sound)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(32)
def test_a_promoted_model_serves_though_the_one_that_the_line_began_with_was_deleted(
    tmp_path: Path, model: Path, commissioned_model: Path
) -> None:
    """As somebody may who sees that it serves no more; the next start is in the night."""
    station = Station(root=tmp_path, model=shutil.copytree(model, tmp_path / "model"))
    promoted = station.state_dir / "models" / "tiny-7-0"
    shutil.copytree(commissioned_model, promoted)
    point_to(station.settings(), promoted)
    shutil.rmtree(station.model)
    with station.process():
        assert station.status()["model_version"] == "tiny-7-0"
    shutil.rmtree(promoted)
    assert run_cli("run", "--config", station.config, **ON_A_LINE).returncode == 78


@pytest.mark.fault(64)
def test_a_new_database_gives_no_number_that_stands_in_a_name_in_review(station: Station) -> None:
    """As where the disk of `state_dir` is not mounted: whoever looks in review took one for another."""
    with station.running():
        station.drop_surfaces(3)
        station.wait_for_images(3)
    shutil.rmtree(station.state_dir)
    with structlog.testing.capture_logs() as logs, station.running():
        station.drop_surfaces(2, first=3)
        wait_until(lambda: station.count() == 2)
        found = station.ask("review conflicts")["conflicts"]
    assert station.query("SELECT id FROM inspections ORDER BY id") == [(4,), (5,)]
    assert {each["problem"] for each in found} == {"stranger"}
    assert len(found) == 3
    assert "the database is new" in str(logs)
    with structlog.testing.capture_logs() as logs, station.running():
        station.drop_surfaces(1, first=5)
        wait_until(lambda: station.count() == 3)
    assert "the database is new" not in str(logs)


@pytest.mark.fault(20)
def test_no_name_breaks_a_line_of_the_log(station: Station) -> None:
    names = [
        os.fsdecode(b"latin-\xe9\xff.jpg"),
        "new\nline\r.jpg",
        "\x1b[2Jclear\x1b]0;title\x07.jpg",
        'quote"},{"level":"info.jpg',
        "\u2028\u202egpj.jpg",
    ]
    for name in names:
        (station.folder("top-1") / name).symlink_to("/nowhere")
    with station.process() as process:
        station.drop("bottom-1", "good.jpg", surface_file(seed=1))
        station.wait_for_images(1)
        told_of = (station.root / "daemon.log").read_bytes
        wait_until(lambda: told_of().count(b"not a regular file") == len(names))
        assert stop_process(process) == 0
    log = (station.root / "daemon.log").read_bytes()
    assert log.isascii()
    assert b"\x1b" not in log
    entries = [json.loads(line) for line in log.splitlines()]
    told = [entry["path"] for entry in entries if "not a regular file" in entry["event"]]
    folder = station.folder("top-1")
    assert sorted(told) == sorted(to_text(folder / name) for name in names)
