"""Pictures in every format that is read, and what is asked of them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.preprocessing import UnreadableError, decode
from training.synthetic import draw_surface

SURFACE = draw_surface("crazing", seed=1, height=120, width=200)
GREY = Image.fromarray(SURFACE)
COLOUR = Image.merge(
    "RGB",
    [
        Image.fromarray(draw_surface("patches", seed=seed, height=120, width=200))
        for seed in (1, 2, 3)
    ],
)
ALPHA = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (120, 1)))
COMPRESSIONS = ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")

Pixels = NDArray[np.uint8]


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def refusal(data: bytes, **options: Any) -> UnreadableError:
    with pytest.raises(UnreadableError) as caught:
        decode(data, **options)
    return caught.value


def furthest(pixels: Pixels, expected: NDArray[Any]) -> float:
    assert pixels.shape == expected.shape
    return float(np.abs(pixels.astype(float) - expected).max())


def luma(image: Image.Image) -> NDArray[np.float64]:
    """ITU-R 601 by its own formula."""
    weighed: NDArray[np.float64] = np.asarray(image, dtype=float) @ (0.299, 0.587, 0.114)
    return weighed


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, *, bits: int, colour: int, rows: bytes, interlaced: bool = False
) -> bytes:
    """A PNG written by hand, for headers and depths that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def jpeg_with_thumbnail(image: Image.Image) -> bytes:
    thumbnail = encoded(image.resize((40, 24)), "JPEG")
    exif = b"Exif\0\0II*\0\x08\0\0\0" + bytes(6) + thumbnail
    data = encoded(image, "JPEG", exif=exif)
    assert data.count(b"\xff\xd9") == 2
    return data


WHOLE: dict[str, bytes] = {
    "BMP": encoded(GREY, "BMP"),
    "BMP colour": encoded(COLOUR, "BMP"),
    "JPEG": encoded(GREY, "JPEG"),
    "JPEG colour": encoded(COLOUR, "JPEG"),
    "JPEG progressive": encoded(GREY, "JPEG", progressive=True),
    "JPEG with a thumbnail": jpeg_with_thumbnail(GREY),
    "PNG": encoded(GREY, "PNG"),
    "PNG 16-bit": encoded(Image.fromarray(SURFACE.astype(np.uint16) * 257), "PNG"),
    "PPM": encoded(GREY, "PPM"),
    "TIFF": encoded(GREY, "TIFF"),
    **{f"TIFF {how}": encoded(GREY, "TIFF", compression=how) for how in COMPRESSIONS},
    "WEBP": encoded(GREY, "WEBP"),
    "WEBP lossless": encoded(GREY, "WEBP", lossless=True),
}
every_kind = pytest.mark.parametrize("kind", WHOLE)


def kinds(*beginnings: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", [kind for kind in WHOLE if kind.startswith(beginnings)])
