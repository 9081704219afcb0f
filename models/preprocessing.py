"""From the bytes of a picture file to the uint8 grey square that the network sees.

Training, evaluation and the daemon all come through `decode`; there is no second path. Whatever
changes a pixel here changes `PREPROCESSING_VERSION`, and a checkpoint of another version is refused.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

PREPROCESSING_VERSION: Final = 1
FORMATS: Final = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names. A JPEG with previews in it (MPO) is opened by its JPEG plugin."""
DEFAULT_MAX_PIXELS: Final = 100_000_000

# Pillow's own limit only warns between one and two times its value, and is one global for the
# process. `decode` reads the size from the header and refuses before anything is unpacked.
Image.MAX_IMAGE_PIXELS = None

_FORMATS_THAT_DECODE_A_ZERO_TAIL: Final = ("BMP", "PPM", "TIFF", "WEBP")
_FEWEST_ZEROS: Final = 512
"""Bytes. A shorter tail of zeros may be the end of any picture."""
_PIXELS_PER_ZERO: Final = 4096
"""An even surface stored as WEBP may end in one zero byte for 10,000 pixels (measured)."""
_LONGEST_SIDE: Final = 1_000_000
"""Resizing takes memory by the side too: 32 bytes a pixel of it (measured)."""
_MOST_SCANS: Final = 100
"""Of a JPEG. Every scan costs a pass over the whole picture, however short it is; encoders write
ten at most, and libtiff stops at a hundred too."""
_MOST_SLOW_PIXELS: Final = 1_000_000
_SLOW_DECODERS: Final = {"bmp_rle": "run-length coded", "ppm_plain": "written in letters"}
"""Pillow has these in Python: up to two seconds for a million pixels (measured)."""
_FAX: Final = ("group3", "group4", "tiff_ccitt", "tiff_raw_16")
_RAW_YCBCR: Final = "RGBX"
"""How Pillow names what it has libtiff convert from YCbCr, other than from JPEG."""
_TAGS_OF_ONE_VALUE: Final = frozenset((256, 257, 259, 262, 266, 277, 278, 284, 317, 322, 323))
_TAGS_OF_PIXELS: Final = _TAGS_OF_ONE_VALUE | {
    *(258, 273, 279, 320, 324, 325, 338, 339, 347, 529, 530, 532)
}
_EXIF_ORIENTATION: Final = 0x0112
_TRANSPOSE_FOR_ORIENTATION: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TRANSPOSES_THAT_SWAP_SIDES: Final = tuple(
    _TRANSPOSE_FOR_ORIENTATION[turn] for turn in (5, 6, 7, 8)
)


class UnreadableReason(StrEnum):
    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    ZERO_TAIL = "zero_tail"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_BYTES = "too_many_bytes"
    SEVERAL_PAGES = "several_pages"
    UNSUPPORTED = "unsupported"
    CRASHES = "crashes"
    """The process that decodes it dies."""


