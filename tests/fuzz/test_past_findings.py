"""What once took too long, took too much memory, or gave pixels that the file does not hold."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from fuzz.formats import jpeg_segments
from fuzz.seeds import bmp, seeds
from PIL import Image

from models.preprocessing import UnreadableError, UnreadableReason, decode

# The time that one of these took before is the failure; none needs a second now.
pytestmark = [
    pytest.mark.timeout(30),
    pytest.mark.filterwarnings("ignore:Tag data larger:UserWarning"),
    pytest.mark.filterwarnings("ignore:Metadata Warning:UserWarning"),
]


def repeated_scans(times: int) -> bytes:
    """A large even JPEG whose last scan, of a few bytes, comes again and again."""
    file = io.BytesIO()
    Image.new("L", (4000, 4000), 100).save(file, "JPEG", progressive=True)
    segments = jpeg_segments(file.getvalue())
    return b"".join([*segments[:-1], segments[-2] * times, segments[-1]])


def very_long_row() -> bytes:
    """Resizing takes 32 bytes for each pixel of this side."""
    file = io.BytesIO()
    Image.new("L", (90_000_000, 1)).save(file, "PNG")
    return file.getvalue()


def rows_of_one_run() -> bytes:
    return bmp(8, b"\1\1\0\0" * 95, width=1_000_000, height=95, compression=1)


def numbers_in_letters() -> bytes:
    return b"P2 4000 4000 255 " + b"9 " * 16_000_000


def fax_with_a_broken_line() -> bytes:
    """libtiff says so on standard error, and gives something for the line."""
    data = bytearray(seeds()["TIFF group4"])
    data[20:24] = bytes(4)
    return bytes(data)


def lzma_with_a_wrong_bit() -> bytes:
    data = bytearray(seeds()["TIFF lzma"])
    data[len(data) // 2] ^= 1
    return bytes(data)


def tiff_entry(tag: int, *, values: int) -> bytes:
    """A TIFF whose tag says that it has so many values."""
    data = bytearray(seeds()["TIFF grey"])
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    entries = range(directory + 2, directory + 2 + 12 * count, 12)
    entry = next(at for at in entries if struct.unpack_from("<H", data, at)[0] == tag)
    struct.pack_into("<I", data, entry + 4, values)
    return bytes(data)


@pytest.mark.fault(52, 53)
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: repeated_scans(2000), UnreadableReason.UNSUPPORTED),
        (very_long_row, UnreadableReason.TOO_MANY_PIXELS),
        (rows_of_one_run, UnreadableReason.UNSUPPORTED),
        (numbers_in_letters, UnreadableReason.UNSUPPORTED),
        (fax_with_a_broken_line, UnreadableReason.UNSUPPORTED),
        (lzma_with_a_wrong_bit, UnreadableReason.UNSUPPORTED),
        (lambda: tiff_entry(262, values=1 << 30), UnreadableReason.TRUNCATED),
        (lambda: tiff_entry(278, values=0), UnreadableReason.TRUNCATED),
        (lambda: tiff_entry(284, values=2), UnreadableReason.TRUNCATED),
    ],
    ids=[
        "a JPEG of two thousand scans",
        "a row of ninety million pixels",
        "run lengths of a large picture",
        "a large picture in letters",
        "a fax with a broken line",
        "an LZMA with a wrong bit",
        "a TIFF whose black may be white",
        "a TIFF without the rows of a strip",
        "a TIFF whose planes are of two kinds",
    ],
)
def test_a_file_that_once_did_harm_is_refused(
    make: Callable[[], bytes], reason: UnreadableReason
) -> None:
    with pytest.raises(UnreadableError) as caught:
        decode(make(), size=200)
    assert caught.value.reason is reason


@pytest.mark.fault(52)
@pytest.mark.parametrize(("brightest", "kind"), [(4095, ">u2"), (254, "u1")])
def test_a_large_picture_of_an_odd_depth_is_read_at_once(brightest: int, kind: str) -> None:
    samples = np.full(6000 * 6000, brightest // 2, dtype=kind)
    data = b"P5 6000 6000 %d " % brightest + samples.tobytes()
    pixels = decode(data, size=200).pixels
    assert set(np.unique(pixels)) <= {127, 128}
