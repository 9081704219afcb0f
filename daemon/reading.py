"""Reading one delivered file: whole, hashed, and as the network sees it."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.moving import same_file
from daemon.values import Delivery
from models.preprocessing import UnreadableError, UnreadableReason, decode

_CHUNK: Final = 1 << 20
_CRASHES: Final = UnreadableError(UnreadableReason.CRASHES, "it ends the process that decodes it")


class MovedOnError(Exception):
    """The file is not there any more, or not as it was when its turn came."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is read at all (`[intake]`)."""

    max_pixels: int
    max_bytes: int
    allow_zero_tail: bool


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A delivered file, read.

    Attributes:
        held: an open descriptor of it; whoever has the reading closes it with `close`.
        pixels: uint8 grey `(size, size)`; None when it is unreadable.
        unreadable: why, when it is.
    """

    delivery: Delivery
    held: int
    sha256: str
    pixels: NDArray[np.uint8] | None
    notes: tuple[str, ...]
    unreadable: UnreadableError | None

    def close(self) -> None:
        os.close(self.held)


def read(delivery: Delivery, *, size: int, limits: Limits, decodable: bool = True) -> Reading:
    """Read a delivery in one pass: its hash and its pixels come from the same bytes.

    Args:
        decodable: False for what ends the process that decodes it; it is hashed only.

    Raises:
        MovedOnError: the file is gone, or was written to before or while it was read.
        OSError: it cannot be read now; trying again may help.
    """
    with _opened(delivery) as held:
        pixels: NDArray[np.uint8] | None = None
        notes: tuple[str, ...] = ()
        unreadable: UnreadableError | None
        too_large = delivery.size > limits.max_bytes
        if too_large or not decodable:
            digest = _hash(held, delivery.size)
            unreadable = _too_many_bytes(delivery, limits) if too_large else _CRASHES
            notes = (unreadable.detail,)
        else:
            data = _whole(held, delivery.size)
            digest = hashlib.sha256(data).hexdigest()
            pixels, notes, unreadable = _decode(data, size, limits)
        if not same_file(os.fstat(held), delivery):
            raise MovedOnError(str(delivery.path))
        return Reading(
            delivery=delivery,
            held=os.dup(held),
            sha256=digest,
            pixels=pixels,
            notes=notes,
            unreadable=unreadable,
        )


@contextmanager
def _opened(delivery: Delivery) -> Iterator[int]:
    # Never through a link, and never waiting for the other end of a pipe.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        held = os.open(delivery.path, flags)
    except FileNotFoundError as error:
        raise MovedOnError(str(delivery.path)) from error
    try:
        if not same_file(os.fstat(held), delivery):
            raise MovedOnError(str(delivery.path))
        yield held
    finally:
        os.close(held)


def _whole(held: int, size: int) -> bytes:
    """The bytes of a file of that size; no more of one that grows meanwhile, to bound memory."""
    with os.fdopen(os.dup(held), "rb") as file:
        return file.read(size + 1)


def _hash(held: int, size: int) -> str:
    """Of that many bytes: a file that grows as fast as it is read would never end."""
    digest = hashlib.sha256()
    offset = 0
    while offset < size and (chunk := os.pread(held, min(_CHUNK, size - offset), offset)):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def _too_many_bytes(delivery: Delivery, limits: Limits) -> UnreadableError:
    detail = f"{delivery.size} bytes; intake.max_bytes is {limits.max_bytes}"
    return UnreadableError(UnreadableReason.TOO_MANY_BYTES, detail)


def _decode(
    data: bytes, size: int, limits: Limits
) -> tuple[NDArray[np.uint8] | None, tuple[str, ...], UnreadableError | None]:
    try:
        decoded = decode(
            data, size=size, max_pixels=limits.max_pixels, allow_zero_tail=limits.allow_zero_tail
        )
    except UnreadableError as error:
        return None, (error.detail,), error
    return decoded.pixels, decoded.notes, None