class UnreadableError(Exception):
    """These bytes are not a whole picture that `decode` has a rule for."""

    def __init__(self, reason: UnreadableReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail

    @property
    def may_be_unfinished(self) -> bool:
        """Whether more bytes from the camera could still make this a picture."""
        return self.reason in {
            UnreadableReason.EMPTY,
            UnreadableReason.NOT_AN_IMAGE,
            UnreadableReason.TRUNCATED,
            UnreadableReason.ZERO_TAIL,
        }


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One picture as the network sees it.

    Attributes:
        pixels: uint8 grey, `(size, size)`, or `(height, width)` when no size was asked for.
        width: of the whole picture, upright, in pixels.
        height: likewise.
        notes: what was converted on the way, for the record ("12-bit samples scaled to 8").
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    notes: tuple[str, ...] = ()


def decode(
    data: bytes,
    *,
    size: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    allow_zero_tail: bool = False,
) -> Decoded:
    """Decode a picture file to uint8 grey, upright, resized to `(size, size)` when asked.

    The rules, one for each kind of picture: JPEG gives its luma channel, decoded at a reduced
    scale where the picture is at least twice the size asked for; RGB is weighted by ITU-R 601;
    a palette is applied; alpha is dropped, the colours under it kept; CMYK goes through RGB;
    16-bit grey samples are scaled from the smallest of 8, 10, 12, 14 and 16 bits that holds the
    brightest, of 16-bit colour the upper 8 bits are taken; EXIF orientation is applied. A picture
    is squeezed to the square, not cropped.

    Raises:
        UnreadableError: for anything else, and for a picture that is not whole.
    """
    if not data:
        raise UnreadableError(UnreadableReason.EMPTY, "the file has no bytes")
    try:
        return _decode(data, size, max_pixels, allow_zero_tail=allow_zero_tail)
    except UnreadableError:
        raise
    except Exception as error:
        # Decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error, MemoryError and
        # more on hostile bytes. One bad image harms only itself, so every one of them means this.
        detail = f"{type(error).__name__}: {error}"
        raise UnreadableError(UnreadableReason.TRUNCATED, detail) from error


def _decode(data: bytes, size: int | None, max_pixels: int, *, allow_zero_tail: bool) -> Decoded:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # as above: PNG alone raises SyntaxError here
        message = f"none of {', '.join(FORMATS)} could open it ({type(error).__name__})"
        raise UnreadableError(UnreadableReason.NOT_AN_IMAGE, message) from error
    with image:
        width, height = image.size
        _refuse_oversized_or_paged(image, max_pixels)
        _refuse_slow_or_fax(image, data)
        _refuse_negative(image)
        _refuse_unfinished(image, data, allow_zero_tail=allow_zero_tail)
        notes: list[str] = []
        if image.mode in ("RGB", "RGBA") and ";16" in str(image.tile):
            notes.append("16-bit colour cut to 8")
        if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB", "YCbCr"):
            target = (size, size) if size else image.size
            image.draft("L", target)
        odd_scale = image.format == "PPM" and image.tile[0].codec_name == "ppm"
        picture = _unpack_ppm(image, data) if odd_scale else image
        picture.load()
        # Only now: Pillow turns a TIFF by itself while it loads, and says so by dropping the tag.
        transpose = _transpose_of(picture, notes)
        grey = _to_grey(picture, notes)
    if size and grey.size != (size, size):
        grey = grey.resize((size, size), Image.Resampling.BICUBIC)
    if transpose is not None:
        grey = grey.transpose(transpose)
    if transpose in _TRANSPOSES_THAT_SWAP_SIDES:
        width, height = height, width
    return Decoded(
        pixels=np.asarray(grey, dtype=np.uint8), width=width, height=height, notes=tuple(notes)
    )


def _refuse_oversized_or_paged(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise UnreadableError(
            UnreadableReason.TOO_MANY_PIXELS,
            f"{width}x{height} is {width * height} pixels, the limit is {max_pixels}",
        )
    if max(width, height) > _LONGEST_SIDE:
        raise UnreadableError(
            UnreadableReason.TOO_MANY_PIXELS,
            f"{width}x{height} has a side of more than {_LONGEST_SIDE} pixels",
        )
    # Not `n_frames`: to count a TIFF's pages takes time that grows with their square.
    several = getattr(image, "is_animated", False)
    if several and image.format != "MPO":  # an MPO is a photograph with its own previews
        raise UnreadableError(
            UnreadableReason.SEVERAL_PAGES, "several pages in one file; deliver one file a picture"
        )


def _refuse_slow_or_fax(image: ImageFile.ImageFile, data: bytes) -> None:
    how = _SLOW_DECODERS.get(image.tile[0].codec_name) if image.tile else None
    slow = image.width * image.height > _MOST_SLOW_PIXELS or len(data) > 8 * _MOST_SLOW_PIXELS
    if how and slow:
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED,
            f"{how}, {image.width}x{image.height} takes too long; deliver it plain",
        )
    # In these libtiff, or Pillow above it, goes on after a broken row and gives what it has.
    compression = image.info.get("compression")
    if compression in _FAX:
        raise UnreadableError(UnreadableReason.UNSUPPORTED, "coded as a fax; deliver grey levels")
    converted = image.tile and image.tile[0].codec_name == "libtiff" and image.mode == "RGB"
    if compression == "lzma" or (converted and _RAW_YCBCR in (image.tile[0].args or ())):
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED, f"a broken row would not be noticed ({compression})"
        )


