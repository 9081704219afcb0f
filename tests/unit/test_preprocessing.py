import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import (
    ALPHA,
    COLOUR,
    COMPRESSIONS,
    GREY,
    SURFACE,
    WHOLE,
    encoded,
    every_kind,
    furthest,
    luma,
    png,
    refusal,
)
from PIL import Image, ImageOps

from models.preprocessing import UnreadableReason, decode

# Pillow warns of some broken metadata; the service must be as calm as Pillow is there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

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


@pytest.mark.fault(14)
def test_a_dark_pgm_of_deep_samples_keeps_the_detail_that_eight_bits_can_hold() -> None:
    samples = np.arange(256, dtype=">u2").reshape(16, 16)
    decoded = decode(b"P5\n16 16\n4095\n" + samples.tobytes())
    assert len(np.unique(decoded.pixels)) > 250


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
