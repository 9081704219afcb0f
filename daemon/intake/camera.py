"""One camera's drop folder, minded by a thread of its own: a share that hangs holds up no other."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from config.settings import Camera
from daemon.health import Health
from daemon.intake.mounts import is_network_filesystem
from daemon.intake.names import NameRule
from daemon.intake.scanning import scan
from daemon.intake.waiting import WaitingRoom
from daemon.intake.watching import FolderWatch, WatchError
from daemon.names import to_text
from daemon.store.database import StoreError
from daemon.values import Delivery

log = structlog.get_logger(__name__)

_CHUNK: Final = 500
_POLLING_SECONDS: Final = 1.0
Known = Callable[[Sequence[Delivery]], set[Delivery]]


class CameraMinder:
    """Keeps a watch on the folder, and finds by scanning what no event reported."""

    def __init__(
        self,
        camera: Camera,
        *,
        room: WaitingRoom,
        rule: NameRule,
        known: Known,
        health: Health,
        rescan_seconds: float,
        stopping: threading.Event,
    ) -> None:
        self._camera = camera
        self._folder = Path(camera.folder)
        self._room = room
        self._rule = rule
        self._known = known
        self._health = health
        self._rescan_seconds = rescan_seconds
        self._stopping = stopping
        self._watch: FolderWatch | None = None
        self._polled = camera.watch == "polling"

    @property
    def name(self) -> str:
        return self._camera.name

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def watching(self) -> str:
        """`inotify`, `polling`, or `lost` while the folder is away."""
        if self._polled:
            return "polling"
        return "inotify" if self._watch else "lost"

    def run(self) -> None:
        """Until told to stop."""
        try:
            while not self._stopping.is_set():
                self.step()
                seconds = self._rescan_seconds
                if self._polled or self._watch is None:
                    seconds = min(seconds, _POLLING_SECONDS)
                self._stopping.wait(seconds)
        finally:
            self._disarm()

    def step(self) -> None:
        """Look after the watch, then scan once."""
        trouble = f"camera {self._camera.name}"
        try:
            self._mind_watch()
            files = scan(self._folder, self._rule, on_error=self._cannot_read)
            while not self._stopping.is_set():
                chunk = list(islice(files, _CHUNK))
                if not chunk:
                    break
                self._offer(chunk)
        except OSError as error:
            self._disarm()
            self._health.trouble(
                trouble,
                f"the drop folder {self._folder} cannot be read: {error.strerror}; bring it back or "
                "mend its permissions, it is tried again by itself",
            )
        except StoreError as error:
            self._health.trouble(f"{trouble} rescan", str(error))
        else:
            self._health.mended(trouble)
            self._health.mended(f"{trouble} rescan")

    def _offer(self, chunk: Iterable[tuple[str, os.stat_result]]) -> None:
        deliveries = [
            Delivery(
                camera=self._camera.name,
                filename=filename,
                path=self._folder / filename,
                inode=status.st_ino,
                size=status.st_size,
                mtime_ns=status.st_mtime_ns,
            )
            for filename, status in chunk
        ]
        recorded = self._known(deliveries)
        for delivery in deliveries:
            if delivery in recorded:
                continue
            # A full room empties as images are judged: the scan goes on from where it is.
            while not self._room.offer(
                delivery.camera, delivery.filename, closed=False, now=time.monotonic()
            ):
                if self._stopping.wait(0.2):
                    return

    def _mind_watch(self) -> None:
        """Arm the watch, or arm it anew where it died or the folder was replaced."""
        status = self._folder.stat()
        if self._camera.watch == "auto" and is_network_filesystem(self._folder):
            self._polled = True
        if self._polled:
            return
        watch = self._watch
        if watch and watch.is_alive() and watch.identity == (status.st_dev, status.st_ino):
            return
        self._disarm()
        trouble = f"watch {self._camera.name}"
        try:
            self._watch = FolderWatch(self._folder, self._hint)
        except WatchError as error:
            self._polled = True
            self._health.trouble(trouble, f"{error}; until then the folder is polled")
            return
        self._health.mended(trouble)
        log.info("watching", camera=self._camera.name, folder=str(self._folder))

    def _hint(self, filename: str, closed: bool) -> None:
        if self._rule.is_image(filename):
            self._room.offer(self._camera.name, filename, closed=closed, now=time.monotonic())

    def _disarm(self) -> None:
        if self._watch:
            self._watch.stop()
            self._watch = None

    def _cannot_read(self, error: OSError) -> None:
        name = to_text(error.filename or "")
        self._health.trouble(
            f"folder {name}", f"cannot be read: {error.strerror}; mend its permissions"
        )