def _refuse_negative(image: Image.Image) -> None:
    """Pillow turns white into black where a TIFF says that 0 is white, but not in deep samples."""
    if isinstance(image, TiffImageFile) and image.mode[0] == "I" and image.tag_v2.get(262) == 0:
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED, "0 is white in samples of 16 bits; deliver 0 as black"
        )


def _refuse_unfinished(image: Image.Image, data: bytes, *, allow_zero_tail: bool) -> None:
    """A camera that allocates the whole file first leaves zeros where it has not written yet.

    Pillow decodes such a file without an error in every format.
    """
    if isinstance(image, TiffImageFile):
        _refuse_lost_tags(image, data)
    if isinstance(image, JpegImageFile):
        if not _has_end_of_image(image, data):
            raise UnreadableError(UnreadableReason.TRUNCATED, "no end-of-image marker")
    elif image.format == "PNG":
        if not _has_all_chunks(data):
            raise UnreadableError(UnreadableReason.TRUNCATED, "not every chunk is there and whole")
    elif image.format in _FORMATS_THAT_DECODE_A_ZERO_TAIL and not allow_zero_tail:
        zeros = len(data) - len(data.rstrip(b"\0"))
        if image.format == "WEBP":
            could_be_black = image.width * image.height // _PIXELS_PER_ZERO
        else:
            could_be_black = 2 * len(data) // image.height  # two rows
        if zeros >= max(_FEWEST_ZEROS, could_be_black):
            raise UnreadableError(
                UnreadableReason.ZERO_TAIL,
                f"the last {zeros} bytes are zero, as in a file allocated but not fully written; "
                "if this camera's pictures end in black, set intake.allow_zero_tail = true",
            )


def _has_end_of_image(image: JpegImageFile, jpeg: bytes) -> bool:
    """Whether an EOI marker follows the picture's own first scan (ITU-T T.81, annex B).

    The segments before the scan are stepped over by their lengths: an EXIF thumbnail holds an EOI
    of its own. What lies between segments is skipped, as decoders do. Inside a scan, 0xFF is
    always followed by 0x00 or a restart marker.
    """
    position = 2
    while (position := jpeg.find(b"\xff", position)) != -1 and position + 4 < len(jpeg):
        marker = jpeg[position + 1]
        if marker == 0xDA:  # start of scan
            # As libjpeg decides whether there is more than this scan to read.
            if "progressive" in image.info or jpeg[position + 4] < image.layers:
                _refuse_many_scans(jpeg, position)
            # From the end, where it lies as a rule: to look through the scan takes a sixth of a decode.
            return jpeg.rfind(b"\xff\xd9", position) != -1
        if marker in (0x00, 0xFF):  # a stuffed or a fill byte, no segment
            position += 1
        else:
            position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    return False


def _refuse_many_scans(jpeg: bytes, first: int) -> None:
    end = jpeg.find(b"\xff\xd9", first)
    if jpeg.count(b"\xff\xda", first, end) > _MOST_SCANS:
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED, f"more than {_MOST_SCANS} scans in one JPEG"
        )


def _has_all_chunks(png: bytes) -> bool:
    """Whether every chunk up to IEND is there and has its CRC (ISO/IEC 15948, clause 5).

    Pillow checks the CRC of no chunk of pixels, and stops reading with the last row.
    """
    view = memoryview(png)
    position = 8
    while position + 12 <= len(png):
        end = position + 8 + int.from_bytes(view[position : position + 4], "big")
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return False
        if png.startswith(b"IEND", position + 4):
            return True
        position = end + 4
    return False


