"""Changes that keep a file's outer form whole, so that the decoders behind it are reached."""

import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence

from pictures import png_chunk

Numbers = Sequence[int]
Breaker = Callable[[random.Random, bytes, Numbers], bytes]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHUNKS = [b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"iCCP"]
PNG_CHUNKS += [b"zTXt", b"iTXt", b"eXIf", b"gAMA", b"cHRM", b"sBIT", b"pHYs"]
BMP_FIELDS = {2: 4, 10: 4, 14: 4, 18: 4, 22: 4, 26: 2, 28: 2, 30: 4, 34: 4, 38: 4, 46: 4, 50: 4}
BMP_VALUES = {14: (12, 40, 52, 56, 64, 108, 124), 28: (1, 2, 4, 8, 16, 24, 32), 30: (0, 1, 2, 3)}
JPEG_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xC4, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE)
TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
TIFF_TAGS = [254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 284, 292, 317, 320]
TIFF_TAGS += [322, 323, 324, 325, 330, 338, 339, 347, 512, 513, 514, 529, 530, 532, 34665, 37724]
TIFF_VALUES = {
    258: (1, 2, 4, 8, 12, 16, 32, 64),
    259: (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32809, 32908, 32946, 34661, 34712, 34925, 50000, 50001),
    262: (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 32803, 32844, 32845),
    266: (1, 2),
    274: (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    277: (0, 1, 2, 3, 4, 5, 6, 255),
    284: (0, 1, 2),
    317: (1, 2, 3),
    322: (1, 16, 64, 65536),
    323: (1, 16, 64, 65536),
    338: (0, 1, 2),
    339: (1, 2, 3, 4),
}


def break_structure(rng: random.Random, data: bytes, numbers: Numbers) -> bytes:
    """One change that this file's format understands; none where the format is not known."""
    for beginning, breaker in BREAKERS.items():
        if data.startswith(beginning):
            try:
                return breaker(rng, data, numbers)
            except (
                struct.error,
                zlib.error,
                LookupError,
                StopIteration,
                ValueError,
                OverflowError,
            ):
                return data  # broken too much already
    return data


def jpeg_segments(data: bytes) -> list[bytes]:
    """The markers with what belongs to them; a scan's pixels belong to the marker before them."""
    return re.split(rb"(?s)(?=\xff[\xc0-\xfe])(?!\xff[\xd0-\xd7])", data)


def _jpeg(rng: random.Random, data: bytes, numbers: Numbers) -> bytes:
    segments = jpeg_segments(data)
    chosen = rng.randrange(1, len(segments))
    segment = segments[chosen]
    match rng.randrange(8):
        case 0:  # its length
            segment = segment[:2] + _number(rng, numbers, 2) + segment[4:]
        case 1:  # the frame's sides
            chosen = next(n for n, one in enumerate(segments) if b"\xc0" <= one[1:2] <= b"\xc2")
            frame = segments[chosen]
            segment = frame[:5] + _number(rng, numbers, 2) + _number(rng, numbers, 2) + frame[9:]
        case 2:  # a byte of it
            segment = _byte(rng, segment, 4)
        case 3:  # its marker
            segment = b"\xff" + bytes([rng.choice(JPEG_FRAMES)]) + segment[2:]
        case 4:  # the same again, perhaps many times
            segment = segment * rng.choice((2, 3, 50, 400))
        case 5:
            segment = b""
        case 6:  # with another
            other = rng.randrange(1, len(segments))
            segments[other], segment = segment, segments[other]
        case _:  # without pixels
            segment = segment[: 2 + int.from_bytes(segment[2:4], "big")]
    segments[chosen] = segment
    return b"".join(segments)


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks = []
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        body = data[position + 8 : position + 8 + length]
        chunks.append((data[position + 4 : position + 8], body))
        position += 12 + length
    return chunks


def _png(rng: random.Random, data: bytes, numbers: Numbers) -> bytes:
    chunks = png_chunks(data)
    chosen = rng.randrange(len(chunks))
    kind, body = chunks[chosen]
    match rng.randrange(8):
        case 0:  # the header's sides
            kind, header = chunks[0]
            sides = _number(rng, numbers, 4) + _number(rng, numbers, 4)
            chunks[0] = (kind, sides + header[8:])
        case 1:  # the header's depth, colour, method
            chunks[0] = (chunks[0][0], _byte(rng, chunks[0][1], 8))
        case 2:
            chunks[chosen] = (rng.choice(PNG_CHUNKS), body)
        case 3:
            chunks[chosen] = (kind, _byte(rng, body, 0))
        case 4:
            chunks[chosen:chosen] = [(kind, body)] * rng.choice((1, 2, 100))
        case 5:
            del chunks[chosen]
        case 6:  # pixels that inflate to something else
            packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
            rows = bytearray(zlib.decompressobj().decompress(packed, 1 << 14))
            rows[rng.randrange(len(rows))] = rng.randrange(256)
            rows = rows * rng.choice((1, 1, 2, 1000))
            chunks = [chunks[0], (b"IDAT", zlib.compress(rows)), *chunks[1:]]
        case _:  # a length without its CRC mended
            begin = data.index(kind) - 4
            return data[:begin] + _number(rng, numbers, 4) + data[begin + 4 :]
    return PNG_SIGNATURE + b"".join(png_chunk(*chunk) for chunk in chunks)


def _bmp(rng: random.Random, data: bytes, numbers: Numbers) -> bytes:
    position = rng.choice(list(BMP_FIELDS))
    width = BMP_FIELDS[position]
    if rng.random() < 0.5 and position in BMP_VALUES:
        value = rng.choice(BMP_VALUES[position]).to_bytes(width, "little")
    else:
        value = _number(rng, numbers, width, "little")
    data = data[:position] + value + data[position + width :]
    if data[30] in {1, 2} and rng.random() < 0.5:  # run lengths: end of row, end, move, literal
        begin = rng.randrange(int.from_bytes(data[10:14], "little"), len(data))
        code = b"\0" + rng.choice((b"\0", b"\1", b"\2" + rng.randbytes(2), rng.randbytes(1)))
        data = data[:begin] + code * rng.choice((1, 1, 10, 500)) + data[begin:]
    return data


def _tiff(rng: random.Random, data: bytes, numbers: Numbers) -> bytes:
    order = "<" if data[:2] == b"II" else ">"
    name = "little" if order == "<" else "big"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, directory)
    begin = directory + 2 + 12 * rng.randrange(count)
    _, kind, values = struct.unpack_from(order + "HHI", data, begin)
    changed = bytearray(data)
    match rng.randrange(7):
        case 0:
            struct.pack_into(order + "H", changed, begin, rng.choice(TIFF_TAGS))
        case 1:
            struct.pack_into(order + "H", changed, begin + 2, rng.randrange(20))
        case 2:
            changed[begin + 4 : begin + 8] = _number(rng, numbers, 4, name)
        case 3 | 4:
            known = [n for n in range(count) if data_tag(data, order, directory, n) in TIFF_VALUES]
            begin = directory + 2 + 12 * rng.choice(known)
            value = rng.choice(TIFF_VALUES[struct.unpack_from(order + "H", data, begin)[0]])
            struct.pack_into(order + "HIHH", changed, begin + 2, 3, 1, value, 0)
        case 5:  # a value, where it lies
            size = TIFF_SIZES.get(kind, 1)
            where = begin + 8
            if size * values > 4:
                where = struct.unpack_from(order + "I", data, begin + 8)[0]
                where += size * rng.randrange(values)
            changed[where : where + size] = _number(rng, numbers, size, name)
        case _:  # the next page
            page = rng.choice((0, 8, directory, len(data) - 1, len(data), 1 << 31))
            struct.pack_into(order + "I", changed, directory + 2 + 12 * count, page)
    return bytes(changed)


