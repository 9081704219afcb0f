import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pictures import (
    COLOUR,
    GREY,
    SURFACE,
    WHOLE,
    encoded,
    every_kind,
    furthest,
    kinds,
    png,
    refusal,
)
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from models.preprocessing import FORMATS, UnreadableError, UnreadableReason, decode
from training.synthetic import draw_surface

# Pillow warns of some broken metadata; the service must be as calm as Pillow is there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

# Several pictures in one file


def several(form: str) -> bytes:
    return encoded(GREY, form, save_all=True, append_images=[COLOUR.convert("L")])


@pytest.mark.fault(15)
@pytest.mark.parametrize("form", ["TIFF", "WEBP", "PNG"])
def test_a_file_of_several_pictures_is_refused_for_good(form: str) -> None:
    error = refusal(several(form))
    assert error.reason is UnreadableReason.SEVERAL_PAGES
    assert not error.may_be_unfinished


def test_a_photograph_with_a_preview_in_it_gives_the_photograph() -> None:
    data = several("MPO")
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "MPO"
    assert np.array_equal(decode(data).pixels, decode(WHOLE["JPEG"]).pixels)
    picture_ends = data.index(b"\xff\xd9")
    assert refusal(data[:picture_ends]).may_be_unfinished


@pytest.mark.timeout(30)
def test_a_tiff_that_claims_a_hundred_thousand_pages_costs_no_time() -> None:
    with Image.open(io.BytesIO(WHOLE["TIFF"])) as image:
        assert isinstance(image, TiffImageFile)
        pointer = 8 + 2 + 12 * len(image.tag_v2)  # behind the header and the first page's tags
    data = bytearray(WHOLE["TIFF"])
    assert data[pointer : pointer + 4] == bytes(4)
    begin = len(data)
    data[pointer : pointer + 4] = struct.pack("<I", begin)
    for page in range(100_000):
        data += struct.pack("<HI", 0, begin + 6 * (page + 1))
    data += struct.pack("<HI", 0, 0)
    assert refusal(bytes(data)).reason is UnreadableReason.SEVERAL_PAGES


# Not whole


