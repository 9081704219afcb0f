import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from models.preprocessing import FORMATS, UnreadableError, UnreadableReason, decode
from training.synthetic import draw_surface

# Pillow warns of some broken metadata; the service must be as calm as Pillow is there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

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


def png(width: int, height: int, *, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand, for headers and depths that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


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


# What a whole picture becomes


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("BMP", {}),
        ("PNG", {}),
        ("PPM", {}),
        ("TIFF", {}),
        *(("TIFF", {"compression": how}) for how in COMPRESSIONS if how != "jpeg"),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_grey_picture_keeps_every_pixel(form: str, options: dict[str, Any]) -> None:
    decoded = decode(encoded(GREY, form, **options))
    assert np.array_equal(decoded.pixels, SURFACE)
    assert (decoded.width, decoded.height, decoded.notes) == (200, 120, ())


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_a_lossy_picture_is_still_the_same_picture(form: str) -> None:
    pixels = decode(encoded(GREY, form, quality=90)).pixels
    assert np.abs(pixels.astype(float) - SURFACE).mean() < 4


@every_kind
def test_a_picture_is_squeezed_to_the_square_that_the_network_sees(kind: str) -> None:
    decoded = decode(WHOLE[kind], size=48)
    assert decoded.pixels.shape == (48, 48)
    assert decoded.pixels.dtype == np.uint8
    reference = np.asarray(
        Image.fromarray(decode(WHOLE[kind]).pixels).resize((48, 48), Image.Resampling.BICUBIC)
    )
    assert np.abs(decoded.pixels.astype(float) - reference).mean() < 2


def with_alpha(mode: str) -> Image.Image:
    image = COLOUR.convert(mode)
    image.putalpha(ALPHA)
    return image


@pytest.mark.fault(15)
@pytest.mark.parametrize(
    ("image", "form", "expected", "note"),
    [
        (GREY.convert("1"), "PNG", np.asarray(GREY.convert("1")) * 255, None),
        (GREY.convert("1"), "TIFF", np.asarray(GREY.convert("1")) * 255, None),
        (GREY.convert("1"), "BMP", np.asarray(GREY.convert("1")) * 255, None),
        (with_alpha("L"), "PNG", luma(COLOUR), "alpha dropped"),
        (with_alpha("L"), "TIFF", luma(COLOUR), "alpha dropped"),
        (COLOUR, "PNG", luma(COLOUR), None),
        (COLOUR, "BMP", luma(COLOUR), None),
        (COLOUR, "PPM", luma(COLOUR), None),
        (COLOUR, "TIFF", luma(COLOUR), None),
        (with_alpha("RGB"), "PNG", luma(COLOUR), "alpha dropped"),
        (with_alpha("RGB"), "TIFF", luma(COLOUR), "alpha dropped"),
        (COLOUR.quantize(64), "PNG", luma(COLOUR.quantize(64).convert("RGB")), "palette applied"),
        (COLOUR.quantize(64), "BMP", luma(COLOUR.quantize(64).convert("RGB")), "palette applied"),
        (
            COLOUR.quantize(64).convert("PA"),
            "TIFF",
            luma(COLOUR.quantize(64).convert("RGB")),
            "palette applied",
        ),
        (COLOUR.convert("CMYK"), "TIFF", luma(COLOUR), "CMYK converted"),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_each_kind_of_colour_has_one_conversion_and_says_so(
    image: Image.Image, form: str, expected: NDArray[Any], note: str | None
) -> None:
    decoded = decode(encoded(image, form))
    assert furthest(decoded.pixels, expected) <= 1
    assert decoded.notes == ((note,) if note else ())


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "YCbCr"])
def test_a_colour_jpeg_gives_its_luma(mode: str) -> None:
    pixels = decode(encoded(COLOUR.convert(mode), "JPEG", quality=95)).pixels
    assert np.abs(pixels - luma(COLOUR)).mean() < 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("image", "transparent"),
    [(GREY, 3), (COLOUR, (1, 2, 3)), (COLOUR.quantize(64), bytes(range(64)))],
    ids=["grey", "colour", "palette"],
)
def test_a_png_with_a_transparent_colour_is_read_without_a_murmur(
    image: Image.Image, transparent: object
) -> None:
    decoded = decode(encoded(image, "PNG", transparency=transparent))
    assert np.array_equal(decoded.pixels, decode(encoded(image, "PNG")).pixels)
    assert "alpha dropped" in decoded.notes


def deep(form: str, samples: NDArray[np.uint16], mode: str = "I;16") -> bytes:
    if mode == "I":
        return encoded(Image.fromarray(samples.astype(np.int32)), form)
    if mode == "I;16B":
        height, width = samples.shape
        big = samples.astype(">u2").tobytes()
        return encoded(Image.frombytes(mode, (width, height), big), form)
    return encoded(Image.fromarray(samples), form)


deep_files = pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", "I;16"), ("PNG", "I;16B"), ("TIFF", "I;16"), ("TIFF", "I;16B"), ("TIFF", "I")],
)


