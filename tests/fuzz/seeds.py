"""Whole pictures of every kind that `decode` takes, drawn and encoded here, to be mutated."""

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pictures import encoded, png
from PIL import Image

from training.synthetic import draw_surface

HEIGHT, WIDTH = 48, 64
SURFACES = ("patches", "scratches", "crazing")

Pixels = NDArray[np.uint8]


def seeds() -> dict[str, bytes]:
    """The same files in every process, by a name that begins with the format's."""
    return dict([*_jpegs(), *_pngs(), *_bmps(), *_tiffs(), *_others()])


@cache
def _surface(number: int) -> Pixels:
    return draw_surface(SURFACES[number], seed=number, height=HEIGHT, width=WIDTH)


@cache
def _images() -> dict[str, Image.Image]:
    grey = Image.fromarray(_surface(0))
    colour = Image.merge("RGB", [Image.fromarray(_surface(number)) for number in range(3)])
    alpha = colour.copy()
    alpha.putalpha(grey)
    return {
        "grey": grey,
        "colour": colour,
        "alpha": alpha,
        "palette": colour.quantize(50),
        "black and white": grey.convert("1"),
        "CMYK": colour.convert("CMYK"),
        "deep": Image.fromarray(_surface(0).astype(np.uint16) * 257),
    }


