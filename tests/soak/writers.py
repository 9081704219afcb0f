"""Cameras of every habit: threads that deliver images whether or not a daemon lives."""

import hashlib
import io
import itertools
import os
import random
import struct
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from builders import ALL_CLASSES, Station, surface_file
from PIL import Image

Key = tuple[str, str]
"""A camera and a path inside its folder."""

FORMS = {"jpeg": ".jpg", "png": ".png", "bmp": ".bmp"}
REUSED = "reused"
"""The subfolder of the names that are used again and again."""
_TICK_SECONDS = 0.02
"""Between two contents of one name: two writes within one tick of the kernel's clock (4 ms) have one
modification time, and nothing but their bytes could tell them apart."""


class Pictures:
    """Small picture files of which no two are the same."""

    def __init__(self, seeds: int) -> None:
        self._pool = [
            (form, surface_file(surface, seed=seed, form=form))
            for form in FORMS
            for surface in ALL_CLASSES
            for seed in range(seeds)
        ]
        self._numbers = itertools.count(1)

    def new(self, chance: random.Random) -> tuple[str, bytes]:
        """A file name's extension, and bytes that were never given before."""
        form, data = chance.choice(self._pool)
        number = next(self._numbers)
        note = b"%d" % number + b" " * chance.randrange(40)
        if form == "jpeg":
            segment = b"\xff\xfe" + struct.pack(">H", 2 + len(note)) + note
            data = data[:2] + segment + data[2:]
        elif form == "png":
            body = b"tEXtnote\0" + note
            chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
            data = data[:33] + chunk + data[33:]  # behind the header's chunk
        else:
            data = data[:6] + struct.pack("<I", number) + data[10:]  # reserved, read by nobody
        return FORMS[form], data

    def broken(self, chance: random.Random) -> tuple[str, bytes]:
        """The same, but no picture will ever come of it."""
        suffix, data = self.new(chance)
        match chance.randrange(4):
            case 0:
                return suffix, b""
            case 1:
                return suffix, data[: chance.randrange(len(data) // 4, len(data) - 16)]
            case 2:
                return suffix, b"no picture %d" % next(self._numbers)
            case _:
                return ".tif", _two_pages(next(self._numbers))


def _two_pages(number: int) -> bytes:
    """Refused at once, where other broken files are waited for."""
    file = io.BytesIO()
    pages = [Image.new("L", (8, 8), number + page & 255) for page in (0, 1)]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    return file.getvalue() + b"%d" % number


@dataclass
class Feed:
    """What may be delivered, and what was. Safe between threads.

    Attributes:
        give_up_seconds: after which a half-written file is rightly taken for a broken one.
        allowed: how many images may have been delivered by now; set from outside.
        most_waiting: how many files may lie in the drop folders; likewise.
        once: the content of each name that was used once.
        reused: the contents of each name that was used again, in their order.
        overslept: names whose writer was held up, by a busy machine, until they were given up.
    """

    station: Station
    pictures: Pictures
    images: int
    give_up_seconds: float
    allowed: int = 0
    most_waiting: int = 0
    once: dict[Key, str] = field(default_factory=dict)
    reused: dict[Key, list[str]] = field(default_factory=dict)
    overslept: set[Key] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)
    _taken: int = 0
    _waiting: int = 0
    _counted_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, *, at_once: bool = False) -> bool:
        """Wait until one more image may be delivered, or do not; False when that was all."""
        while not self.stopping.is_set():
            with self._lock:
                if self._taken >= self.images:
                    return False
                if at_once or (self._taken < self.allowed and self._has_room()):
                    self._taken += 1
                    return True
            self.stopping.wait(0.01)
        return False

    @property
    def delivered(self) -> int:
        with self._lock:
            return len(self.once) + sum(map(len, self.reused.values()))

    def path(self, key: Key) -> Path:
        camera, filename = key
        path = self.station.folder(camera) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def delivered_once(self, key: Key, data: bytes) -> None:
        with self._lock:
            assert key not in self.once
            self.once[key] = hashlib.sha256(data).hexdigest()

    def delivered_again(self, key: Key, data: bytes) -> None:
        with self._lock:
            self.reused.setdefault(key, []).append(hashlib.sha256(data).hexdigest())

    def _has_room(self) -> bool:
        if time.monotonic() - self._counted_at > 0.2:
            self._counted_at = time.monotonic()
            drops = (self.station.folder(camera) for camera in self.station.cameras)
            self._waiting = sum(len(names) for drop in drops for *_, names in os.walk(drop))
        return self._waiting < self.most_waiting


