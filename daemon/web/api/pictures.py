"""The pictures that the page shows: by an image's id, as its bytes were when it was judged.

No path of a request opens a file. What lies at the recorded path is shown only if it still is the
image: the review folder is open to others, who may lay anything there.
"""

import asyncio
import hashlib
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from fastapi import Depends, Request
from numpy.typing import NDArray
from PIL import Image

from daemon.files.placing import open_ordinary
from daemon.files.shares import Alive, Shares
from daemon.store.viewing import Viewed
from daemon.web.desk import Desk
from models.heatmap import overlay
from models.preprocessing import Decoded, UnreadableError, decode
from models.registry import NotFiniteError
from models.taxonomy import Verdict

_LONGEST_SIDE: Final = 1600
"""Of a heatmap, in pixels: a tablet shows no more."""
_CHUNK: Final = 1 << 18
_AT_ONCE: Final = 8
"""Each takes one of the page's forty threads, for long where a share is slow."""
_KEPT: Final = 64
"""Thumbnails and heatmaps in memory: some 10 MB."""


class NoPictureError(Exception):
    """There is nothing to show; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    data: bytes
    media_type: str


class Pictures:
    """Safe between threads."""

    def __init__(self, desk: Desk, shares: Shares) -> None:
        self._desk = desk
        self._shares = shares
        self._kept: OrderedDict[tuple[object, ...], Picture] = OrderedDict()
        self._lock = threading.Lock()
        # One at a time: a large picture takes 100 MB, and the processor is the line's.
        self._decoding = threading.Lock()
        self.places = asyncio.Semaphore(_AT_ONCE)
        """Held, on the page's loop, while one is made: who waits for it holds no thread."""

    def whole(self, viewed: Viewed) -> Picture:
        """The image itself where browsers know its format, else as PNG.

        Raises:
            NoPictureError: when it is gone, altered, or no picture.
            SilentError: what it lies on does not answer, or is not there; so of the others.
        """
        data = self._bytes_of(viewed)
        media_type = _media_type(data)
        if media_type is not None:
            return Picture(data=data, media_type=media_type)
        with self._decoding:
            return _png(self._decode(data).pixels)

    def thumbnail(self, viewed: Viewed, side: int) -> Picture:
        """At most `side` pixels wide and high. Raises NoPictureError."""

        def make() -> Picture:
            data = self._bytes_of(viewed)
            with self._decoding:
                seen = self._decode(data, side)
            scale = side / max(seen.width, seen.height)
            size = max(1, round(seen.width * scale)), max(1, round(seen.height * scale))
            return _jpeg(Image.fromarray(seen.pixels).resize(size, Image.Resampling.BILINEAR))

        return self._remembered(("thumbnail", viewed.id, side), make)

    def heatmap(self, viewed: Viewed) -> Picture:
        """Where the model that serves now sees its class. Raises NoPictureError."""
        model = self._desk.model()

        def make() -> Picture:
            data = self._bytes_of(viewed)
            with self._decoding:
                seen = self._decode(data, model.input_size).pixels
                whole = Image.fromarray(self._decode(data).pixels)
            whole.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
            try:
                _, heat = model.explain(seen)
            except NotFiniteError as error:
                raise NoPictureError(f"there is no heatmap: {error}") from error
            return _jpeg(Image.fromarray(overlay(np.asarray(whole), heat)))

        return self._remembered(("heatmap", viewed.id, model.version), make)

    def _remembered(self, key: tuple[object, ...], make: Callable[[], Picture]) -> Picture:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        picture = make()
        with self._lock:
            self._kept[key] = picture
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return picture

    def _bytes_of(self, viewed: Viewed) -> bytes:
        if viewed.verdict == Verdict.UNREADABLE.value:
            raise NoPictureError("it is not a whole picture; the file lies in quarantine")
        if viewed.path is None:
            raise NoPictureError("the image was deleted, as the policy says")
        try:
            most = self._desk.settings.intake.max_bytes
            data = self._shares.of(viewed.path).follow(partial(_read, viewed.path, most))
        except OSError as error:
            self._shares.is_missing(viewed.path)  # which a share that is away does not say
            raise NoPictureError(
                f"the file is missing from where it was put ({error.strerror})"
            ) from error
        if hashlib.sha256(data).hexdigest() != viewed.sha256:
            raise NoPictureError("the file is no longer the one that was judged")
        return data

    def _decode(self, data: bytes, size: int | None = None) -> Decoded:
        intake = self._desk.settings.intake
        try:
            return decode(data, size=size, max_pixels=intake.max_pixels, allow_zero_tail=True)
        except UnreadableError as error:
            raise NoPictureError(f"the picture cannot be shown: {error.detail}") from error


def pictures_of(request: Request) -> Pictures:
    pictures: Pictures = request.app.state.pictures
    return pictures


ThePictures = Annotated[Pictures, Depends(pictures_of)]


def _read(path: Path, most: int, alive: Alive) -> bytes:
    """Raises OSError."""
    with open_ordinary(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(0, "it is larger than any image that is judged")
        data = io.BytesIO()
        while chunk := file.read(min(_CHUNK, most - data.tell())):
            data.write(chunk)
            alive()
        return data.getvalue()


def _media_type(data: bytes) -> str | None:
    """What browsers show as it is."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def _png(pixels: NDArray[np.uint8]) -> Picture:
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "PNG", compress_level=1)
    return Picture(data=made.getvalue(), media_type="image/png")


def _jpeg(image: Image.Image) -> Picture:
    made = io.BytesIO()
    image.save(made, "JPEG", quality=88)
    return Picture(data=made.getvalue(), media_type="image/jpeg")
