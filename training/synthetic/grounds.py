"""Sound surfaces of every kind: what flaws are drawn on (`training.synthetic.flaws`).

No surface in particular is meant. They are as different as can be, so that what tells all of their
flaws tells those of a surface that nobody drew (Tobin et al. 2017, arXiv:1703.06907). Lengths are in
pixels, brightness in grey levels.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.synthetic.texture import Canvas, noise

_FAR: Final = np.float32(1e3)
_KEPT: Final = 64
_USES: Final = 2
"""How often a field is used, on average, until new ones are drawn."""


class Fields:
    """Smooth random fields `(side, side)` of mean 0 and deviation 1, float32.

    Each costs two Fourier transforms, so each is used more than once, shifted and mirrored.
    """

    def __init__(self, rng: Generator, side: int) -> None:
        self.rng = rng
        self.side = side
        self._kept: list[Canvas] = []
        self._used = 0

    def one(self) -> Canvas:
        if not self._kept or self._used >= _USES * _KEPT:
            self._kept, self._used = [self._drawn() for _ in range(_KEPT)], 0
        self._used += 1
        shift = tuple(self.rng.integers(self.side, size=2).tolist())
        field = np.roll(self._kept[self.rng.integers(_KEPT)], shift, axis=(0, 1))
        down, across = self.rng.choice([-1, 1], size=2)
        return field[::down, ::across]

    def _drawn(self) -> Canvas:
        """Fine or coarse, as long as wide or up to twelve times as long, mostly upright or lying."""
        rng = self.rng
        width = spread(rng, 0.4, 14.0)
        length = width * (1.0 if rng.random() < 0.5 else spread(rng, 1.0, 12.0))
        upright = rng.choice([0.0, math.pi / 2]) + rng.normal(0, 0.05)
        angle = upright if rng.random() < 0.7 else rng.uniform(0, math.pi)
        return noise(rng, (self.side, self.side), width, length, angle=angle)


def spread(rng: Generator, low: float, high: float) -> float:
    """A length or an amplitude between two: none of its magnitudes is likelier than another."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A sound surface, and what lies beside it.

    Attributes:
        canvas: the surface as if it had no end, float32 `(side, side)`.
        lit: the same without its texture.
        texture: the deviation of its texture, in grey levels.
        inside: how far each place lies within the surface's edges; negative beyond them.
        beyond: what is seen there; None where the surface fills the picture.
    """

    canvas: Canvas
    lit: Canvas
    texture: float
    inside: Canvas
    beyond: Canvas | None


def draw_ground(fields: Fields) -> Ground:
    """One surface in its light: smooth or rough, ground or not, with edges or without."""
    rng, side = fields.rng, fields.side
    level, rough = rng.uniform(40, 190), spread(rng, 0.015, 0.22)
    lit = (level * (1 + _light(rng, side))).astype(np.float32)
    canvas = lit + level * rough * _texture(fields)
    inside, beyond = np.full((side, side), _FAR), None
    if rng.random() < 0.55:
        inside = _within_edges(rng, side)
        bright = rng.uniform(0.05, 0.6) if rng.random() < 0.8 else rng.uniform(1.2, 2.0)
        beyond = level * bright * (1 + 0.5 * rough * fields.one())
        if rng.random() < 0.4:
            bevel = np.exp(-np.clip(inside, 0, None) / rng.uniform(2, 8))
            canvas = canvas * (1 + rng.normal(0, 0.2) * bevel)
    return Ground(canvas=canvas, lit=lit, texture=level * rough, inside=inside, beyond=beyond)


def finish(rng: Generator, canvas: Canvas, ground: Ground) -> NDArray[np.uint8]:
    """What a camera makes of a surface: its edges, the sensor's noise, the exposure; uint8."""
    if ground.beyond is not None:
        sharp = np.clip(ground.inside / rng.uniform(0.6, 2.5) + 0.5, 0, 1)
        canvas = canvas * sharp + ground.beyond * (1 - sharp)
    seen = canvas + rng.uniform(0.5, 4.0) * rng.standard_normal(canvas.shape, dtype=np.float32)
    grey: Canvas = np.clip(seen * math.exp(rng.normal(0, 0.1)), 0, 255)
    return grey.astype(np.uint8)


def _light(rng: Generator, side: int) -> NDArray[np.float64]:
    along = np.linspace(-1, 1, side)
    y, x = along[:, None], along[None, :]
    slopes = rng.normal(0, (0.12, 0.12, 0.06, 0.06, 0.04))
    return np.asarray(
        slopes[0] * y + slopes[1] * x + slopes[2] * y**2 + slopes[3] * x**2 + slopes[4] * x * y
    )


def _texture(fields: Fields) -> Canvas:
    """Of deviation 1: one to three fields, on half of the surfaces with a grinder's stripes."""
    rng = fields.rng
    texture = sum(
        (math.exp(rng.normal(0, 0.8)) * fields.one() for _ in range(rng.integers(1, 4))),
        np.zeros((fields.side, fields.side), np.float32),
    )
    texture = texture / texture.std()
    if rng.random() < 0.55:
        texture = texture + math.exp(rng.normal(0.2, 0.7)) * _stripes(fields)
    return np.asarray(texture / texture.std(), dtype=np.float32)


def _stripes(fields: Fields) -> Canvas:
    """Brighter ones stand out, and are plainer in some places than in others."""
    rng, side = fields.rng, fields.side
    profile = noise(rng, (1, side), 0, spread(rng, 0.4, 6.0))
    profile = np.where(profile > 0, profile * np.float32(rng.uniform(0.5, 2.5)), profile)
    plainer = np.clip(0.5 + 0.5 * fields.one(), 0, None) if rng.random() < 0.5 else np.float32(1)
    across = profile if rng.random() < 0.5 else profile.T
    return np.asarray(across * (1 + 0.3 * fields.one()) * plainer, dtype=np.float32)


def _within_edges(rng: Generator, side: int) -> Canvas:
    """Straight edges on one to three sides of the picture, nearly parallel to them."""
    inside = np.full((side, side), _FAR)
    steps = np.arange(side, dtype=np.float32)
    for number in rng.choice(4, size=rng.integers(1, 4), replace=False):
        away, beside = steps[:, None], steps[None, :] - side / 2
        distance = (side - 1 - away if number % 2 else away) - rng.normal(0, 0.02) * beside
        distance = distance - rng.uniform(2, 34)
        inside = np.minimum(inside, distance if number < 2 else distance.T)
    return inside
