"""Procedural pictures of hot-rolled steel strip, for the demo, the tests and the benchmarks.

Every texture is written from scratch (filtered noise, ellipses, lines); no pixel and no statistic
of a real data set is stored here. The pictures imitate what the six NEU-DET classes look like, so
that a network trained on photographs has something to recognise. They are no substitute for
photographs: train and measure on those.

Scale: a texture is drawn on a canvas whose shorter side is 200 units, whatever the size asked for,
and the canvas is then resampled to that size. A seed therefore shows the same picture at 200x200
and at 2000x2000, and a longer strip shows more features, not wider ones. The strip runs down the
picture.
"""

import io
from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.synthetic.surfaces import CLEAN, DEFECTS, PAINTERS, SURFACES
from training.synthetic.texture import CANVAS_UNITS, Canvas, resample

__all__ = ["CLEAN", "DEFECTS", "SURFACES", "draw_sequence", "draw_surface", "encode"]

_CLEAN_SHARE: Final = 0.5
JPEG_QUALITY: Final = 92


def draw_surface(
    surface: str, *, seed: int, height: int = CANVAS_UNITS, width: int = CANVAS_UNITS
) -> NDArray[np.uint8]:
    """Draw one picture of `surface`: grey uint8, shape (height, width).

    The same arguments always give the same pixels. `seed` is any integer from 0 up.
    """
    rng = np.random.default_rng([seed, SURFACES.index(surface)])
    pixels_per_unit = min(height, width) / CANVAS_UNITS
    canvas = PAINTERS[surface](
        rng, (round(height / pixels_per_unit), round(width / pixels_per_unit))
    )
    picture = resample(resample(canvas, height).T, width).T
    sensor_noise = rng.standard_normal((height, width), dtype=np.float32)
    grey: Canvas = np.clip(picture + 1.5 * sensor_noise, 0, 255)
    return np.rint(grey).astype(np.uint8)


def draw_sequence(seed: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield (surface, picture) without end, as a camera over a moving strip would.

    The same seed yields the same sequence. Half is "no_defect"; the six defects share the rest.
    """
    rng = np.random.default_rng(seed)
    while True:
        clean = rng.random() < _CLEAN_SHARE
        surface = CLEAN if clean else DEFECTS[rng.integers(len(DEFECTS))]
        picture_seed = int(rng.integers(2**32))
        yield surface, draw_surface(surface, seed=picture_seed)


def encode(pixels: NDArray[np.uint8], format: Literal["jpeg", "png", "bmp"]) -> bytes:  # noqa: A002 - Pillow's word for it
    """Encode grey uint8 `pixels`, shape (height, width), as the bytes of a file.

    PNG and BMP keep every pixel; JPEG is of quality 92.
    """
    file = io.BytesIO()
    options = {"quality": JPEG_QUALITY} if format == "jpeg" else {}
    Image.fromarray(pixels).save(file, format=format, **options)
    return file.getvalue()