def data_tag(data: bytes, order: str, directory: int, entry: int) -> int:
    return int(struct.unpack_from(order + "H", data, directory + 2 + 12 * entry)[0])


def _ppm(rng: random.Random, data: bytes, numbers: Numbers) -> bytes:
    words = list(re.finditer(rb"\d+", data[:40]))
    word = rng.choice(words[: 4 if words[0].start() else 3])
    value = rng.choice((b"%d" % rng.choice(numbers), b"-1", b"#", b"9" * 12, b"4095", b"254"))
    return data[: word.start()] + value + data[word.end() :]


def _webp(rng: random.Random, data: bytes, numbers: Numbers) -> bytes:
    chunks = []
    position = 12
    while position + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, position + 4)
        end = position + 8 + length + length % 2
        chunks.append(data[position:end])
        position = end
    chosen = rng.randrange(len(chunks))
    chunk = chunks[chosen]
    match rng.randrange(6):
        case 0:
            chunks[chosen] = chunk[:4] + _number(rng, numbers, 4, "little") + chunk[8:]
        case 1:
            kinds = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"ICCP")
            chunks[chosen] = rng.choice(kinds) + chunk[4:]
        case 2 | 3:  # flags, sides, the beginning of the pixels
            chunks[chosen] = _byte(rng, chunk[:24], 8) + chunk[24:]
        case 4:
            chunks[chosen:chosen] = [chunk] * rng.choice((1, 2, 50))
        case _:
            del chunks[chosen]
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _number(rng: random.Random, numbers: Numbers, width: int, order: str = "big") -> bytes:
    value = rng.choice((rng.choice(numbers), rng.randrange(300), rng.randrange(1 << 8 * width)))
    return (value % (1 << 8 * width)).to_bytes(width, "big" if order == "big" else "little")


def _byte(rng: random.Random, data: bytes, first: int) -> bytes:
    position = rng.randrange(first, len(data))
    return data[:position] + rng.randbytes(1) + data[position + 1 :]


BREAKERS: dict[bytes, Breaker] = {
    b"\xff\xd8": _jpeg,
    PNG_SIGNATURE: _png,
    b"BM": _bmp,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"P": _ppm,
    b"RIFF": _webp,
}
