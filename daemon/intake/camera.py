"""One camera's drop folder, minded by a thread of its own: a share that hangs holds up no other."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from config.mounted import mount_of
from config.settings import Camera
from daemon.files.mounts import MountMemory, is_network_filesystem
from daemon.intake.names import NameRule
from daemon.intake.pushed import remove_leftovers
from daemon.intake.scanning import count_images, scan
from daemon.intake.waiting import WaitingRoom
from daemon.intake.watching import FolderWatch, WatchError
from daemon.names import to_text
from daemon.process.health import Health
from daemon.process.instance import FolderClaim
from daemon.store.database import StoreError
from daemon.values import Delivery

log = structlog.get_logger(__name__)

_CHUNK: Final = 500
_POLLING_SECONDS: Final = 1.0
_COUNT_SECONDS: Final = 10.0
_STUCK_SECONDS: Final = 30.0
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
        mounts: MountMemory,
        health: Health,
        rescan_seconds: float,
        marker_suffix: str,
        stopping: threading.Event,
    ) -> None:
        self._camera = camera
        self._folder = Path(camera.folder)
        self._room = room
        self._rule = rule
        self._known = known
        self._mounts = mounts
        self._health = health
        self._rescan_seconds = rescan_seconds
        self._marker_suffix = marker_suffix
        self._stopping = stopping
        self._claim = FolderClaim()
        self._watch: FolderWatch | None = None
        self._tidied: tuple[int, int] | None = None
        self._polled = camera.watch == "polling"
        self._arm_at = 0.0
        self._heard = False
        self._busy_since: float | None = None
        self._backlog = 0
        self._count_at = 0.0
        self.rescans = 0
        """Times since the start that the folder was listed."""
        self.overflows = 0
        """Times since the start that inotify lost events of it."""

    @property
    def name(self) -> str:
        return self._camera.name

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def watching(self) -> str:
        """`inotify`, `polling`, or `lost` while the folder is away."""
        if self._watch:
            return "inotify"
        return "polling" if self._polled else "lost"

    @property
    def backlog(self) -> int:
        """Images in the folder, counted now and then while they are more than the room has places."""
        return self._backlog

    def run(self) -> None:
        """Until told to stop."""
        try:
            while not self._stopping.is_set():
                self.step()
                self._busy_since = None
                seconds = self._rescan_seconds
                if self._watch is None:
                    seconds = min(seconds, _POLLING_SECONDS)
                self._stopping.wait(seconds)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._disarm()
        self._claim.let_go()

    def tell_if_stuck(self, *, now: float) -> None:
        """Tell of a folder that neither answers nor fails. Called from another thread."""
        trouble = f"camera {self._camera.name} hangs"
        since = self._busy_since
        if since is not None and now - since > _STUCK_SECONDS:
            self._health.trouble(
                trouble,
                f"the drop folder {to_text(self._folder)} does not answer; see whether its share's "
                "server is up; where it was unmounted and mounted anew, restart Millwatch. The other "
                "cameras go on",
            )
        else:
            self._health.mended(trouble)

    def step(self) -> None:
        """Look after the watch, then scan once."""
        self._busy_since = time.monotonic()
        trouble = f"camera {self._camera.name}"
        unreadable: list[OSError] = []
        try:
            if not self._is_ours(trouble):
                return
            self._mind_watch()
            self._tidy()
            self.rescans += 1
            found = 0
            files = scan(self._folder, self._rule, on_error=unreadable.append)
            while not self._stopping.is_set():
                chunk = list(islice(files, _CHUNK))
                if not chunk:
                    break
                found += len(chunk)
                self._offer(chunk)
            self._backlog = 0
            heard, self._heard = self._heard, False
            self._mind_mount(in_use=bool(found) or heard)
        except OSError as error:
            self._disarm()
            self._health.trouble(
                trouble,
                f"the drop folder {to_text(self._folder)} cannot be read: {error.strerror}; bring "
                "it back or mend its permissions, it is tried again by itself",
            )
        except StoreError as error:
            if error.damaged:  # it ends the service: the next start refuses it, and says what to do
                raise
            self._health.trouble(f"{trouble} rescan", str(error))
        else:
            self._tell_unreadable(unreadable)
            self._health.mended(trouble)
            self._health.mended(f"{trouble} rescan")

    def _is_ours(self, trouble: str) -> bool:
        """Two that take images from one folder would record some of them twice."""
        status = self._folder.stat()
        if self._claim.take((status.st_dev, status.st_ino)):
            return True
        self._disarm()
        self._health.trouble(
            trouble,
            f"another Millwatch, with a state_dir of its own, takes the images of the drop folder "
            f"{to_text(self._folder)}, and this one leaves them to it; give each a folder of its own, "
            "or stop one of the two: this one takes over by itself",
        )
        return False

    def _offer(self, chunk: Iterable[tuple[str, os.stat_result]]) -> None:
        # What is in the room already need not be looked up; in a backlog that is most of it.
        waiting = self._room.waiting(self._camera.name)
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
            if filename not in waiting
        ]
        recorded = self._known(deliveries)
        for delivery in deliveries:
            self._busy_since = time.monotonic()
            if delivery in recorded:
                continue
            # A full room empties as images are judged: the scan goes on from where it is.
            while not self._room.offer(
                delivery.camera,
                delivery.filename,
                closed=False,
                now=time.monotonic(),
                look=delivery.signature,
            ):
                self._busy_since = time.monotonic()
                self._count_backlog()
                if self._stopping.wait(0.2):
                    return

    def _count_backlog(self) -> None:
        """Of a folder that holds more images than there are places: for whoever asks how far it is."""
        if time.monotonic() < self._count_at:
            return
        self._count_at = time.monotonic() + max(self._rescan_seconds, _COUNT_SECONDS)
        with suppress(OSError):  # the scan itself will tell
            self._backlog = count_images(self._folder, self._rule)
            log.info("backlog", camera=self._camera.name, images=self._backlog)

    def _mind_watch(self) -> None:
        """Arm the watch, or arm it anew where it died or the folder was replaced."""
        status = self._folder.stat()
        watch = self._watch
        if watch and watch.is_alive() and watch.identity == (status.st_dev, status.st_ino):
            return
        self._disarm()
        self._heard = False  # what was heard came from another folder
        if time.monotonic() < self._arm_at:
            return
        self._polled = self._camera.watch == "polling" or (
            self._camera.watch == "auto" and is_network_filesystem(self._folder)
        )
        if self._polled:
            return
        trouble = f"watch {self._camera.name}"
        try:
            self._watch = FolderWatch(self._folder, self._hint, self._overflowed)
        except WatchError as error:
            self._polled = True
            # Not each time that it is polled: to watch thousands of folders, all but one, takes long.
            self._arm_at = time.monotonic() + self._rescan_seconds
            self._health.trouble(trouble, f"{error}; until then the folder is polled")
            return
        self._health.mended(trouble)
        log.info("watching", camera=self._camera.name, folder=to_text(self._folder))

    def _tidy(self) -> None:
        """Once in each folder that comes to lie there: another share may hold what a kill left."""
        status = self._folder.stat()
        if self._tidied != (status.st_dev, status.st_ino):
            remove_leftovers(self._folder)
            self._tidied = status.st_dev, status.st_ino

    def _mind_mount(self, *, in_use: bool) -> None:
        """Tell an idle camera from a share that is not mounted: its empty mount point is no share.

        Args:
            in_use: there are images, or were: what an event announces is gone before a scan finds it.
        """
        mount = mount_of(self._folder)
        trouble = f"mount {self._camera.name}"
        if in_use or self._mounts.is_the_same(self._folder, mount):
            self._mounts.remember(self._folder, mount)
            self._health.mended(trouble)
        else:
            self._health.trouble(
                trouble,
                f"the drop folder {to_text(self._folder)} is empty and on another filesystem than "
                "before; see whether its share is still mounted. If another took its place for good, "
                f"stop Millwatch, remove {to_text(self._mounts.file)}, and start it",
            )

    def _hint(self, filename: str, closed: bool) -> None:
        marker = self._marker_suffix
        if marker and filename.endswith(marker):
            filename, closed = filename.removesuffix(marker), True
        if self._rule.is_image(filename):
            self._heard = True
            self._room.offer(self._camera.name, filename, closed=closed, now=time.monotonic())

    def _overflowed(self) -> None:
        self.overflows += 1

    def _disarm(self) -> None:
        if self._watch:
            self._watch.stop()
            self._watch = None

    def _tell_unreadable(self, errors: Sequence[OSError]) -> None:
        trouble = f"inside camera {self._camera.name}"
        if not errors:
            self._health.mended(trouble)
            return
        where = to_text(errors[0].filename or self._folder)
        others = f", and {len(errors) - 1} more," if len(errors) > 1 else ""
        self._health.trouble(
            trouble, f"{where}{others} cannot be read: {errors[0].strerror}; mend its permissions"
        )
