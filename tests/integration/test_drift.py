"""Cameras whose images change, on a line that runs."""

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from builders import INPUT_SIZE, Station, surface_file, wait_until
from commands import Millwatch
from composed import by_hand
from PIL import Image

from daemon.clock import now_utc
from daemon.drift.measuring import measure
from models.preprocessing import decode


def drop_on(station: Station, name: str, data: bytes, *, days_ago: int) -> None:
    """Deliver an image that was captured some days ago."""
    partial = station.folder("top-1") / ".delivery.part"
    partial.write_bytes(data)
    moment = (datetime.now(UTC) - timedelta(days=days_ago)).timestamp()
    os.utime(partial, (moment, moment))
    partial.rename(station.folder("top-1") / name)


def flat(folder: Path, level: int, number: int) -> bytes:
    """An image of one brightness; no two of them are the same file."""
    path = folder / "flat.png"
    pixels = np.full((96, 96), level, np.uint8)
    pixels[0, 0] = number
    Image.fromarray(pixels).save(path)
    return path.read_bytes()


@pytest.mark.fault(66)
def test_a_camera_that_gets_darker_is_told_with_figures_until_it_is_accepted(
    tmp_path: Path, model: Path, millwatch: Millwatch
) -> None:
    drift = {"min_images": 2, "max_mix_change": 1, "max_novelty_change": 1000}
    station = Station(root=tmp_path, model=model, cameras=("top-1",), tables={"drift": drift})
    for number in range(12):
        drop_on(station, f"{number}.png", flat(tmp_path, 160, number), days_ago=1 + number // 2)
    for number in range(12, 14):
        drop_on(station, f"{number}.png", flat(tmp_path, 70, number), days_ago=0)
    with station.running():
        station.wait_for_images(14)
    with station.running():  # it is looked for after a start, and then once a minute
        troubles = wait_until(station.troubles)
        running = {thread.name for thread in threading.enumerate()}
        assert "retraining" in running
        assert "alarms" not in running, "without an alarm nothing is there that calls anybody"
        assert troubles.keys() == {"brightness of top-1"}
        told = troubles["brightness of top-1"]
        assert "darker than it was: brightness 70 of 255" in told
        assert "before that 160 (6 days from" in told
        unknown = millwatch("drift", "accept", "nose-1", "--config", station.config)
        assert unknown.status == 1
        assert "there is no camera 'nose-1'; there are top-1" in unknown.err
        done = millwatch("drift", "accept", "top-1", "--config", station.config)
        today = f"{now_utc():%Y-%m-%d}"
        # The daemon in this process may log beside it.
        assert done.out.endswith(f"camera top-1 is compared with its days from {today} on\n")
        wait_until(lambda: station.troubles() == {}, what="it is accepted")
    with station.running():
        wait_until(lambda: station.status()["state"] == "running")
        assert station.troubles() == {}
    assert station.query("SELECT camera, since FROM drift_reference") == [("top-1", today)]
    without = millwatch("drift", "accept", "top-1", "--config", station.config)
    assert without.status == 0, "nor is a daemon needed"


@pytest.mark.fault(66)
def test_a_restart_does_not_tell_that_a_black_or_stuck_camera_is_well(
    tmp_path: Path, model: Path
) -> None:
    cameras = ("top-1", "bottom-1")
    drift = {"images_in_a_row": 3}
    station = Station(root=tmp_path, model=model, cameras=cameras, tables={"drift": drift})
    for number in range(3):
        station.drop("top-1", f"{number}.png", flat(tmp_path, 2, number))
        station.drop("bottom-1", f"{number}.jpg", surface_file(seed=5))
    with station.running():
        station.wait_for_images(6)
        wait_until(lambda: station.troubles().keys() == {"black top-1", "stuck bottom-1"})
    with station.running():
        assert station.troubles().keys() == {"black top-1", "stuck bottom-1"}
        for camera in cameras:
            station.drop(camera, "well.jpg", surface_file(seed=6))
        wait_until(lambda: station.troubles() == {}, what="both are well")


def test_what_is_kept_of_a_day_is_what_its_images_look_like(tmp_path: Path, model: Path) -> None:
    station = Station(root=tmp_path, model=model, cameras=("top-1",))
    files = [surface_file(seed=number) for number in range(4)]
    looks = [measure(decode(data, size=INPUT_SIZE).pixels) for data in files]
    with by_hand(station.settings()) as line:
        for number, data in enumerate(files):
            station.drop("top-1", f"{number}.jpg", data)
        station.drop("top-1", "broken.jpg", b"no picture")
        line.work_until(lambda: station.count() == 5)
    kept = "SELECT sum(inspected), avg(brightness), avg(sharpness) FROM camera_days"
    ((inspected, brightness, sharpness),) = station.query(kept)
    assert inspected == 4
    assert brightness == pytest.approx(np.mean([look.brightness for look in looks]))
    assert sharpness == pytest.approx(np.mean([look.sharpness for look in looks]))
    ((novelty, unknown),) = station.query("SELECT novelty, unknown_rate FROM camera_days")
    told = "SELECT avg(novelty), avg(reason = 'unknown') FROM inspections WHERE novelty NOTNULL"
    assert station.query(told) == [(pytest.approx(novelty), pytest.approx(unknown))]


def test_a_stuck_and_a_black_camera_are_told_while_the_other_goes_on(
    tmp_path: Path, model: Path
) -> None:
    station = Station(root=tmp_path, model=model, tables={"drift": {"images_in_a_row": 4}})
    frame = surface_file(seed=1)
    with by_hand(station.settings()) as line:
        for number in range(4):
            station.drop("top-1", f"{number}.jpg", frame)
            station.drop("bottom-1", f"{number}.png", flat(tmp_path, 0, number))
            line.work_until(lambda done=number: station.count() == 2 * (done + 1))
        assert line.health.troubles().keys() == {"stuck top-1", "black bottom-1"}
        station.drop("top-1", "moves.jpg", surface_file(seed=2))
        line.work_until(lambda: station.count() == 9)
        assert line.health.troubles().keys() == {"black bottom-1"}
