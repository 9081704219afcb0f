"""Images that are pushed over HTTP: written into the camera's drop folder, and judged like any other."""

import os
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import Final

from starlette.concurrency import run_in_threadpool

from config.settings import Camera, Settings
from daemon.files.flushing import fsync_folder
from daemon.intake.names import NameRule
from daemon.process.control import RefusedError

_STEM: Final = re.compile(r"[^A-Za-z0-9.-]+")
_LONGEST_STEM: Final = 80


class TooLargeError(Exception):
    """An upload is larger than `intake.max_bytes`; nothing of it was kept."""


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
    rule = NameRule(extensions=settings.intake.extensions, ignore=settings.intake.ignore)
    if not rule.is_image(name):
        raise RefusedError(
            f"{filename!r} is not named like an image: intake.extensions takes "
            f"{', '.join(settings.intake.extensions)}"
        )
    return name


async def deliver(
    folder: Path, name: str, chunks: AsyncIterator[bytes], *, most_bytes: int, marker_suffix: str
) -> None:
    """Write an image durably, and rename it into place whole.

    Raises:
        TooLargeError, OSError: nothing of it is left.
    """
    partial = folder / f".{name}.part"
    try:
        await _write(partial, chunks, most_bytes)
        # Nothing is there: the name has 64 random bits. A rename is told to the watcher at once.
        await run_in_threadpool(partial.rename, folder / name)
    except BaseException:
        await run_in_threadpool(partial.unlink, missing_ok=True)
        raise
    if marker_suffix:
        await run_in_threadpool((folder / f"{name}{marker_suffix}").touch)
    await run_in_threadpool(fsync_folder, folder)


async def _write(partial: Path, chunks: AsyncIterator[bytes], most_bytes: int) -> None:
    with await run_in_threadpool(partial.open, "xb") as file:
        received = 0
        async for chunk in chunks:
            received += len(chunk)
            if received > most_bytes:
                raise TooLargeError(
                    f"the image has more than {most_bytes} bytes, the limit of intake.max_bytes"
                )
            await run_in_threadpool(file.write, chunk)
        file.flush()
        await run_in_threadpool(os.fsync, file.fileno())
