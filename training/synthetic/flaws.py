"""Made-up flaws on made-up surfaces, each with where it is: what a flaw is, before any line is seen.

`draw_flawed` is for teaching, not for looking at: a surface of any kind (`training.synthetic.grounds`)
with none, one or some flaws of eight kinds, plain or hardly to be seen. No pixel and no
statistic of a real picture is in it. Lengths are in pixels, brightness in grey levels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.synthetic.grounds import Fields, Ground, draw_ground, finish, spread
from training.synthetic.texture import Canvas, ellipses


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What a flaw is drawn on.

    Attributes:
        canvas: the ground with what was drawn on it so far.
        difference: in brightness, of a plain flaw: below 0 for a dark one.
    """

    fields: Fields
    ground: Ground
    canvas: Canvas
    difference: float


Painter: TypeAlias = Callable[[Drawing], Canvas]
"""Gives the canvas with the flaw."""

_SOUND: Final = 0.35
_SEVERAL: Final = 0.2
_PLAIN: Final = 0.4
"""Of the texture's deviation, or this many times four grey levels: less of a difference is no flaw."""


def draw_flawed(fields: Fields) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """One picture, uint8 `(side, side)`, and where which flaw shows, `(kinds, side, side)`."""
    rng = fields.rng
    ground = draw_ground(fields)
    canvas, shown = ground.canvas, np.zeros((len(KINDS), *ground.canvas.shape), np.bool_)
    for _ in range(_how_many(rng)):
        kind = int(rng.integers(len(KINDS)))
        sign = -1 if rng.random() < 0.65 else 1
        difference = sign * spread(rng, 0.9, 5.0) * (ground.texture + 4)
        flawed = PAINTERS[KINDS[kind]](
            Drawing(fields=fields, ground=ground, canvas=canvas, difference=difference)
        )
        plain = np.abs(flawed - canvas) > _PLAIN * max(ground.texture, 4.0)
        shown[kind] |= plain & (ground.inside > -1)
        canvas = flawed
    pixels = finish(rng, canvas, ground)
    if rng.random() < 0.3:
        blurred = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
        pixels = np.asarray(blurred)
    return pixels, shown


def _how_many(rng: Generator) -> int:
    chance = rng.random()
    if chance < _SOUND:
        return 0
    return int(rng.integers(2, 4)) if chance < _SOUND + _SEVERAL else 1


def _spot(on: Drawing) -> Canvas:
    """One to three holes or lumps, round or long; some lit from one side."""
    rng, side = on.fields.rng, on.fields.side
    height = np.full(on.canvas.shape, -1, np.float32)
    for _ in range(rng.integers(1, 4)):
        radius = spread(rng, 1.3, 11.0)
        long = radius * math.exp(rng.normal(0, 0.4))
        row = [*rng.uniform(2, side - 2, 2), radius, long, rng.uniform(0, math.pi)]
        height = np.maximum(height, ellipses(on.canvas.shape, [np.array([row])]))
    spots = np.clip(height * rng.uniform(1, 4) + 0.5, 0, 1) * (height > -1)
    flawed = on.canvas + 1.4 * on.difference * spots
    if rng.random() < 0.3:
        rim = np.roll(spots, tuple(rng.integers(-3, 4, 2).tolist()), axis=(0, 1)) * (1 - spots)
        flawed = flawed - 0.5 * on.difference * rim
    return np.asarray(flawed, dtype=np.float32)


def _crack(on: Drawing) -> Canvas:
    """Thin lines that wander."""
    rng = on.fields.rng
    return on.canvas + 1.3 * on.difference * _lines(
        rng, on.fields.side, pieces=(6, 40), length=(3, 8), bend=0.35, widest=3
    )


def _score(on: Drawing) -> Canvas:
    """Straight lines, mostly upright or lying."""
    rng = on.fields.rng
    return on.canvas + 1.2 * on.difference * _lines(
        rng, on.fields.side, pieces=(1, 2), length=(20, 190), bend=0, widest=6
    )


def _chip(on: Drawing) -> Canvas:
    """A piece that is missing at an edge: what is beyond shows, or broken stuff."""
    rng, side = on.fields.rng, on.fields.side
    edge = np.argwhere(np.abs(on.ground.inside) < 1.2)
    if len(edge) and rng.random() < 0.85:
        place = edge[rng.integers(len(edge))].astype(np.float64)
    else:
        place = rng.uniform(0.03, 0.97, 2) * side
        place[rng.integers(2)] = rng.choice([0, side]) + rng.uniform(-8, 8)
    piece = _ragged(on.fields, place, (4.0, 28.0), ragged=(0.0, 0.7), hard=(1.0, 4.0))
    if on.ground.beyond is None:
        return _filled(on, piece, on.ground.lit + on.difference)
    piece = piece * (on.ground.inside > -1)
    if rng.random() < 0.5:
        return np.asarray(on.canvas * (1 - piece) + piece * on.ground.beyond, dtype=np.float32)
    return _filled(on, piece, on.ground.lit + on.difference)


def _patch(on: Drawing) -> Canvas:
    """A stain, or a place with another texture."""
    rng = on.fields.rng
    place = rng.uniform(0.1, 0.9, 2) * on.fields.side
    patch = _ragged(on.fields, place, (14.0, 80.0), ragged=(0.0, 0.8), hard=(0.6, 3.0))
    if rng.random() < 0.5:
        return on.canvas + 0.6 * on.difference * patch
    return _filled(on, patch, on.ground.lit + rng.uniform(0, 0.6) * on.difference)