class Writer:
    """One camera's habit, in a thread of its own."""

    def __init__(self, feed: Feed, habit: "Habit", number: int, seed: int) -> None:
        self.feed = feed
        self.error: BaseException | None = None
        self.chance = random.Random(f"{seed} {number}")  # noqa: S311 -- the same each time
        self._name = f"{habit.__name__}-{number}"
        self._habit = habit
        self._numbers = itertools.count()
        self._last: tuple[str, bytes] | None = None
        self.thread = threading.Thread(target=self._work, name=self._name)

    def _work(self) -> None:
        try:
            while self.feed.take():
                self._habit(self)
        except BaseException as error:  # noqa: BLE001 -- raised again by who started it
            self.error = error

    def pause(self, least: float, most: float) -> None:
        self.feed.stopping.wait(self.chance.uniform(least, most))

    def key(self, suffix: str) -> Key:
        """A name that was never used, in some camera's folder or below it."""
        number = next(self._numbers)
        below = self.chance.choice(["", f"{self._name}/", f"{self._name}/{number // 50}/"])
        return self.camera(), f"{below}{self._name}-{number}{suffix}"

    def camera(self) -> str:
        return self.chance.choice(self.feed.station.cameras)

    def picture(self) -> tuple[str, bytes]:
        """A new one; now and then the same once more, under another name."""
        if self._last is None or self.chance.random() > 0.05:
            self._last = self.feed.pictures.new(self.chance)
        return self._last

    def in_pieces(self, pieces: int, *, closing: bool, least: float, most: float) -> None:
        """Write one file with pauses, kept open all the time or closed after each piece."""
        suffix, data = self.picture()
        key = self.key(suffix)
        path = self.feed.path(key)
        cuts = sorted(self.chance.sample(range(1, len(data) - 16), pieces - 1))
        last_write = time.monotonic()
        file = path.open("xb", buffering=0)
        for start, end in itertools.pairwise([0, *cuts, len(data)]):
            if start:
                self.pause(least, most)
            if closing:
                file.close()
                file = path.open("ab", buffering=0)
            file.write(data[start:end])
            if time.monotonic() - last_write > self.feed.give_up_seconds:
                self.feed.overslept.add(key)
            last_write = time.monotonic()
        file.close()
        self.feed.delivered_once(key, data)


Habit = Callable[[Writer], None]


def fast(writer: Writer) -> None:
    """Straight to the final name, many in a row."""
    suffix, data = writer.picture()
    key = writer.key(suffix)
    writer.feed.path(key).write_bytes(data)
    writer.feed.delivered_once(key, data)
    if writer.chance.random() < 0.05:
        writer.pause(0.0, 0.2)


def slow(writer: Writer) -> None:
    """In small pieces; mostly the pauses are shorter than the quiet time, sometimes longer."""
    short = writer.chance.random() < 0.7
    least, most = (0.0, 0.05) if short else (0.1, 0.6)
    writer.in_pieces(writer.chance.randint(3, 8), closing=False, least=least, most=most)


def pausing(writer: Writer) -> None:
    """Half of it, closed; the rest later."""
    writer.in_pieces(2, closing=True, least=0.0, most=0.9)


def renaming(writer: Writer) -> None:
    """Under another name first."""
    suffix, data = writer.picture()
    key = writer.key(suffix)
    path = writer.feed.path(key)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(data)
    partial.rename(path)
    writer.feed.delivered_once(key, data)
    if writer.chance.random() < 0.05:
        writer.pause(0.0, 0.2)


def overwriting(writer: Writer) -> None:
    """A few names again and again, several times before a daemon can be done with the first."""
    name = f"{REUSED}/{writer.thread.name}-{writer.chance.randrange(3)}.jpg"
    key = (writer.camera(), name)
    overwrite(writer, key)
    for _ in range(writer.chance.randrange(8)):
        if writer.feed.take(at_once=True):
            overwrite(writer, key)


def overwrite(writer: Writer, key: Key) -> None:
    """By rename over the old file, or by writing into it."""
    _, data = writer.feed.pictures.new(writer.chance)
    path = writer.feed.path(key)
    if writer.chance.random() < 0.5:
        partial = path.with_name(path.name + ".part")
        partial.write_bytes(data)
        partial.rename(path)
    else:
        half = writer.chance.randrange(1, len(data) - 16)
        with path.open("wb", buffering=0) as file:
            file.write(data[:half])
            if writer.chance.random() < 0.2:
                writer.pause(0.0, 0.3)
            file.write(data[half:])
    writer.feed.delivered_again(key, data)
    writer.pause(_TICK_SECONDS, 0.1)


def breaking(writer: Writer) -> None:
    """Files that no picture will ever come of."""
    suffix, data = writer.feed.pictures.broken(writer.chance)
    key = writer.key(suffix)
    writer.feed.path(key).write_bytes(data)
    writer.feed.delivered_once(key, data)
    writer.pause(0.0, 0.6)


HABITS: tuple[Habit, ...] = (
    *(fast, slow, slow, slow, pausing, pausing),
    *(renaming, overwriting, overwriting, breaking),
)
