"""Decoders with one fault each, to see that the campaign notices it."""

import ctypes
import threading
import warnings
from typing import Any

import numpy as np

from models.preprocessing import Decoded, UnreadableError, UnreadableReason

GOOD = Decoded(pixels=np.zeros((24, 24), dtype=np.uint8), width=24, height=24)


def dies(_data: bytes, **_: Any) -> Decoded:
    ctypes.string_at(0)
    return GOOD


def hangs(_data: bytes, **_: Any) -> Decoded:
    threading.Event().wait()
    return GOOD


def grows(_data: bytes, **_: Any) -> Decoded:
    np.ones(150_000_000, dtype=np.uint8)
    raise UnreadableError(UnreadableReason.TRUNCATED, "after much memory")


def is_refused_memory(_data: bytes, **_: Any) -> Decoded:
    try:
        np.ones(1 << 32, dtype=np.uint8)
    except MemoryError as error:
        raise UnreadableError(UnreadableReason.TRUNCATED, f"MemoryError: {error}") from error
    return GOOD


def raises(_data: bytes, **_: Any) -> Decoded:
    raise SyntaxError("broken PNG file")


def misshapes(_data: bytes, **_: Any) -> Decoded:
    return Decoded(pixels=np.zeros((3, 5), dtype=np.uint8), width=24, height=24)


def warns(_data: bytes, *, size: int | None, **_: Any) -> Decoded:
    warnings.warn("half of it is missing", stacklevel=2)
    side = size or 24
    return Decoded(pixels=np.zeros((side, side), dtype=np.uint8), width=side, height=side)