def _flecks(on: Drawing) -> Canvas:
    """Many small spots together."""
    rng, side = on.fields.rng, on.fields.side
    image = Image.new("L", (2 * side, 2 * side))
    pen = ImageDraw.Draw(image)
    middle, wide = rng.uniform(0.1, 0.9, 2) * side, rng.uniform(8, 50)
    for _ in range(rng.integers(8, 40)):
        (x, y), (right, down) = 2 * (middle + rng.normal(0, wide, 2)), rng.uniform(1, 5, 2)
        box = (x - right, y - down, x + right, y + down)
        pen.ellipse(box, fill=int(rng.integers(120, 256)))
    return on.canvas + 1.2 * on.difference * _halved(image)


def _step(on: Drawing) -> Canvas:
    """Beyond a straight or bent border the surface is brighter, darker, or worked in another way."""
    rng, side = on.fields.rng, on.fields.side
    along = np.linspace(-1, 1, side, dtype=np.float32)
    angle = rng.choice([0, 0.5, 1, 1.5]) * math.pi + rng.normal(0, 0.15)
    y, x = along[:, None], along[None, :]
    over, beside = _turned(y, x, angle)
    border = over - rng.uniform(-0.2, 0.9) + rng.normal(0, 0.25) * beside**2
    border = border + rng.choice([0.0, 0.03]) * on.fields.one()
    there = np.clip(border * side / 2 / spread(rng, 0.6, 8.0) + 0.5, 0, 1)
    if rng.random() < 0.6:
        return np.asarray(on.canvas + 0.6 * on.difference * there, dtype=np.float32)
    return _filled(on, there, on.ground.lit + rng.uniform(0, 0.6) * on.difference)


def _glare(on: Drawing) -> Canvas:
    """Part of what stands out is far brighter than elsewhere, or faded: as where a surface is polished."""
    rng = on.fields.rng
    place = rng.uniform(0.0, 1.0, 2) * on.fields.side
    there = _ragged(on.fields, place, (14.0, 90.0), ragged=(0.0, 0.5), hard=(0.5, 1.5))
    detail = on.canvas - on.ground.lit
    share = rng.uniform(1.0, 3.0) if rng.random() < 0.6 else rng.uniform(-0.95, -0.6)
    return np.asarray(
        on.canvas + there * (share * detail + 0.4 * abs(on.difference)), dtype=np.float32
    )


PAINTERS: Final[dict[str, Painter]] = {
    "spot": _spot,
    "crack": _crack,
    "score": _score,
    "chip": _chip,
    "patch": _patch,
    "flecks": _flecks,
    "step": _step,
    "glare": _glare,
}
KINDS: Final = tuple(PAINTERS)


def _ragged(
    fields: Fields,
    place: NDArray[np.float64],
    radii: tuple[float, float],
    *,
    ragged: tuple[float, float],
    hard: tuple[float, float],
) -> Canvas:
    """0 to 1: an ellipse whose border a random field frays."""
    rng, side = fields.rng, fields.side
    down, across = (spread(rng, *radii) for _ in range(2))
    angle = rng.uniform(0, math.pi)
    y = np.arange(side, dtype=np.float32)[:, None] - place[0]
    x = np.arange(side, dtype=np.float32)[None, :] - place[1]
    over, along = _turned(y, x, angle)
    height = 1 - (over / down) ** 2 - (along / across) ** 2
    height = height + rng.uniform(*ragged) * fields.one()
    return np.asarray(np.clip(height * rng.uniform(*hard) + 0.3, 0, 1), dtype=np.float32)


def _turned(y: Canvas, x: Canvas, angle: float) -> tuple[Canvas, Canvas]:
    """Coordinates `(side, side)` of a frame that is turned, from a column and a row."""
    return y * math.cos(angle) + x * math.sin(angle), x * math.cos(angle) - y * math.sin(angle)


def _filled(on: Drawing, there: Canvas, level: Canvas) -> Canvas:
    """The canvas, and where it says so a texture of another kind on that level."""
    other = level + on.fields.rng.uniform(0.3, 2.5) * on.ground.texture * on.fields.one()
    return np.asarray(on.canvas * (1 - there) + there * other, dtype=np.float32)


def _lines(
    rng: Generator,
    side: int,
    *,
    pieces: tuple[int, int],
    length: tuple[float, float],
    bend: float,
    widest: int,
) -> Canvas:
    """0 to 1: one to three lines of straight pieces, each of which turns by `bend` from the last."""
    image = Image.new("L", (2 * side, 2 * side))
    pen = ImageDraw.Draw(image)
    for _ in range(1 if rng.random() < 0.6 else rng.integers(2, 4)):
        free = bend > 0 or rng.random() < 0.4
        upright = rng.choice([0, math.pi / 2]) + rng.normal(0, 0.05)
        angle = rng.uniform(0, 2 * math.pi) if free else upright
        reach = 2 * rng.uniform(*length)
        turns = np.cumsum(rng.normal(0, bend, rng.integers(*pieces))) + angle
        stride = reach * np.column_stack([np.cos(turns), np.sin(turns)])
        start = rng.uniform(0.05, 0.95, 2) * 2 * side
        points = np.vstack([start, start + np.cumsum(stride, axis=0)])
        pen.line(
            [tuple(each) for each in points.tolist()],
            fill=255,
            width=int(rng.integers(1, widest + 1)),
        )
    drawn = _halved(image, blur=rng.uniform(0.3, 1.0) if rng.random() < 0.5 else 0.0)
    return np.asarray(drawn / max(float(drawn.max()), 0.2), dtype=np.float32)


def _halved(image: Image.Image, *, blur: float = 0.0) -> Canvas:
    """0 to 1, what was drawn at twice the size."""
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    if blur > 0:
        half = half.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(half, dtype=np.float32) / np.float32(255)
