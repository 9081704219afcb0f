"""What the surfaces are made of: light, noise, ellipses, lines, and the change of size.

Lengths are in canvas units, angles in radians. A share of the light is a factor's distance from 1.
"""

import math
from typing import Final, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Shape: TypeAlias = tuple[int, int]
Canvas: TypeAlias = NDArray[np.float32]

CANVAS_UNITS: Final = 200


def sloping_light(rng: Generator, shape: Shape, strength: float) -> Canvas:
    """Light that falls off smoothly towards a random side; mean 0, as a share of the light."""
    down = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    slope_down, slope_across, bend = (strength * rng.normal(0, (0.6, 0.8, 0.6))).tolist()
    light: Canvas = slope_down * down + slope_across * across + bend * (1 / 3 - across**2)
    return light


def bands(rng: Generator, shape: Shape, strength: float) -> Canvas:
    """Light and dark bands along the strip, from uneven rolling; mean 0, as a share of the light."""
    return strength * noise(rng, (1, shape[1]), 0, rng.uniform(6, 16))


def grain(rng: Generator, shape: Shape, strength: float) -> Canvas:
    """The fine roughness of rolled steel, a little drawn out along the strip; mean 0, as a share."""
    fine = noise(rng, shape, 0.7, 0.6)
    drawn_out = noise(rng, shape, 2.5, 1)
    return np.asarray(strength * (0.8 * fine + 0.5 * drawn_out), dtype=np.float32)


def noise(
    rng: Generator, shape: Shape, blur_down: float, blur_across: float, *, angle: float = 0
) -> Canvas:
    """Gaussian noise of mean 0 and deviation 1, smoothed over the given lengths, float32.

    Smoothed in the frequency domain, so it repeats at the edges of the canvas. `angle` turns the
    smoothing counter-clockwise.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    down = np.fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    across = np.fft.rfftfreq(shape[1]).astype(np.float32)[None, :]
    along = across * math.cos(angle) - down * math.sin(angle)
    over = across * math.sin(angle) + down * math.cos(angle)
    kernel = np.exp(-2 * np.pi**2 * ((blur_down * over) ** 2 + (blur_across * along) ** 2))
    kernel[0, 0] = 0
    smooth = np.fft.irfft2(np.fft.rfft2(white) * kernel, s=shape)
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


def how_many(rng: Generator, shape: Shape, low: int, high: int) -> int:
    """How many features: `low` to `high` - 1 for each 200x200 units of canvas."""
    squares = shape[0] * shape[1] / CANVAS_UNITS**2
    return max(1, round(squares * int(rng.integers(low, high))))


def flock(
    rng: Generator,
    shape: Shape,
    *,
    count: tuple[int, int],
    spread: tuple[float, float],
    radii: tuple[tuple[float, float], tuple[float, float]],
    tilt: float,
) -> NDArray[np.float64]:
    """Ellipses about a random place: shape (n, 5), each row (y, x, radius_y, radius_x, angle).

    `count` is the range of n, `spread` the deviation of the centres (down, across), `radii` the
    range of each radius (down, across), `tilt` the deviation of the angle. The first ellipse lies
    at the place itself, so a flock is never wholly outside the canvas.
    """
    n = int(rng.integers(*count))
    place = rng.uniform((0.05, 0.05), (0.95, 0.95)) * shape
    strays = rng.normal(0, spread, size=(n, 2))
    strays[0] = 0
    return np.column_stack(
        [
            place + strays,
            rng.uniform(*radii[0], size=n),
            rng.uniform(*radii[1], size=n),
            rng.normal(0, tilt, size=n),
        ]
    )


def ellipses(shape: Shape, flocks: list[NDArray[np.float64]]) -> Canvas:
    """Height field of ellipses: 1 at a centre, 0 on a rim, falling to -1 outside; float32."""
    field = np.full(shape, -1, dtype=np.float32)
    for y, x, radius_y, radius_x, angle in np.concatenate(flocks).tolist():
        reach = 1.5 * max(radius_y, radius_x)
        top, left = max(0, int(y - reach)), max(0, int(x - reach))
        window = field[top : max(0, int(y + reach) + 1), left : max(0, int(x + reach) + 1)]
        down = np.arange(window.shape[0], dtype=np.float32)[:, None] + (top - y)
        across = np.arange(window.shape[1], dtype=np.float32)[None, :] + (left - x)
        over = down * math.cos(angle) + across * math.sin(angle)
        along = across * math.cos(angle) - down * math.sin(angle)
        height = 1 - (over / radius_y) ** 2 - (along / radius_x) ** 2
        np.maximum(window, height, out=window)
    return field


def line(
    rng: Generator,
    shape: Shape,
    *,
    at: float,
    slope: float,
    half_width: float,
    span: tuple[float, float],
) -> Canvas:
    """0 to about 1.5: a line down the canvas through column `at`, fading out at both ends of `span`."""
    down = np.arange(shape[0], dtype=np.float32)[:, None]
    across = np.arange(shape[1], dtype=np.float32)[None, :]
    middle = at + slope * (down - shape[0] / 2) + 0.4 * noise(rng, (shape[0], 1), 12, 0)
    ends = np.clip(np.minimum(down - span[0], span[1] - down) / 25, 0, 1)
    rough = 0.15 * noise(rng, (shape[0], 1), 1.5, 0)
    swelling = 0.2 * noise(rng, (shape[0], 1), 15, 0)
    brightness = np.clip(0.8 + rough + swelling, 0, 1.5)
    profile = np.exp(-np.square(np.square((across - middle) / half_width)))
    return np.asarray(profile * brightness * ends, dtype=np.float32)


def resample(canvas: Canvas, length: int) -> Canvas:
    """Resample axis 0 of a 2-d float32 array to `length`, with a cubic (Keys 1981, a = -0.5).

    When it shrinks, the cubic is widened to cover every source row, so nothing aliases.
    """
    source = canvas.shape[0]
    if source == length:
        return canvas
    ratio = source / length
    widen = max(1.0, ratio)
    centres = (np.arange(length) + 0.5) * ratio - 0.5
    first = np.floor(centres - 2 * widen).astype(np.intp) + 1
    taps = first[:, None] + np.arange(int(np.ceil(4 * widen)))
    away = np.abs(centres[:, None] - taps) / widen
    weights = np.where(
        away < 1,
        (1.5 * away - 2.5) * away**2 + 1,
        np.where(away < 2, ((-0.5 * away + 2.5) * away - 4) * away + 2, 0),
    )
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    rows = np.clip(taps, 0, source - 1)
    result = np.zeros((length, canvas.shape[1]), dtype=np.float32)
    for tap in range(taps.shape[1]):
        result += weights[:, tap, None] * canvas[rows[:, tap]]
    return result
