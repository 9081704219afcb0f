"""Places that take no more images, and a database that cannot be written (rows 22 and 23)."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
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
from commands import Millwatch
from composed import by_hand
from filesystems import filesystem, full, read_only

from config.loading import check_settings
from daemon.checking import state_problems
from daemon.serving import load_serving_model
from models.preprocessing import decode
from models.taxonomy import NO_DEFECT, Verdict


def surfaces_that_pass(station: Station) -> Iterator[bytes]:
    model = load_serving_model(station.settings())
    for seed in range(200, 300):
        data = surface_file(NO_DEFECT, seed=seed)
        pixels = decode(data, size=model.input_size).pixels
        if model.judge(np.expand_dims(pixels, 0))[0].verdict is Verdict.PASS:
            yield data


@pytest.fixture
def commissioned(tmp_path: Path, commissioned_model: Path) -> Station:
    tables = {"policy": {"max_missed_defect_rate": 0.5}}
    return Station(root=tmp_path, model=commissioned_model, tables=tables)


@pytest.mark.fault(22)
@pytest.mark.parametrize(
    ("place", "blocked", "remedy"),
    [
        ("archive", full, "free space there"),
        (
            "archive",
            read_only,
            "mount it read-write; where systemd runs Millwatch, `millwatch-configure` as root",
        ),
        ("quarantine", full, "free space there"),
    ],
    ids=["full archive", "read-only archive", "full quarantine"],
)
def test_a_place_that_takes_no_images_keeps_only_its_own_waiting_and_is_told_once(
    commissioned: Station,
    place: str,
    blocked: Callable[[Path], AbstractContextManager[None]],
    remedy: str,
) -> None:
    station = commissioned
    clean = surfaces_that_pass(station)
    one_for = {
        "archive": lambda: next(clean),
        "quarantine": lambda: b"no picture",
        "review": lambda: surface_file("scratches", seed=1),
    }
    others = [name for name in one_for if name != place]
    folder = station.state_dir / place

    def moving() -> str:
        return station.troubles().get("moving", "")

    with filesystem(folder, size="200k"), structlog.testing.capture_logs() as logs:
        with station.running():
            station.drop("top-1", "before.jpg", one_for[place]())
            station.wait_for_images(1)
            with blocked(folder):
                kept = station.drop("top-1", "kept.jpg", one_for[place]())
                wait_until(lambda: "kept.jpg" in moving(), what="the first is told")
                for name in others:
                    station.drop("bottom-1", f"{name}.jpg", one_for[name]())
                later = station.drop("top-1", "later.jpg", one_for[place]())
                wait_until(lambda: "later.jpg" in moving(), what="the second is told")
                wait_until(lambda: "kept.jpg" in moving(), what="the first was tried again")
                wait_until(lambda: station.count() == 5, what="each is recorded")
                pending = "SELECT filename FROM image WHERE progress = 'pending' ORDER BY 1"
                wait_until(lambda: station.query(pending) == [("kept.jpg",), ("later.jpg",)])
                assert str(folder) in moving()
                assert moving().endswith(f"; {remedy}")
                assert kept.exists()
                assert later.exists()
            station.wait_for_images(5)
            wait_until(lambda: station.troubles() == {}, what="every trouble is mended")
        assert_every_image_accounted_for(station)
        paths = [path for (path,) in station.query("SELECT path FROM inspections")]
        assert sum(Path(path).is_relative_to(folder) for path in paths) == 3
    told = [entry["event"] for entry in logs if entry.get("trouble") == "moving"]
    assert told == ["degraded", "mended"]


@pytest.mark.fault(23)
def test_a_database_on_a_disk_that_became_read_only_stops_the_line_until_it_is_mended(
    tmp_path: Path, model: Path
) -> None:
    disk = tmp_path / "disk"
    review = {"review": {"folder": str(tmp_path / "review")}}
    with filesystem(disk, size="8m"):
        station = Station(root=tmp_path, model=model, tables=review, state=disk / "state")
        with by_hand(station.settings()) as line:
            station.drop("top-1", "before.jpg", surface_file(seed=1))
            line.work_until(lambda: station.count() == 1)
            # No disk becomes read-only in good order while a file is open for writing.
            line.database.close()
            with read_only(disk):
                kept = station.drop("top-1", "during.jpg", surface_file(seed=2))
                line.work_until(lambda: "database" in line.health.troubles())
                line.work_until(lambda: "camera top-1 rescan" in line.health.troubles())
                assert kept.exists()
            line.work_until(lambda: station.count() == 2 and line.health.troubles() == {})
            station.wait_for_images(2)
        assert_every_image_accounted_for(station)


@pytest.mark.fault(23)
def test_a_daemon_that_may_write_no_byte_more_lives_and_goes_on_when_it_may(
    millwatch: Millwatch, station: Station
) -> None:
    """Each write fails, in the database and beside it, as on a disk that is failing."""
    with station.process() as process:
        station.drop_surfaces(2)
        station.wait_for_images(2)
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, hard))
        station.drop_surfaces(6, first=2)
        wait_until(lambda: "database" in station.troubles(), what="the database is told")
        told = millwatch("review", "label", "1", "scratches", "--config", station.config)
        assert told.err.startswith("millwatch: review label: nothing was changed: the database")
        assert station.count() == 2
        assert sum(1 for _ in (station.root / "cameras").rglob("*.jpg")) == 6
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        station.wait_for_images(8)
        wait_until(lambda: station.troubles() == {}, what="every trouble is mended")
        assert process.poll() is None
    assert_every_image_accounted_for(station)


@pytest.mark.fault(22)
def test_a_review_folder_that_is_read_only_at_a_start_too_keeps_images_waiting_and_mends(
    tmp_path: Path, model: Path
) -> None:
    """As a share may be after a power cut: the line is judged meanwhile."""
    disk = tmp_path / "disk"
    with filesystem(disk, size="4m"):
        review = {"review": {"folder": str(disk / "review")}}
        station = Station(root=tmp_path, model=model, tables=review)
        with station.process() as process:
            station.drop("top-1", "before.jpg", surface_file(seed=1))
            station.wait_for_images(1)
            assert stop_process(process, signal.SIGKILL)
        kept = station.drop("top-1", "during.jpg", surface_file(seed=2))
        with read_only(disk), station.process() as process:
            wait_until(lambda: "Read-only" in station.troubles().get("moving", ""))
            assert station.count() == 2
            assert kept.exists()
            assert stop_process(process, signal.SIGKILL)
        with station.running():
            station.wait_for_images(2)
            wait_until(lambda: station.troubles() == {}, what="every trouble is mended")
        assert_every_image_accounted_for(station)


@pytest.mark.fault(23)
def test_a_start_on_a_read_only_disk_fails_in_words_and_may_be_tried_again(
    tmp_path: Path, model: Path
) -> None:
    """With 78 systemd would leave it at that, though the disk be mended a minute later."""
    disk = tmp_path / "disk"
    review = {"review": {"folder": str(tmp_path / "review")}}
    with filesystem(disk, size="8m"):
        station = Station(root=tmp_path, model=model, tables=review, state=disk / "state")
        with station.running():
            station.drop("top-1", "before.jpg", surface_file(seed=1))
            station.wait_for_images(1)
        station.drop("top-1", "during.jpg", surface_file(seed=2))
        with read_only(disk):
            done = run_cli("run", "--config", station.config)
            assert done.returncode == 1
            assert "mount it read-write" in done.stderr
            assert "Traceback" not in done.stderr
            _, problems = check_settings(station.config, {}, further=(state_problems,))
            assert ["mounted read-only" in problem.what for problem in problems] == [True]
        with station.running():
            station.wait_for_images(2)
        assert_every_image_accounted_for(station)