def _refuse_lost_tags(image: TiffImageFile, tiff: bytes) -> None:
    """Pillow skips a tag that it cannot read and takes a default: black may then be white."""
    order = "<" if tiff.startswith(b"II") else ">"
    big = tiff[2:4] in (b"+\0", b"\0+")
    at, step, pointer, counter = (8, 20, "Q", "Q") if big else (4, 12, "I", "H")
    (begin,) = struct.unpack_from(order + pointer, tiff, at)
    (count,) = struct.unpack_from(order + counter, tiff, begin)
    begin += struct.calcsize(order + counter)
    for entry in range(count):
        tag, _, values = struct.unpack_from(order + "HH" + pointer, tiff, begin + step * entry)
        wrong = tag not in image.tag_v2 or (tag in _TAGS_OF_ONE_VALUE and values != 1)
        if tag in _TAGS_OF_PIXELS and wrong:
            raise UnreadableError(UnreadableReason.TRUNCATED, f"tag {tag} cannot be read")


def _unpack_ppm(image: ImageFile.ImageFile, ppm: bytes) -> Image.Image:
    """A binary PPM whose brightest sample is not 255 or 65535, to the same pixels as by Pillow.

    Pillow does this in Python: 11 seconds for four million pixels of 12 bits (measured).
    """
    tile = image.tile[0]
    _, brightest = cast("tuple[str, int]", tile.args)
    bands, top = len(image.getbands()), 65535 if image.mode == "I" else 255
    kind = np.dtype("u1" if brightest < 256 else ">u2")
    count = image.width * image.height * bands
    samples = np.frombuffer(ppm, kind, count, tile.offset).reshape(image.height, image.width, -1)
    levels = np.rint(np.arange(1 << 8 * kind.itemsize) / brightest * top).clip(max=top)
    scaled = levels.astype(np.int32 if image.mode == "I" else np.uint8)[samples]
    return Image.fromarray(scaled if bands > 1 else scaled[:, :, 0])


def _transpose_of(image: Image.Image, notes: list[str]) -> Image.Transpose | None:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 -- a broken EXIF block must not cost the picture
        notes.append("EXIF unreadable, orientation not applied")
        return None
    transpose = _TRANSPOSE_FOR_ORIENTATION.get(orientation)
    if transpose is not None:
        notes.append(f"EXIF orientation {orientation} applied")
    return transpose


def _to_grey(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.info.pop("transparency", None) is not None:
        notes.append("alpha dropped")
    match image.mode:
        case "L":
            return image
        case "1" | "RGB" | "YCbCr":
            grey = image.convert("L")
        case "LA" | "La":
            notes.append("alpha dropped")
            grey = image.getchannel(0)
        case "RGBA" | "RGBa" | "RGBX":
            notes.append("alpha dropped")
            grey = Image.merge("RGB", image.split()[:3]).convert("L")
        case "P" | "PA":
            notes.append("palette applied")
            grey = image.convert("RGB").convert("L")
        case "CMYK":
            notes.append("CMYK converted")
            grey = image.convert("RGB").convert("L")
        case "I" | "I;16" | "I;16B" | "I;16L" | "I;16N":
            grey = _scale_deep_samples(np.asarray(image), notes)
        case mode:
            detail = f"no rule for pictures of mode {mode}"
            raise UnreadableError(UnreadableReason.UNSUPPORTED, detail)
    return grey


def _scale_deep_samples(samples: NDArray[np.integer], notes: list[str]) -> Image.Image:
    # Also where a PGM says what is white: each picture is normalised, so detail counts and brightness
    # does not. Of 60 dark ones of 12 bits, up to 255, all are named rightly so, and 29 by their header.
    brightest = int(samples.max())
    if int(samples.min()) < 0 or brightest > 65535:
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED, "samples outside 0..65535; deliver at most 16 bits"
        )
    bits = next(bits for bits in (8, 10, 12, 14, 16) if brightest < 1 << bits)
    notes.append(f"{bits}-bit samples scaled to 8")
    grey_of = np.rint(np.arange(1 << bits) * (255 / ((1 << bits) - 1))).astype(np.uint8)
    return Image.fromarray(grey_of[samples])