def _exif(image: Image.Image) -> bytes:
    """Turned by a quarter, and a thumbnail behind the tags."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    return exif.tobytes() + encoded(image.resize((16, 12)), "JPEG")


def _jpegs() -> Iterator[tuple[str, bytes]]:
    images = _images()
    grey, colour = images["grey"], images["colour"]
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "grey": (grey, {}),
        "colour": (colour, {"subsampling": 2}),
        "colour 4:4:4": (colour, {"subsampling": 0}),
        "progressive": (grey, {"progressive": True}),
        "progressive colour": (colour, {"progressive": True}),
        "CMYK": (images["CMYK"], {}),
        "CMYK progressive": (images["CMYK"], {"progressive": True}),
        "EXIF": (colour, {"exif": _exif(grey)}),
        "restart markers": (grey, {"restart_marker_blocks": 3}),
        "progressive restart markers": (colour, {"restart_marker_rows": 1, "progressive": True}),
        "comment and profile": (grey, {"comment": b"line 4", "icc_profile": bytes(200)}),
    }
    for name, (image, options) in kinds.items():
        yield f"JPEG {name}", encoded(image, "JPEG", **options)
    yield "JPEG preview", encoded(grey, "MPO", save_all=True, append_images=[colour.convert("L")])


def _interlaced(pixels: Pixels) -> bytes:
    """Adam7 (ISO/IEC 15948, clause 8), which Pillow reads and does not write."""
    steps = (
        ((0, 8), (0, 8)),
        ((0, 8), (4, 8)),
        ((4, 8), (0, 4)),
        ((0, 4), (2, 4)),
        ((2, 4), (0, 2)),
        ((0, 2), (1, 2)),
        ((1, 2), (0, 1)),
    )
    rows = b""
    for (top, down), (left, right) in steps:
        for row in pixels[top::down, left::right]:
            rows += b"\0" + row.tobytes()
    height, width = pixels.shape
    return png(width, height, bits=8, colour=0, rows=rows, interlaced=True)


def _pngs() -> Iterator[tuple[str, bytes]]:
    images = _images()
    for name, image in images.items():
        if name != "CMYK":
            yield f"PNG {name}", encoded(image, "PNG")
    yield "PNG 4-bit palette", encoded(images["colour"].quantize(12), "PNG", bits=4)
    yield "PNG grey and alpha", encoded(images["alpha"].convert("LA"), "PNG")
    yield "PNG transparent colour", encoded(images["grey"], "PNG", transparency=3)
    yield "PNG EXIF", encoded(images["grey"], "PNG", exif=_exif(images["grey"]), dpi=(300, 300))
    yield "PNG interlaced", _interlaced(_surface(0))
    pages = [images["alpha"]]
    yield "PNG animated", encoded(images["colour"], "PNG", save_all=True, append_images=pages)


def bmp(bits: int, body: bytes, *, width: int, height: int, compression: int = 0) -> bytes:
    """A BMP written by hand, for the depths and the run lengths that Pillow does not write."""
    colours = 1 << bits if bits <= 8 else 0
    palette = b"".join(bytes((n, 255 - n, n // 2, 0)) for n in range(colours))
    offset = 54 + len(palette)
    sizes = (40, width, height, 1, bits, compression, len(body), 2835, 2835, colours, 0)
    header = struct.pack("<IHHI", offset + len(body), 0, 0, offset)
    return b"BM" + header + struct.pack("<IiiHHIIiiII", *sizes) + palette + body


def _run_lengths(pixels: Pixels) -> bytes:
    """Runs of four pixels and a literal run of eight in each row."""
    body = b""
    for row in pixels[::-1]:
        body += b"".join(bytes((4, row[x])) for x in range(0, len(row) - 8, 4))
        body += b"\0\x08" + row[-8:].tobytes() + b"\0\0"
    return body + b"\0\1"


def _bmps() -> Iterator[tuple[str, bytes]]:
    images = _images()
    for name in ("grey", "colour", "alpha", "palette", "black and white"):
        yield f"BMP {name}", encoded(images[name], "BMP")
    surface, sides = _surface(0), {"width": WIDTH, "height": HEIGHT}
    nibbles = (surface[:, ::2] >> 4 << 4) | surface[:, 1::2] >> 4
    yield "BMP 4-bit", bmp(4, nibbles.tobytes(), **sides)
    yield "BMP 16-bit", bmp(16, np.repeat(surface, 2).tobytes(), **sides)
    yield "BMP 32-bit", bmp(32, np.repeat(surface, 4).tobytes(), **sides)
    moved = b"\0\2\5\1"
    yield "BMP run lengths", bmp(8, moved + _run_lengths(surface), **sides, compression=1)
    yield "BMP 4-bit run lengths", bmp(4, moved + _run_lengths(surface), **sides, compression=2)


def _tiled(pixels: Pixels) -> bytes:
    """An uncompressed TIFF of tiles of 16 by 16, which Pillow does not write."""
    height, width = pixels.shape
    tiles = pixels.reshape(height // 16, 16, width // 16, 16).swapaxes(1, 2).reshape(-1, 256)
    count = len(tiles)
    lists = 8 + 2 + 12 * 10 + 4
    offsets = struct.pack(f"<{count}I", *(lists + 8 * count + 256 * n for n in range(count)))
    shorts = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, 322: 16, 323: 16}
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, n, 0) for tag, n in shorts.items())
    entries += struct.pack("<HHII", 324, 4, count, lists)
    entries += struct.pack("<HHII", 325, 4, count, lists + 4 * count)
    lengths = struct.pack("<I", 256) * count
    directory = b"II*\0" + struct.pack("<IH", 8, 10) + entries + bytes(4)
    return directory + offsets + lengths + tiles.tobytes()


def _tiffs() -> Iterator[tuple[str, bytes]]:
    images = _images()
    grey, colour = images["grey"], images["colour"]
    for name, image in images.items():
        yield f"TIFF {name}", encoded(image, "TIFF")
    for how in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        yield f"TIFF {how}", encoded(grey, "TIFF", compression=how)
        yield f"TIFF {how} colour", encoded(colour, "TIFF", compression=how)
    for how in ("group3", "group4", "tiff_ccitt"):
        yield f"TIFF {how}", encoded(images["black and white"], "TIFF", compression=how)
    for how in ("lzma", "zstd"):
        yield f"TIFF {how}", encoded(colour, "TIFF", compression=how)
    yield "TIFF deep lzw", encoded(images["deep"], "TIFF", compression="tiff_lzw")
    strips = {278: 7, 317: 2}  # rows in a strip, horizontal differences
    yield "TIFF strips", encoded(grey, "TIFF", compression="tiff_deflate", tiffinfo=strips)
    odd = {65000: "plant 7", 65001: 5, 270: "strip", 33432: "nobody", 274: 8}
    yield "TIFF odd tags", encoded(grey, "TIFF", tiffinfo=odd)
    yield "TIFF big", encoded(grey, "TIFF", big_tiff=True)
    yield "TIFF pages", encoded(grey, "TIFF", save_all=True, append_images=[colour])
    yield "TIFF tiles", _tiled(_surface(0))
    yield "TIFF floats", encoded(grey.convert("F"), "TIFF")


def _others() -> Iterator[tuple[str, bytes]]:
    images = _images()
    surface = _surface(0)
    for name in ("grey", "colour", "black and white", "deep"):
        yield f"PPM {name}", encoded(images[name], "PPM")
    sides = b"%d %d" % (WIDTH, HEIGHT)
    twelve_bits = (surface.astype(">u2") * 16).tobytes()
    yield "PPM 12-bit", b"P5\n# line 4\n" + sides + b" 4095\n" + twelve_bits
    yield "PPM of 200 greys", b"P5 " + sides + b" 200\n" + (surface // 2).tobytes()
    numbers = b"\n".join(b"%d" % value for value in surface.ravel())
    yield "PPM in letters", b"P2\n" + sides + b"\n255\n" + numbers + b"\n"
    for name in ("grey", "colour", "alpha"):
        for lossless in (False, True):
            exif = _exif(images["grey"]) if lossless else b""
            data = encoded(images[name], "WEBP", lossless=lossless, exif=exif)
            yield f"WEBP {name}{' lossless' if lossless else ''}", data
    pages = {"save_all": True, "append_images": [images["alpha"]]}
    yield "WEBP animated", encoded(images["colour"], "WEBP", **pages)
