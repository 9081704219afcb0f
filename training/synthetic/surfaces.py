"""The surfaces: what each defect, and sound strip, looks like.

Each takes a generator and the canvas shape in units, and returns grey levels as float32 of that
shape, nominally 0 to 255; what lies outside is clipped later, as a camera would clip it.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.random import Generator

from training.synthetic.texture import (
    Canvas,
    Shape,
    bands,
    ellipses,
    flock,
    grain,
    how_many,
    line,
    noise,
    sloping_light,
)

Painter: TypeAlias = Callable[[Generator, Shape], Canvas]


def _no_defect(rng: Generator, shape: Shape) -> Canvas:
    """Sound strip: even grey, faint bands along the strip, fine grain."""
    return _smooth_strip(rng, shape, level=rng.uniform(70, 150))


def _crazing(rng: Generator, shape: Shape) -> Canvas:
    """A net of fine broken cracks, mostly across the strip, on a coarse bright grain."""
    level = rng.uniform(85, 180)
    streaks = noise(rng, shape, 0.5, 6, angle=rng.uniform(-0.4, 0.1))
    paths = noise(rng, shape, 3.5, 10) + 0.25 * noise(rng, shape, 1.5, 2)
    down, across = np.gradient(paths)
    distance = np.abs(paths) / (np.hypot(down, across) + 0.02)
    broken = np.clip(0.6 * noise(rng, shape, 6, 9) + rng.uniform(0.1, 0.6), 0, 1.2)
    cracks = np.exp(-(distance**2)) * broken
    relief = 0.5 * np.roll(cracks, 2, axis=0) - 1.4 * cracks
    light = 1 + sloping_light(rng, shape, 0.25) + bands(rng, shape, 0.11)
    strip = level * (light + grain(rng, shape, 0.17) + 0.03 * streaks + 0.33 * relief)
    return _burn_specks(rng, strip, count=int(rng.integers(0, 4)))


def _inclusion(rng: Generator, shape: Shape) -> Canvas:
    """Dark spindles drawn out along the strip, in loose columns, on smooth grey."""
    level = rng.uniform(55, 130) if rng.random() < 0.9 else 225
    flocks = [
        flock(rng, shape, count=(2, 9), spread=(45, 7), radii=((7, 28), (1.8, 4.5)), tilt=0.05)
        for _ in range(how_many(rng, shape, 2, 5))
    ]
    ragged = 0.35 * noise(rng, shape, 5, 1.2)
    marks = np.clip(1.5 * (ellipses(shape, flocks) + ragged), 0, 1)
    depth = rng.uniform(0.18, 0.5) * (1 + 0.2 * noise(rng, shape, 8, 3))
    strip = _smooth_strip(rng, shape, level=level)
    return np.asarray(strip * (1 - depth * marks), dtype=np.float32)


def _patches(rng: Generator, shape: Shape) -> Canvas:
    """Large dark blotches with soft ragged rims on a bright, coarse, often overexposed strip."""
    exposure = rng.uniform(75, 270)
    flocks = [
        flock(rng, shape, count=(2, 7), spread=(40, 14), radii=((18, 50), (16, 32)), tilt=0.3)
        for _ in range(how_many(rng, shape, 1, 4))
    ]
    ragged = 0.35 * noise(rng, shape, 9, 8) + 0.1 * noise(rng, shape, 2, 2)
    softness = rng.uniform(0.7, 2)
    dark = np.clip(0.5 + softness * (ellipses(shape, flocks) - 0.2 + ragged), 0, 1)
    stains = 0.12 * noise(rng, shape, 14, 10)
    light = 1 + sloping_light(rng, shape, 0.15) + bands(rng, shape, 0.09)
    depth = rng.uniform(0.66, 0.82) + 0.08 * noise(rng, shape, 6, 6)
    strip = exposure * (light + stains + grain(rng, shape, 0.16)) * (1 - depth * dark)
    return _burn_specks(rng, strip, count=int(rng.integers(0, 5)))


def _pitted_surface(rng: Generator, shape: Shape) -> Canvas:
    """Many small pits all over a smooth strip under uneven, often glaring, light."""
    size = rng.uniform(0.7, 1.2)
    density = rng.uniform(-1.0, -0.1) + 0.3 * noise(rng, shape, 40, 20)
    pits = np.clip(0.6 * (noise(rng, shape, size * 1.3, size) + density), 0, 1)
    light = 1 + sloping_light(rng, shape, 0.3) + bands(rng, shape, 0.03)
    light += grain(rng, shape, 0.02)
    strip = rng.uniform(110, 260) * light * (1 - rng.uniform(0.2, 0.36) * pits)
    if rng.random() < 0.25:
        strip = strip * (1 - 0.45 * _flaked_edge(rng, shape))
    return np.asarray(strip, dtype=np.float32)


def _rolled_in_scale(rng: Generator, shape: Shape) -> Canvas:
    """Flocks of small dark flakes, lying across a mid-grey strip with a brushed grain."""
    slant = rng.uniform(-0.3, 0.3)
    flocks = [
        flock(rng, shape, count=(6, 20), spread=(25, 11), radii=((1.6, 3), (2.5, 6)), tilt=0.3)
        for _ in range(how_many(rng, shape, 3, 8))
    ]
    flakes = np.clip(ellipses(shape, flocks) + 0.35 * noise(rng, shape, 1, 2), 0, 1)
    brushing = (
        0.045 * noise(rng, shape, 0.6, 2.5, angle=slant)
        + 0.05 * noise(rng, shape, 0.6, 0.6)
        + 0.025 * noise(rng, shape, 0.9, 14, angle=slant)
        + 0.06 * noise(rng, shape, 9, 12)
    )
    light = 1 + sloping_light(rng, shape, 0.12) + bands(rng, shape, 0.05)
    relief = 0.15 * np.roll(flakes, 3, axis=0) - rng.uniform(0.4, 0.65) * flakes
    return np.asarray(rng.uniform(85, 145) * (light + brushing + relief), dtype=np.float32)


def _scratches(rng: Generator, shape: Shape) -> Canvas:
    """Bright scores, straight and long, single or in bundles, on dark smooth strip."""
    strip = _smooth_strip(rng, shape, level=rng.uniform(40, 120))
    strip *= 1 + 0.04 * noise(rng, shape, 20, 4)
    lie_across = rng.random() < 0.2
    canvas = strip.T if lie_across else strip  # a view: the scores land on the strip
    slope = rng.normal(0, 0.01) if rng.random() < 0.9 else rng.uniform(-1, 1)
    for _ in range(how_many(rng, shape, 1, 5)):
        at = rng.uniform(0.05, 0.95) * canvas.shape[1]
        middle = rng.uniform(0.05, 0.95) * canvas.shape[0]
        half_length = rng.uniform(45, 240)
        span = (middle - half_length, middle + half_length)
        widest = rng.choice([1, 1, 4])
        bundle = 1 if rng.random() < 0.65 else int(rng.integers(3, 6))
        for _ in range(bundle):
            half_width = rng.uniform(0.8, 1 + widest)
            at += 1 + 1.5 * half_width
            score = line(rng, canvas.shape, at=at, slope=slope, half_width=half_width, span=span)
            canvas += rng.uniform(80, 200) * score
    return strip


def _smooth_strip(rng: Generator, shape: Shape, *, level: float) -> Canvas:
    """What lies under the finer defects: even grey of about `level`, faintly banded and grained."""
    light = 1 + sloping_light(rng, shape, 0.15) + bands(rng, shape, 0.035)
    faint_streaks = 0.02 * noise(rng, shape, 12, 1.5)
    return level * (light + faint_streaks + grain(rng, shape, 0.03))


def _burn_specks(rng: Generator, strip: Canvas, *, count: int) -> Canvas:
    """Put `count` flocks of ragged black crust on `strip`."""
    if count == 0:
        return strip
    flocks = [
        flock(rng, strip.shape, count=(2, 8), spread=(8, 7), radii=((1.5, 5), (1.5, 5)), tilt=0.6)
        for _ in range(count)
    ]
    field = ellipses(strip.shape, flocks)
    ragged = 0.5 * noise(rng, strip.shape, 1.2, 1)
    crust = np.clip(3 * (field + ragged), 0, 1) * (field > -1)
    return np.asarray(strip * (1 - 0.8 * crust), dtype=np.float32)


def _flaked_edge(rng: Generator, shape: Shape) -> Canvas:
    """0 to 1: where a scale sheet, with a torn outline, covers part of one side of the strip."""
    across = np.arange(shape[1], dtype=np.float32) / shape[1]
    side = across if rng.random() < 0.5 else 1 - across
    torn = 0.3 * noise(rng, shape, 22, 14) + 0.05 * noise(rng, shape, 2, 2)
    covered: Canvas = np.clip(12 * (side - 1.15 + torn), 0, 1)
    return covered


CLEAN: Final = "no_defect"
PAINTERS: Final[dict[str, Painter]] = {
    "crazing": _crazing,
    "inclusion": _inclusion,
    "patches": _patches,
    "pitted_surface": _pitted_surface,
    "rolled-in_scale": _rolled_in_scale,
    "scratches": _scratches,
    CLEAN: _no_defect,
}
SURFACES: Final[tuple[str, ...]] = tuple(PAINTERS)
DEFECTS: Final = tuple(surface for surface in SURFACES if surface != CLEAN)
