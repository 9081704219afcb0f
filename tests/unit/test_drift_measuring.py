"""Brightness and sharpness against their definition, written out."""

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.drift.measuring import measure

RANDOM = np.random.default_rng(7)
NOISE = RANDOM.integers(0, 256, (64, 64), dtype=np.uint8)
SLOPE = np.add.outer(np.arange(64), 2 * np.arange(64)).astype(np.uint8)


def by_definition(pixels: NDArray[np.uint8]) -> float:
    grey = pixels.astype(np.float64)
    steps = (np.diff(grey, axis=0) ** 2).sum() + (np.diff(grey, axis=1) ** 2).sum()
    count = grey[1:].size
    return float(np.sqrt(steps / count / (4 * grey.var())))


@pytest.mark.parametrize(
    "pixels",
    [NOISE, SLOPE, NOISE[:2, :2], (NOISE // 64 + 200).astype(np.uint8), NOISE.T.copy()],
    ids=["noise", "a slope", "two by two", "bright and faint", "turned"],
)
def test_sharpness_is_the_root_of_half_of_von_neumanns_ratio(pixels: NDArray[np.uint8]) -> None:
    look = measure(pixels)
    assert look.sharpness == pytest.approx(by_definition(pixels), abs=1e-3)
    assert look.brightness == pytest.approx(pixels.mean())


@pytest.mark.parametrize("side", [1, 64])
def test_an_even_picture_is_not_sharp(side: int) -> None:
    look = measure(np.full((side, side), 7, np.uint8))
    assert (look.brightness, look.sharpness) == (7.0, 0.0)
