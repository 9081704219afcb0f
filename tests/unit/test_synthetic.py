import io
from itertools import islice
from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from training.synthetic import DEFECTS, SURFACES, draw_sequence, draw_surface, encode

SEEDS = range(12)


def unevenness(pixels: NDArray[np.uint8]) -> float:
    """How far the steepest steps across 3 pixels go, as a share of the picture's own light."""
    grey = pixels.astype(float)
    steps = np.concatenate(
        [np.abs(grey[3:] - grey[:-3]).ravel(), np.abs(grey[:, 3:] - grey[:, :-3]).ravel()]
    )
    return float(np.quantile(steps, 0.998) / np.median(grey))


def shrink(pixels: NDArray[np.uint8], times: int) -> NDArray[np.float64]:
    height, width = pixels.shape
    blocks = pixels.reshape(height // times, times, width // times, times)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float64)


@pytest.mark.parametrize("surface", SURFACES)
def test_the_same_seed_draws_the_same_pixels(surface: str) -> None:
    first = draw_surface(surface, seed=7)
    assert np.array_equal(first, draw_surface(surface, seed=7))


@pytest.mark.parametrize("surface", SURFACES)
def test_every_seed_draws_another_picture(surface: str) -> None:
    pictures = {draw_surface(surface, seed=seed).tobytes() for seed in SEEDS}
    assert len(pictures) == len(SEEDS)


@pytest.mark.parametrize("surface", DEFECTS)
def test_every_defect_stands_out_from_sound_strip(surface: str) -> None:
    roughest_sound = max(unevenness(draw_surface("no_defect", seed=seed)) for seed in SEEDS)
    flattest_defect = min(unevenness(draw_surface(surface, seed=seed)) for seed in SEEDS)
    assert flattest_defect > roughest_sound


def test_scratches_are_brighter_than_their_strip_and_inclusions_are_darker() -> None:
    for seed in SEEDS:
        scratched = draw_surface("scratches", seed=seed).astype(float)
        included = draw_surface("inclusion", seed=seed).astype(float)
        assert np.quantile(scratched, 0.999) > 1.4 * np.median(scratched)
        assert np.quantile(included, 0.001) < 0.9 * np.median(included)


@pytest.mark.parametrize("surface", SURFACES)
def test_no_picture_is_blank_or_blinding(surface: str) -> None:
    for seed in SEEDS:
        pixels = draw_surface(surface, seed=seed)
        assert pixels.std() > 2
        assert 20 < pixels.mean() < 250


@pytest.mark.parametrize("surface", SURFACES)
def test_a_line_scan_frame_of_2448x2048_can_be_drawn(surface: str) -> None:
    pixels = draw_surface(surface, seed=1, height=2048, width=2448)
    assert pixels.shape == (2048, 2448)
    assert pixels.std() > 2


@settings(max_examples=25)
@example(surface="scratches", seed=1, height=16, width=16)
@given(
    surface=st.sampled_from(SURFACES),
    seed=st.integers(min_value=0, max_value=2**64),
    height=st.integers(min_value=16, max_value=640),
    width=st.integers(min_value=16, max_value=260),
)
def test_any_seed_and_any_size_from_16_pixels_up_is_drawn(
    surface: str, seed: int, height: int, width: int
) -> None:
    pixels = draw_surface(surface, seed=seed, height=height, width=width)
    assert pixels.shape == (height, width)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("surface", DEFECTS)
def test_a_seed_shows_the_same_picture_at_every_size(surface: str) -> None:
    small = draw_surface(surface, seed=3)
    large = draw_surface(surface, seed=3, height=800, width=800)
    alike = np.corrcoef(small.ravel(), shrink(large, 4).ravel())[0, 1]
    assert alike > 0.9


@pytest.mark.parametrize("file_format", ["png", "bmp"])
def test_png_and_bmp_keep_every_pixel(file_format: Literal["png", "bmp"]) -> None:
    pixels = draw_surface("patches", seed=2, height=64, width=97)
    with Image.open(io.BytesIO(encode(pixels, file_format))) as image:
        assert image.format == file_format.upper()
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("surface", SURFACES)
def test_jpeg_keeps_the_picture_nearly(surface: str) -> None:
    pixels = draw_surface(surface, seed=2)
    with Image.open(io.BytesIO(encode(pixels, "jpeg"))) as image:
        assert image.format == "JPEG"
        assert image.mode == "L"
        decoded = np.asarray(image)
    assert decoded.shape == pixels.shape
    assert np.abs(decoded.astype(int) - pixels).mean() < 4


def test_a_sequence_repeats_with_its_seed_and_changes_with_another() -> None:
    first, again, other = (
        [(surface, pixels.tobytes()) for surface, pixels in islice(draw_sequence(seed), 8)]
        for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_a_sequence_mixes_every_surface_and_no_two_pictures_are_the_same() -> None:
    strip = list(islice(draw_sequence(1), 200))
    surfaces = [surface for surface, _ in strip]
    assert set(surfaces) == set(SURFACES)
    assert 70 < surfaces.count("no_defect") < 130
    assert len({pixels.tobytes() for _, pixels in strip}) == len(strip)
