"""What goes wrong with a picture on a line, at three severities: for judging, never for training.

In the spirit of Fu et al. 2019 (doi:10.1016/j.optlaseng.2019.05.005) and Hendrycks and Dietterich 2019
(arXiv:1903.12261). Lengths are pixels of the picture as it is given.
"""

import io
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Corruption = Callable[[Floats, int, Generator], Floats]

SEVERITIES: Final = (1, 2, 3)


def corrupt(pictures: Pixels, kind: str, severity: int, *, seed: int) -> Pixels:
    """Uint8 grey `(N, H, W)` to the same, spoilt; the same seed always spoils alike.

    Args:
        kind: one of `CORRUPTIONS`.
        severity: 1 to 3.
    """
    spoil = CORRUPTIONS[kind]
    spoilt = [
        spoil(picture.astype(np.float64), severity - 1, np.random.default_rng((seed, index)))
        for index, picture in enumerate(pictures)
    ]
    return np.clip(np.rint(np.stack(spoilt)), 0, 255).astype(np.uint8)


def _illumination(picture: Floats, level: int, random: Generator) -> Floats:
    """A ramp of light across the picture, at any angle."""
    height, width = picture.shape
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    ramp = (np.cos(angle) * x + np.sin(angle) * y) / (abs(np.cos(angle)) + abs(np.sin(angle)))
    lit: Floats = picture * (1 + (0.3, 0.5, 0.7)[level] * ramp)
    return lit


def _motion_blur(picture: Floats, level: int, random: Generator) -> Floats:
    length = (5, 9, 13)[level]
    angle = random.uniform(0, np.pi)
    offsets = np.linspace(-(length - 1) / 2, (length - 1) / 2, 2 * length + 1)
    moves = np.rint(np.outer(offsets, (np.sin(angle), np.cos(angle)))).astype(int)
    return _mean_of_moved(picture, moves)


def _defocus(picture: Floats, level: int, _: Generator) -> Floats:
    radius = (2.5, 4.5, 6.5)[level]
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = y**2 + x**2 <= radius**2
    return _mean_of_moved(picture, np.stack([y[inside], x[inside]], axis=1))


def _noise(picture: Floats, level: int, random: Generator) -> Floats:
    return picture + random.normal(0, (8, 16, 25)[level], picture.shape)


def _exposure(picture: Floats, level: int, random: Generator) -> Floats:
    """Too short or too long, by turns of chance."""
    return picture * float(random.choice(((0.8, 1.2), (0.6, 1.4), (0.4, 1.6))[level]))


def _compression(picture: Floats, level: int, _: Generator) -> Floats:
    file = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(file, "JPEG", quality=(40, 20, 10)[level])
    return np.asarray(Image.open(file), dtype=np.float64)


def _mean_of_moved(picture: Floats, moves: NDArray[np.int_]) -> Floats:
    """The mean of the picture moved by each (down, right), mirrored at its border."""
    reach = int(np.abs(moves).max())
    height, width = picture.shape
    padded = np.pad(picture, reach, mode="reflect")
    total = np.zeros_like(picture)
    for down, right in moves:
        total += padded[reach + down :, reach + right :][:height, :width]
    return total / len(moves)


CORRUPTIONS: Final[dict[str, Corruption]] = {
    "illumination": _illumination,
    "motion blur": _motion_blur,
    "defocus": _defocus,
    "noise": _noise,
    "exposure": _exposure,
    "compression": _compression,
}
