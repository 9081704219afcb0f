"""Images that are pushed over HTTP: written into the camera's drop folder, and judged like any other."""

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from config.settings import Camera, Settings
from daemon.files.flushing import fsync_folder
from daemon.files.shares import Share, SilentError
from daemon.intake.names import NameRule
from daemon.intake.pushed import partial_name
from daemon.process.control import RefusedError
from daemon.process.lanes import Lane

_STEM: Final = re.compile(r"[^A-Za-z0-9.-]+")
_LONGEST_STEM: Final = 80
_STEP_SECONDS: Final = 60.0
"""A slow disk may take that long to write a large image to its last byte; and a sender, to send any more."""

_DISCARD_SECONDS: Final = 1.0


class TooLargeError(Exception):
    """An upload is larger than `intake.max_bytes`; nothing of it was kept."""


class StalledError(Exception):
    """The sender of an image sends no more of it; nothing of it was kept."""


class UnsureError(Exception):
    """Whether an image was taken is not known yet."""


def camera_named(settings: Settings, name: str) -> Camera:
    """Raises RefusedError."""
    for camera in settings.cameras:
        if camera.name == name:
            return camera
    raise RefusedError(f"there is no camera {name!r} in the configuration")


def delivered_name(settings: Settings, filename: str) -> str:
    """A name in the drop folder that no file has, made from what the sender calls the image.

    Raises:
        RefusedError: when the intake would never take it for an image.
    """
    asked = PurePosixPath(filename.replace("\\", "/").replace("\0", ""))
    suffix = asked.suffix.lower()
    stem = _STEM.sub("-", asked.stem).strip(".-")[:_LONGEST_STEM] or "upload"
    name = f"{stem}__{secrets.token_hex(8)}{suffix}"
    if not NameRule.of(settings.intake).is_image(name):
        raise RefusedError(
            f"{filename!r} is not named like an image: intake.extensions takes "
            f"{', '.join(settings.intake.extensions)}"
        )
    return name


async def deliver(
    share: Share,
    target: Path,
    chunks: AsyncIterator[bytes],
    *,
    most_bytes: int,
    marker_suffix: str,
    seconds: float = _STEP_SECONDS,
) -> None:
    """Write an image durably, and rename it into place whole.

    Args:
        share: the drop folder's, where nothing else is done.
        seconds: how long one step may take.

    Raises:
        TooLargeError, StalledError, SilentError, OSError: nothing of it is left, or will be when the share answers;
            where that fails too, until the next start.
        UnsureError: it may be taken, or be taken when the share answers.
    """
    upload = _Upload(share, target, marker_suffix, seconds)
    try:
        await upload.do(upload.open)
        received = 0
        while (chunk := await _next(chunks, seconds)) is not None:
            received += len(chunk)
            if received > most_bytes:
                raise TooLargeError(
                    f"the image has more than {most_bytes} bytes, the limit of intake.max_bytes"
                )
            await upload.do(partial(upload.write, chunk))
        await upload.do(upload.finish)
        await _place(upload)
    finally:
        await upload.end()


async def _next(chunks: AsyncIterator[bytes], seconds: float) -> bytes | None:
    """None at the end. Raises StalledError."""
    try:
        async with asyncio.timeout(seconds):
            return await anext(chunks, None)
    except TimeoutError as error:
        raise StalledError(f"no more of the image has come for {seconds:g} s") from error


async def _place(upload: "_Upload") -> None:
    try:
        await upload.do(upload.place)
    except SilentError as error:
        raise UnsureError(str(error)) from error
    except OSError as error:
        if upload.is_placed:
            raise UnsureError(str(error)) from error
        raise


class _Upload:
    """One file, written in a thread of its own: where a share hangs, the page waits with none of its threads.

    What hangs is made up for by the steps behind it, whenever it ends.
    """

    def __init__(self, share: Share, target: Path, marker_suffix: str, seconds: float) -> None:
        """Raises SilentError: another upload hangs there."""
        share.refuse_if_silent()
        self._share = share
        self._target = target
        self._marker = Path(f"{target}{marker_suffix}") if marker_suffix else None
        self._seconds = seconds
        self._partial = target.with_name(partial_name())
        self._file: BinaryIO | None = None
        self._lane = Lane("upload")
        self.is_placed = False

    async def do(self, step: Callable[[], None]) -> None:
        """Raises OSError, and SilentError where it takes too long."""
        future = self._lane.submit(partial(_tried, step))
        await asyncio.wait([asyncio.wrap_future(future)], timeout=self._seconds)
        if self._share.is_overdue(future):
            raise self._share.silent()
        if (error := future.result()) is not None:
            raise error

    async def end(self) -> None:
        """Leave nothing but the image, and that only if it is whole."""
        discarded = self._lane.submit(partial(_tried, self._discard))
        self._lane.end()
        seconds = min(self._seconds, _DISCARD_SECONDS)
        await asyncio.wait([asyncio.wrap_future(discarded)], timeout=seconds)

    def open(self) -> None:
        self._file = self._partial.open("xb")

    def write(self, chunk: bytes) -> None:
        if self._file is not None:
            self._file.write(chunk)

    def finish(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def place(self) -> None:
        if (
            self._marker is not None
        ):  # first: without it an image that a kill left would wait for ever
            self._marker.touch()
        # Nothing is there: the name has 64 random bits. A rename is told to the watcher at once.
        self._partial.rename(self._target)
        self.is_placed = True
        fsync_folder(self._target.parent)

    def _discard(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._partial.unlink(missing_ok=True)
        if self._marker is not None and not self.is_placed:
            self._marker.unlink(missing_ok=True)


def _tried(step: Callable[[], None]) -> OSError | None:
    try:
        step()
    except OSError as error:
        return error
    return None
