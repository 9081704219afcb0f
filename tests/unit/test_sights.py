"""Cameras that are stuck, dark, blinded or silent."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from records import finding

from config.oversight import Drift
from config.settings import Camera, Settings
from daemon.drift.measuring import measure
from daemon.drift.sights import Sights
from daemon.process.health import Health
from daemon.values import Appearance, Finding

RANDOM = np.random.default_rng(3)


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def sights(tmp_path: Path, health: Health) -> Sights:
    cameras = (
        Camera(name="top-1", folder=tmp_path / "top-1", silent_after_minutes=30.0),
        Camera(name="bottom-1", folder=tmp_path / "bottom-1"),
    )
    settings = Settings(cameras=cameras, drift=Drift(images_in_a_row=3))
    return Sights(settings, health=health, now=0.0)


def noise(low: int = 60, high: int = 180) -> NDArray[np.uint8]:
    return RANDOM.integers(low, high, (32, 32), dtype=np.uint8)


def show(sights: Sights, pixels: NDArray[np.uint8], number: int, **fields: str) -> Finding:
    shown = replace(finding(number, **fields), appearance=measure(pixels))
    sights.see([shown], {shown.delivery: pixels}, now=0.0)
    return shown


@pytest.mark.fault(66)
def test_a_camera_that_delivers_one_picture_again_and_again_is_told_until_it_moves(
    sights: Sights, health: Health
) -> None:
    frame = noise()
    show(sights, frame, 1)
    show(sights, frame.copy(), 2)  # another file, the same pixels
    assert health.troubles() == {}
    show(sights, frame.copy(), 3)
    assert "the last 3 images of camera top-1 are identical" in health.troubles()["stuck top-1"]
    show(sights, frame.copy(), 4)
    assert "the last 4 images" in health.troubles()["stuck top-1"]
    show(sights, noise(), 5)
    assert health.troubles() == {}


def test_who_wants_to_be_told_of_the_first_black_image_hears_of_no_camera_that_moves(
    sights: Sights, health: Health
) -> None:
    sights.reconfigure(Settings(drift=Drift(images_in_a_row=1)))
    show(sights, noise(), 1)
    show(sights, frame := noise(), 2)
    assert health.troubles() == {}
    show(sights, frame, 3)
    assert health.troubles().keys() == {"stuck top-1"}
    show(sights, np.full((32, 32), 2, np.uint8), 4)
    assert health.troubles().keys() == {"black top-1"}


def test_two_cameras_that_show_the_same_are_not_stuck(sights: Sights, health: Health) -> None:
    for number in range(6):
        frame = noise()
        for camera in ("top-1", "bottom-1"):
            show(sights, frame, 10 * number, camera=camera)
    assert health.troubles() == {}


@pytest.mark.fault(66)
@pytest.mark.parametrize(("level", "kind"), [(2, "black"), (252, "overexposed")])
def test_black_and_overexposed_images_in_a_row_are_told_and_not_as_a_stuck_camera(
    sights: Sights, health: Health, level: int, kind: str
) -> None:
    for number in range(3):
        assert health.troubles() == {}
        show(sights, np.full((32, 32), level, np.uint8), number)
    assert health.troubles().keys() == {f"{kind} top-1"}
    assert f"brightness {level} of 255" in health.troubles()[f"{kind} top-1"]
    show(sights, noise(), 9)
    assert health.troubles() == {}


@pytest.mark.fault(66)
def test_a_silent_camera_is_told_unless_its_images_only_wait(
    sights: Sights, health: Health
) -> None:
    sights.tell_silent({}, now=29 * 60)
    assert health.troubles() == {}
    sights.tell_silent({"bottom-1": 3}, now=30 * 60)
    assert health.troubles().keys() == {"silent top-1"}, "bottom-1 may be silent"
    assert "no image for 30 minutes" in health.troubles()["silent top-1"]
    sights.tell_silent({"top-1": 1}, now=31 * 60)
    assert health.troubles() == {}
    sights.tell_silent({}, now=62 * 60)
    assert health.troubles().keys() == {"silent top-1"}
    sights.see([finding(1, "unreadable")], {}, now=62 * 60)
    sights.tell_silent({}, now=63 * 60)
    assert health.troubles() == {}


def test_brightness_is_the_average_and_sharpness_knows_neither_light_nor_contrast() -> None:
    rough = noise(100, 120)
    assert measure(rough).brightness == pytest.approx(rough.mean(), abs=1e-3)
    assert measure(rough).sharpness == pytest.approx(1.0, abs=0.05)
    brighter = (2 * rough.astype(int) - 60).astype(np.uint8)
    assert measure(brighter).sharpness == pytest.approx(measure(rough).sharpness, abs=1e-4)
    ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    assert measure(ramp).sharpness < 0.05
    black = measure(np.zeros((64, 64), np.uint8))
    assert black == Appearance(brightness=0.0, sharpness=0.0, side=64)


def test_a_blurred_surface_is_less_sharp() -> None:
    rough = noise().astype(np.float32)
    blurred = sum(
        np.roll(rough, (down, across), (0, 1)) for down in range(3) for across in range(3)
    )
    assert (
        measure((blurred / 9).astype(np.uint8)).sharpness
        < 0.7 * measure(rough.astype(np.uint8)).sharpness
    )
