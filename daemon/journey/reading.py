"""Reading one delivered file: whole, hashed, and as the network sees it."""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.files.moving import same_file
from daemon.files.placing import digest
from daemon.values import Delivery
from models.preprocessing import UnreadableError, UnreadableReason, decode

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
        with suppress(OSError):  # of a share that has gone; the descriptor is closed all the same
            os.close(self.held)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A delivered file whose bytes are here: what is left to do touches no disk and no share.

    Attributes:
        held: an open descriptor of it, which goes over to the reading.
        data: the bytes; None for what is not decoded, whose hash and trouble are known already.
    """

    delivery: Delivery
    held: int
    data: bytes | None
    sha256: str = ""
    unreadable: UnreadableError | None = None


def fetch(delivery: Delivery, *, limits: Limits, decodable: bool) -> Fetched:
    """Read a delivery in one pass: its hash and its pixels come from the same bytes.

    Args:
        decodable: False for what ends the process that decodes it; it is hashed only.

    Raises:
        MovedOnError: the file is gone, or was written to before or while it was read.
        OSError: it cannot be read now; trying again may help.
    """
    held = _open(delivery)
    try:
        _refuse_another(held, delivery)
        fetched = _fetch(delivery, held, limits, decodable=decodable)
        _refuse_another(held, delivery)
    except BaseException:
        os.close(held)
        raise
    return fetched


def understand(fetched: Fetched, *, size: int, limits: Limits) -> Reading:
    """Whatever computes, after `fetch`."""
    sha256, unreadable = fetched.sha256, fetched.unreadable
    pixels: NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()
    try:
        if fetched.data is not None:
            sha256 = hashlib.sha256(fetched.data).hexdigest()
            pixels, notes, unreadable = _decode(fetched.data, size, limits)
        elif unreadable is not None:
            notes = (unreadable.detail,)
    except BaseException:  # no memory, say
        os.close(fetched.held)
        raise
    return Reading(
        delivery=fetched.delivery,
        held=fetched.held,
        sha256=sha256,
        pixels=pixels,
        notes=notes,
        unreadable=unreadable,
    )


def _fetch(delivery: Delivery, held: int, limits: Limits, *, decodable: bool) -> Fetched:
    too_large = delivery.size > limits.max_bytes
    if not too_large and decodable:
        return Fetched(delivery=delivery, held=held, data=_whole(held, delivery.size))
    return Fetched(
        delivery=delivery,
        held=held,
        data=None,
        sha256=digest(held, delivery.size),
        unreadable=_too_many_bytes(delivery, limits) if too_large else _CRASHES,
    )


def _open(delivery: Delivery) -> int:
    # Never through a link, and never waiting for the other end of a pipe.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(delivery.path, flags)
    except FileNotFoundError as error:
        raise MovedOnError(str(delivery.path)) from error


def _refuse_another(held: int, delivery: Delivery) -> None:
    if not same_file(os.fstat(held), delivery):
        raise MovedOnError(str(delivery.path))


def _whole(held: int, size: int) -> bytes:
    """The bytes of a file of that size; no more of one that grows meanwhile, to bound memory."""
    data = os.read(held, size + 1)
    if len(data) >= size:
        return data
    parts = [data]  # a share may give less at a time
    while (left := size - sum(map(len, parts))) > 0 and (data := os.read(held, left)):
        parts.append(data)
    return b"".join(parts)


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