@pytest.mark.fault(14)
@deep_files
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_deep_ramp_is_scaled_linearly_and_never_saturates(
    form: str, mode: str, bits: int
) -> None:
    ramp = np.linspace(0, (1 << bits) - 1, 256 * 200).reshape(200, 256).astype(np.uint16)
    decoded = decode(deep(form, ramp, mode))
    assert furthest(decoded.pixels, ramp * (255 / ((1 << bits) - 1))) <= 0.5
    assert decoded.notes == (f"{bits}-bit samples scaled to 8",)


@deep_files
def test_the_same_picture_stored_deep_gives_the_same_pixels(form: str, mode: str) -> None:
    assert SURFACE.max() >= 64  # a darker one would be taken for 14 bits
    data = deep(form, SURFACE.astype(np.uint16) * 257, mode)
    assert np.array_equal(decode(data).pixels, SURFACE)


def test_sixteen_bit_colour_is_cut_to_eight_and_says_so() -> None:
    levels = np.arange(0, 65536, 1024, dtype=">u2")
    rows = (b"\0" + np.repeat(levels, 3).tobytes()) * 8
    decoded = decode(png(64, 8, bits=16, colour=2, rows=rows))
    assert furthest(decoded.pixels, np.tile(levels / 257, (8, 1))) <= 1
    assert decoded.notes == ("16-bit colour cut to 8",)


@pytest.mark.fault(14)
@pytest.mark.parametrize("brightest", [1, 100, 254, 256, 1000, 4095, 65534])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_ppm_of_any_depth_gives_the_same_pixels_as_pillow(brightest: int, bands: int) -> None:
    count = 48 * 64 * bands
    samples = np.linspace(0, brightest + brightest // 50, count).round()  # some are too bright
    kind = "u1" if brightest < 256 else ">u2"
    header = b"P%d 64 48 %d\n" % (5 if bands == 1 else 6, brightest)
    data = header + samples.clip(max=np.iinfo(kind).max).astype(kind).tobytes()
    with Image.open(io.BytesIO(data)) as image:
        deep = image.mode == "I"
        expected = np.rint(np.asarray(image) / 257) if deep else np.asarray(image.convert("L"))
    assert furthest(decode(data).pixels, expected) == 0
    assert refusal(data[:-1]).may_be_unfinished


@pytest.mark.parametrize("outlier", [-1, 65536])
def test_samples_of_more_than_sixteen_bits_are_refused_for_good(outlier: int) -> None:
    samples = SURFACE.astype(np.int32)
    samples[0, 0] = outlier
    error = refusal(encoded(Image.fromarray(samples), "TIFF"))
    assert error.reason is UnreadableReason.UNSUPPORTED
    assert not error.may_be_unfinished


@pytest.mark.parametrize("image", [GREY.convert("F"), COLOUR.convert("LAB")], ids=["F", "LAB"])
def test_a_kind_of_colour_without_a_rule_is_refused_by_name(image: Image.Image) -> None:
    error = refusal(encoded(image, "TIFF"))
    assert error.reason is UnreadableReason.UNSUPPORTED
    assert image.mode in error.detail


# Upright


def turned(orientation: int, form: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(GREY, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))


any_orientation = pytest.mark.parametrize("orientation", range(1, 9))
exif_formats = pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])


@pytest.mark.fault(15)
@any_orientation
@exif_formats
def test_a_turned_camera_gives_an_upright_picture(form: str, orientation: int) -> None:
    data = turned(orientation, form)
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("L"))
    decoded = decode(data)
    assert np.array_equal(decoded.pixels, upright)
    assert (decoded.height, decoded.width) == upright.shape


@any_orientation
@exif_formats
def test_a_turned_picture_is_squeezed_as_its_upright_twin_is(form: str, orientation: int) -> None:
    data = turned(orientation, form)
    twin = encoded(Image.fromarray(decode(data).pixels), "PNG")
    seen = decode(data, size=100).pixels.astype(float)
    assert np.abs(seen - decode(twin, size=100).pixels).max() <= 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"nonsense", b"II*\0\xff\xff\xff\xff", b""])
def test_a_broken_exif_block_does_not_cost_the_picture(form: str, exif: bytes) -> None:
    decoded = decode(encoded(GREY, form, exif=b"Exif\0\0" + exif))
    assert np.array_equal(decoded.pixels, decode(WHOLE[form]).pixels)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_an_exif_block_that_is_nothing_of_the_kind_is_noted(form: str) -> None:
    notes = decode(encoded(GREY, form, exif=b"Exif\0\0nonsense")).notes
    assert notes == ("EXIF unreadable, orientation not applied",)


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
@settings(max_examples=300, deadline=None)
@given(data=mutated_files())
def test_no_bytes_raise_anything_but_unreadable(data: bytes) -> None:
    try:
        pixels = decode(data, size=32, max_pixels=1_000_000, allow_zero_tail=True).pixels
    except UnreadableError:
        return
    assert pixels.shape == (32, 32)
    assert pixels.dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(tail=st.binary(max_size=300), kind=st.sampled_from(sorted(WHOLE)))
def test_noise_behind_the_name_of_a_format_raises_nothing_but_unreadable(
    tail: bytes, kind: str
) -> None:
    assert refusal(WHOLE[kind][:12] + tail).may_be_unfinished


def test_every_format_is_covered_here() -> None:
    assert {kind.split()[0] for kind in WHOLE} == set(FORMATS)
