"""Decodes the cases that it is told by number, one a line, and tells of each what happened.

The decoder runs here and not in the test, because it may end the process, never return, or take
all memory. Standard error is a file in memory while it runs: C code writes there what it thinks.
"""

import faulthandler
import importlib
import json
import os
import re
import resource
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fuzz.mutations import Case, case
from fuzz.seeds import seeds

import models.preprocessing
from models.preprocessing import Decoded, UnreadableError

MAX_PIXELS = 4_000_000
MOST_GROWN_BYTES = 32 * MAX_PIXELS
"""The worst whole picture, a lossless WEBP, takes 17 bytes a pixel."""
MOST_MAPPED_BYTES = 1 << 30
"""Above what the process has at its start. A WEBP maps, and does not touch, what its header claims."""
BENIGN = re.compile(
    "^Possibly corrupt EXIF|^Corrupt EXIF|^Truncated File Read|^Tag data larger than file"
    "|^Image appears to be a malformed MPO|^Invalid APNG"
    '|^Metadata Warning|"Orientation" tag|of custom tag|^JPEGLib: '
)
"""What Pillow and libtiff say of EXIF, previews, animation and unknown tags makes no pixel. A JPEG
has no checksum: a scan broken in its middle decodes, and only inside a TIFF is a word said of it."""

Decode = Callable[..., Decoded]


def examine(decode: Decode, one: Case) -> dict[str, Any]:
    """Decode it, and say what came of it, what it cost, and what is wrong with that."""
    noise_before = os.fstat(2).st_size
    resident = _reset_peak()
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcome, detail, problems = _outcome(decode, one)
    seconds = time.perf_counter() - start
    grown = _status("VmHWM") - resident
    noise = os.pread(2, 1 << 20, noise_before)
    if grown > MOST_GROWN_BYTES:
        problems.append(f"took {grown >> 20} MB")
    if outcome == "decoded":
        told = [*(str(one.message) for one in caught), *noise.decode(errors="replace").splitlines()]
        problems += [f"pixels, and {line}" for line in told if not BENIGN.search(line)]
    return {
        "outcome": outcome,
        "detail": detail,
        "problems": problems,
        "seconds": seconds,
        "grown": grown,
        "noise_bytes": os.fstat(2).st_size - noise_before,
        "noise_lines": noise.count(b"\n"),
        "warnings": [str(one.message)[:60] for one in caught],
    }


def _outcome(decode: Decode, one: Case) -> tuple[str, str, list[str]]:
    try:
        decoded = decode(
            one.data, size=one.size, max_pixels=MAX_PIXELS, allow_zero_tail=one.allow_zero_tail
        )
    except UnreadableError as error:
        # Memory was refused to it: more than MOST_MAPPED_BYTES at once.
        out_of_memory = "MemoryError" in error.detail
        return error.reason.value, error.detail, [error.detail] if out_of_memory else []
    except BaseException as error:  # noqa: BLE001 -- this is what is looked for
        return "raised", repr(error), [f"raised {error!r}"]
    shape = (one.size, one.size) if one.size else (decoded.height, decoded.width)
    seen = (decoded.pixels.shape, str(decoded.pixels.dtype))
    wrong = seen != (shape, "uint8") or not 0 < decoded.width * decoded.height <= MAX_PIXELS
    return "decoded", "", [f"{seen} of {decoded.width}x{decoded.height}"] if wrong else []


def _status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise LookupError(name)


def _reset_peak() -> int:
    """Begin to measure the peak again; what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmHWM")


def main() -> None:
    seed, seconds, decoder = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    module, name = decoder.split(":")
    decode: Decode = getattr(importlib.import_module(module), name)
    files = seeds()
    for data in files.values():  # Pillow imports its plugins now, and not while measured
        with suppress(UnreadableError):
            models.preprocessing.decode(data)
    told = os.fdopen(os.dup(2), "w")
    os.dup2(os.memfd_create("standard error"), 2)
    mapped = _status("VmSize") + MOST_MAPPED_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (mapped, mapped))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable(told)
    print("ready", flush=True)
    for line in sys.stdin:
        one = case(files, seed=seed, iteration=int(line))
        faulthandler.dump_traceback_later(seconds, exit=True, file=told)
        result = examine(decode, one)
        faulthandler.cancel_dump_traceback_later()
        os.ftruncate(2, 0)
        os.lseek(2, 0, os.SEEK_SET)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