@pytest.mark.fault(12)
@every_kind
def test_a_picture_cut_anywhere_is_refused_and_may_still_be_finished(kind: str) -> None:
    whole = WHOLE[kind]
    decode(whole)
    for percent in range(1, 100):
        assert refusal(whole[: len(whole) * percent // 100]).may_be_unfinished, percent


@pytest.mark.fault(12)
@kinds("BMP", "JPEG", "PNG", "PPM", "WEBP")
def test_a_picture_that_lacks_its_last_bytes_is_refused(kind: str) -> None:
    for missing in range(1, 30):
        if kind.startswith("BMP") or kind == "PPM":
            missing += 3  # a row of BMP may end in padding  # noqa: PLW2901
        assert refusal(WHOLE[kind][:-missing]).may_be_unfinished, missing


def preallocated(whole: bytes, percent: int, *, times: int = 1) -> bytes:
    """A file of `times` the picture's size, so far written to this share of the picture."""
    written = len(whole) * percent // 100
    return whole[:written] + bytes(times * len(whole) - written)


any_allocation = pytest.mark.parametrize("times", [1, 4])


@pytest.mark.fault(6)
@kinds("JPEG", "PNG")
@any_allocation
def test_a_file_allocated_but_not_fully_written_is_refused(kind: str, times: int) -> None:
    for percent in range(100):
        data = preallocated(WHOLE[kind], percent, times=times)
        assert refusal(data).may_be_unfinished, percent


@pytest.mark.fault(6)
@kinds("BMP", "PPM", "TIFF", "WEBP")
@any_allocation
def test_a_long_tail_of_zeros_is_refused_where_the_format_has_no_end_mark(
    kind: str, times: int
) -> None:
    for percent in range(90):
        data = preallocated(WHOLE[kind], percent, times=times)
        assert refusal(data).may_be_unfinished, percent


@pytest.mark.parametrize("kind", ["BMP", "PPM", "TIFF"])
def test_a_picture_that_ends_in_black_is_taken_when_the_operator_says_so(kind: str) -> None:
    data = preallocated(WHOLE[kind], 60)
    error = refusal(data)
    assert error.reason is UnreadableReason.ZERO_TAIL
    assert "intake.allow_zero_tail" in error.detail
    pixels = decode(data, allow_zero_tail=True).pixels
    assert (pixels == 0).all(axis=1).sum() >= 40


@pytest.mark.parametrize("form", ["BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("samples", [SURFACE, SURFACE.astype(np.uint16) * 257], ids=["8", "16"])
def test_one_black_row_at_the_end_is_a_picture(form: str, samples: NDArray[Any]) -> None:
    if form == "BMP" and samples.dtype == np.uint16:
        return  # there is no such BMP
    black = np.repeat(samples, 4, axis=1)
    black[-1 if form != "BMP" else 0] = 0
    decoded = decode(encoded(Image.fromarray(black), form))
    assert (decoded.pixels == 0).all(axis=1).sum() == 1


def test_a_large_even_surface_stored_as_webp_is_a_picture() -> None:
    even = np.full((2600, 2600), 128, dtype=np.uint8)
    data = encoded(Image.fromarray(even), "WEBP")
    assert data.endswith(bytes(512))
    assert furthest(decode(data).pixels, even) <= 2


@pytest.mark.fault(6)
@kinds("JPEG", "PNG")
def test_a_whole_picture_padded_with_zeros_is_a_picture(kind: str) -> None:
    padded = decode(WHOLE[kind] + bytes(100_000))
    assert np.array_equal(padded.pixels, decode(WHOLE[kind]).pixels)


@pytest.mark.parametrize("filler", [b"\xff\xff\xff", b"\0\0junk", b"\xff\0"])
def test_bytes_between_the_segments_of_a_jpeg_are_skipped_as_decoders_do(filler: bytes) -> None:
    whole = WHOLE["JPEG"]
    second = 4 + int.from_bytes(whole[4:6], "big")
    data = whole[:second] + filler + whole[second:]
    assert np.array_equal(decode(data).pixels, decode(whole).pixels)


def test_a_png_with_one_wrong_bit_in_its_pixels_is_refused() -> None:
    data = bytearray(WHOLE["PNG"])
    data[len(data) // 2] ^= 1
    assert refusal(bytes(data)).reason is UnreadableReason.TRUNCATED


@pytest.mark.fault(16)
def test_a_png_whose_chunk_has_no_sense_is_refused() -> None:
    data = WHOLE["PNG"]
    name = (
        data.index(b"IDAT", data.index(b"IDAT") + 4)
        if data.count(b"IDAT") > 1
        else data.index(b"IEND")
    )
    assert refusal(data[:name] + b"\0\1\2\3" + data[name + 4 :]).may_be_unfinished


# Not a picture at all


@pytest.mark.fault(11, 16)
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", UnreadableReason.EMPTY),
        (b"shift report, 6 June\n" * 50, UnreadableReason.NOT_AN_IMAGE),
        (bytes(10_000), UnreadableReason.NOT_AN_IMAGE),
        (b"\xff\xd8\xff", UnreadableReason.NOT_AN_IMAGE),
        (b"\x89PNG\r\n\x1a\n" + b"\xff" * 200, UnreadableReason.NOT_AN_IMAGE),
        (encoded(GREY, "GIF"), UnreadableReason.NOT_AN_IMAGE),
    ],
    ids=["empty", "text", "zeros", "three bytes", "broken PNG", "GIF"],
)
def test_what_is_no_picture_is_refused_with_its_reason(
    data: bytes, reason: UnreadableReason
) -> None:
    assert refusal(data).reason is reason


def jpeg_claiming(side: int) -> bytes:
    data = bytearray(WHOLE["JPEG"])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def bmp_claiming(side: int) -> bytes:
    data = bytearray(WHOLE["BMP"])
    data[18:26] = struct.pack("<ii", side, side)
    return bytes(data)


@pytest.mark.fault(13)
@pytest.mark.parametrize(
    "data",
    [
        png(100_000, 100_000, bits=8, colour=0, rows=b""),
        jpeg_claiming(65_500),
        bmp_claiming(100_000),
        b"P5 100000 100000 255\n" + bytes(range(1, 256)),
    ],
    ids=["PNG", "JPEG", "BMP", "PPM"],
)
def test_a_picture_that_claims_to_be_huge_is_refused_by_its_header(data: bytes) -> None:
    error = refusal(data)
    assert error.reason is UnreadableReason.TOO_MANY_PIXELS
    assert not error.may_be_unfinished


@pytest.mark.fault(13)
@every_kind
def test_the_limit_of_pixels_is_the_last_number_that_is_taken(kind: str) -> None:
    limit = SURFACE.size
    assert decode(WHOLE[kind], max_pixels=limit).pixels.size == limit
    assert refusal(WHOLE[kind], max_pixels=limit - 1).reason is UnreadableReason.TOO_MANY_PIXELS


@pytest.mark.parametrize("scans", [100, 101])
def test_a_jpeg_of_more_than_a_hundred_scans_is_refused(scans: int) -> None:
    data = WHOLE["JPEG progressive"]
    last = data.rindex(b"\xff\xda")
    repeated = data[:-2] + data[last:-2] * (scans - data.count(b"\xff\xda")) + data[-2:]
    if scans == 100:
        assert decode(repeated).pixels.shape == SURFACE.shape
    else:
        assert refusal(repeated).reason is UnreadableReason.UNSUPPORTED


def test_scans_of_a_component_each_are_counted_too() -> None:
    data = encoded(GREY.convert("RGB"), "JPEG")
    start = data.index(b"\xff\xda")
    of_one = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    error = refusal(data[:start] + of_one * 101 + b"\xff\xd9")
    assert error.reason is UnreadableReason.UNSUPPORTED
    assert "scans" in error.detail


@pytest.mark.parametrize("width", [1_000_000, 1_000_001])
def test_a_side_of_more_than_a_million_pixels_is_refused(width: int) -> None:
    data = b"P5 %d 1 255\n" % width + b"\x80" * width
    if width == 1_000_000:
        assert decode(data, size=16).width == width
    else:
        assert refusal(data, size=16).reason is UnreadableReason.TOO_MANY_PIXELS


@pytest.mark.parametrize("rows", [1000, 1001])
def test_a_picture_in_letters_of_more_than_a_million_pixels_is_refused(rows: int) -> None:
    data = b"P2 1000 %d 9\n" % rows + b"9 " * (1000 * rows)
    if rows == 1000:
        assert (decode(data).pixels == 255).all()
    else:
        assert refusal(data).reason is UnreadableReason.UNSUPPORTED


@pytest.mark.parametrize("how", ["group3", "group4", "tiff_ccitt"])
def test_a_fax_is_refused_by_name(how: str) -> None:
    error = refusal(encoded(GREY.convert("1"), "TIFF", compression=how))
    assert error.reason is UnreadableReason.UNSUPPORTED
    assert "fax" in error.detail


@pytest.mark.fault(15)
def test_a_tiff_of_16_bits_in_which_0_is_white_is_refused_as_it_would_be_seen_in_negative() -> None:
    deep = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)
    said, instead = (struct.pack("<HHII", 262, 3, 1, zero) for zero in (1, 0))
    plain, negative = (
        data.replace(said, instead) for data in (encoded(GREY, "TIFF"), encoded(deep, "TIFF"))
    )
    assert np.array_equal(decode(plain).pixels, 255 - np.asarray(GREY))
    error = refusal(negative)
    assert error.reason is UnreadableReason.UNSUPPORTED
    assert "deliver 0 as black" in error.detail


@pytest.mark.parametrize("tag", [256, 257, 258, 259, 262, 273, 278, 279])
def test_a_tiff_of_which_a_tag_cannot_be_read_is_refused(tag: int) -> None:
    for data, order in ((WHOLE["TIFF"], "<"), (encoded(GREY, "TIFF", big_tiff=True), "<")):
        big = data[2] == 43
        directory = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
        entry = data.index(struct.pack(order + "H", tag), directory + (8 if big else 2))
        broken = bytearray(data)
        struct.pack_into(order + "I", broken, entry + 4, 1 << 30)
        assert refusal(bytes(broken), allow_zero_tail=True).may_be_unfinished


# Large pictures, hostile bytes


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_camera_picture_decoded_at_a_reduced_scale_looks_as_when_decoded_whole(mode: str) -> None:
    large = Image.fromarray(draw_surface("crazing", seed=3, height=512, width=612))
    data = encoded(large.resize((2448, 2048), Image.Resampling.BICUBIC).convert(mode), "JPEG")
    whole = Image.fromarray(decode(data).pixels).resize((160, 160), Image.Resampling.BICUBIC)
    small = decode(data, size=160)
    assert (small.width, small.height) == (2448, 2048)
    difference = np.abs(small.pixels.astype(float) - np.asarray(whole))
    assert 0 < difference.mean() < 1
    assert np.asarray(whole).std() > 5


@st.composite
def mutated_files(draw: st.DrawFn) -> bytes:
    data = bytearray(WHOLE[draw(st.sampled_from(sorted(WHOLE)))])
    # Headers are where decoders go astray, so half of the edits are there.
    for _ in range(draw(st.integers(1, 6))):
        near = st.integers(0, min(400, len(data) - 1))
        position = draw(near | st.integers(0, len(data) - 1))
        data[position : position + draw(st.integers(0, 4))] = draw(
            st.binary(min_size=0, max_size=4)
        )
    return bytes(data)


@pytest.mark.fault(16)
@settings(max_examples=300)
@given(data=mutated_files())
def test_no_bytes_raise_anything_but_unreadable(data: bytes) -> None:
    try:
        pixels = decode(data, size=32, max_pixels=1_000_000, allow_zero_tail=True).pixels
    except UnreadableError:
        return
    assert pixels.shape == (32, 32)
    assert pixels.dtype == np.uint8


@settings(max_examples=100)
@given(tail=st.binary(max_size=300), kind=st.sampled_from(sorted(WHOLE)))
def test_noise_behind_the_name_of_a_format_raises_nothing_but_unreadable(
    tail: bytes, kind: str
) -> None:
    assert refusal(WHOLE[kind][:12] + tail).may_be_unfinished


def test_every_format_is_covered_here() -> None:
    assert {kind.split()[0] for kind in WHOLE} == set(FORMATS)
