"""Deleting in time what may be deleted.

Only archived and quarantined images are ever deleted, the oldest first; what is in review or
labelled is not. A file goes first and its record is changed after it, because on a full disk nothing
can be recorded until something was deleted. A kill between the two leaves a record of a file that
is absent; the oldest records are looked at again after each start.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

import structlog

from config.mounted import mount_of
from config.settings import Settings
from daemon.clock import timestamp
from daemon.files.disks import Room
from daemon.files.flushing import fsync_folder
from daemon.files.mounts import MountMemory
from daemon.files.moving import REASON_SUFFIX
from daemon.names import to_text
from daemon.process.health import Health
from daemon.process.lanes import ANSWER_SECONDS, Lanes, by_camera
from daemon.retention.jumps import ClockTrust
from daemon.store import expiry
from daemon.store.database import Database, StoreError
from daemon.store.expiry import Old
from daemon.values import Progress
from models.taxonomy import Verdict

log = structlog.get_logger(__name__)

_PAGE: Final = 100
_ROUND_SECONDS: Final = 5.0
_REFUSED_SECONDS: Final = 1.0
_WAIT_SECONDS: Final = 0.2
"""The line stands still meanwhile, at its start with an archive that hangs too."""
_AGES_SECONDS: Final = 3600.0
_YOUNGEST: Final = timedelta(hours=1)
"""Nothing younger is deleted to make room: somebody may be looking for it."""
_MAY_LIE_THERE: Final = (Progress.LEFT, Progress.GONE)
"""What is gone was absent when it was to be moved: its share may only have been away."""
_MAKE_ROOM_SHARE: Final = 0.1


class Retention:
    """Deletes a page of files or records at each step. One thread calls it."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        health: Health,
        clock: Callable[[], datetime],
        mounts: MountMemory,
    ) -> None:
        self._state_dir = settings.state_dir
        self._keep = settings.retention
        self._roots = {
            Verdict.PASS: settings.archive_folder,
            Verdict.UNREADABLE: settings.quarantine_folder,
        }
        self._database = database
        self._health = health
        self._drop_folders = {camera.name: camera.folder for camera in settings.cameras}
        self._mounts = mounts
        self._clock = ClockTrust(settings.state_dir / "clock.json", clock=clock, health=health)
        self._lane, self._cameras = Lanes(), Lanes()
        self._round: Iterator[None] = chain(self._mend(), self._one_round())
        self._begun_at = self._round_at = 0.0
        self._ages_at = 0.0
        self._failed = False

    def step(self, *, seconds: float = _WAIT_SECONDS) -> bool:
        """Do a little, in a lane, and wait so long for it: a disk that hangs holds up nothing but this.

        Returns:
            Whether there is more to do at once.
        """
        now = time.monotonic()
        if now < self._round_at:
            return False
        if not self._lane.overdue():
            self._begun_at = now
            self._health.mended("retention hangs")
        work = {"archive and quarantine": self._work}
        results = self._lane.run(work, seconds=seconds, late=lambda _: None)
        if not results and now - self._begun_at >= ANSWER_SECONDS:
            archive, quarantine = map(to_text, self._roots.values())
            self._health.trouble(
                "retention hangs",
                f"{archive} or {quarantine} does not answer; see whether its disk is well, or its "
                "server up. Where it was unmounted and mounted anew, restart Millwatch. Nothing is "
                "deleted meanwhile",
            )
        return any(results.values())

    def _work(self) -> bool:
        try:
            next(self._round)
        except StopIteration:
            pass
        except StoreError as error:
            self._health.trouble("retention", str(error))
        except OSError as error:
            self._tell(Path(error.filename or self._state_dir), error)
        else:
            return True
        self._round = self._one_round()
        self._round_at = time.monotonic() + _ROUND_SECONDS
        return False

    def reconfigure(self, settings: Settings) -> None:
        """Keep as long as these say from now on. From any thread."""
        self._keep = settings.retention
        self._ages_at = 0.0

    def close(self, *, seconds: float) -> None:
        self._lane.close(seconds=seconds)
        self._cameras.close(seconds=seconds)

    def _one_round(self) -> Iterator[None]:
        self._failed = False
        for verdict in self._roots:
            self._is_in_place(verdict)
        trusted = self._clock.is_trusted()
        if self._keep.make_room_below_gb:
            yield from self._make_room()
        if trusted and time.monotonic() >= self._ages_at:
            self._ages_at = time.monotonic() + _AGES_SECONDS
            days = self._keep.rows_days
            yield from self._delete_aged(Verdict.PASS, self._keep.archive_days, days)
            yield from self._delete_aged(Verdict.UNREADABLE, self._keep.quarantine_days, days)
            yield from self._forget_aged()
        if not self._failed:
            self._health.mended("retention")

    def _mend(self) -> Iterator[None]:
        """Finish what a kill interrupted: record the deletion of files that are absent."""
        for verdict in self._roots:
            # Those that a clock which was ahead recorded before them are no older by any limit.
            now = timestamp(self._clock.now())
            page = next(filter(None, self._pages(verdict, now)), [])
            absent = [old for old in page if old.path is not None and not old.path.exists()]
            self._delete(verdict, absent, "absent")
            yield

    def _make_room(self) -> Iterator[None]:
        limit = timestamp(self._clock.now() - _YOUNGEST)
        for verdict, root in self._roots.items():
            for page in self._pages(verdict, limit):
                if not self._is_in_place(verdict) or not self._is_short_of_room(root):
                    break
                self._delete(verdict, page, "to make room")
                yield

    def _is_short_of_room(self, root: Path) -> bool:
        return Room.of(root).is_below(self._keep.make_room_below_gb, at_most=_MAKE_ROOM_SHARE)

    def _delete_aged(self, verdict: Verdict, *days: int) -> Iterator[None]:
        if not any(days):
            return
        limit = timestamp(self._clock.now() - timedelta(days=min(filter(None, days))))
        for page in self._pages(verdict, limit):
            self._delete(verdict, page, "its time is over")
            yield

    def _pages(self, verdict: Verdict, limit: str) -> Iterator[list[Old]]:
        return _older(self._kept(verdict), limit, timestamp(self._clock.now()))

    def _kept(self, verdict: Verdict) -> Callable[..., list[Old]]:
        return partial(expiry.kept_files, self._database, verdict, below=self._roots[verdict])

    def _delete(self, verdict: Verdict, olds: Sequence[Old], why: str) -> None:
        """Delete files, make it durable, then record it: also of those that are absent already."""
        root = self._roots[verdict]
        if not self._is_in_place(verdict):
            return
        deleted: list[Old] = []
        refused = False
        for old in olds:
            if old.path is None or not old.path.is_relative_to(root):
                continue
            try:
                _unlink(old.path)
            except OSError as error:
                self._tell(old.path, error)
                refused = True
            else:
                deleted.append(old)
        if refused and not deleted:
            # A disk that became read-only refuses all that there is, page by page, again and again.
            self._round_at = time.monotonic() + _REFUSED_SECONDS
        folders = {old.path.parent for old in deleted if old.path is not None}
        for folder in filter(Path.is_dir, folders):
            fsync_folder(folder)
        # Not what is absent because its disk went away meanwhile.
        if deleted and self._is_in_place(verdict):
            expiry.deleted(self._database, deleted)
            log.info("deleted", images=len(deleted), verdict=verdict.value, why=why)
        for folder in folders:
            with suppress(OSError):  # not empty, most likely
                folder.rmdir()

    def _is_in_place(self, verdict: Verdict) -> bool:
        """Whether the disk of the folder is there, and not the mount point that it leaves behind."""
        root = self._roots[verdict]
        if not root.is_dir():
            return False
        mount = mount_of(root)
        if not self._mounts.is_the_same(root, mount) and not self._holds_the_oldest(verdict):
            self._health.trouble(
                "retention",
                f"{to_text(root)} is on another filesystem than before, and the images that were put "
                "there are not in it; nothing is deleted there until its disk is mounted. If another "
                f"took its place for good, stop Millwatch, remove {to_text(self._mounts.file)}, and "
                "start it",
            )
            self._failed = True
            return False
        if not any(root.iterdir()):
            return False
        self._mounts.remember(root, mount)
        return True

    def _holds_the_oldest(self, verdict: Verdict) -> bool:
        """Then it was moved to another disk with all that was in it, or there is nothing to lose."""
        oldest = self._kept(verdict)(after=0, limit=1)
        return all(old.path is None or os.path.lexists(old.path) for old in oldest)

    def _tell(self, path: Path, error: OSError) -> None:
        self._health.trouble(
            "retention",
            f"{to_text(path)} cannot be deleted: {error.strerror}; mend its permissions, it is "
            "tried again by itself",
        )
        self._failed = True

    def _forget_aged(self) -> Iterator[None]:
        if not self._keep.rows_days:
            return
        limit = timestamp(self._clock.now() - timedelta(days=self._keep.rows_days))
        now = timestamp(self._clock.now())
        for page in _older(partial(expiry.ended, self._database), limit, now):
            left = self._still_there(old for old in page if old.progress in _MAY_LIE_THERE)
            forgotten = [old.image_id for old in page if old.image_id not in left]
            if forgotten:
                expiry.forget(self._database, forgotten)
                log.info("records deleted", images=len(forgotten))
            yield

    def _still_there(self, olds: Iterable[Old]) -> set[int]:
        """Those whose file may still lie in the drop folder: it would be judged again."""
        groups = by_camera(olds, lambda old: old.camera)
        work = {camera: partial(self._lie_there, camera, group) for camera, group in groups.items()}
        results = self._cameras.run(work, seconds=ANSWER_SECONDS / 2, late=lambda _: None)
        unknown = {old.image_id for name in groups.keys() - results for old in groups[name]}
        return unknown.union(*results.values())

    def _lie_there(self, camera: str, olds: Sequence[Old]) -> set[int]:
        folder = self._drop_folders.get(camera)
        places = {old.image_id: old.path or (folder and folder / old.filename) for old in olds}
        there = {image_id for image_id, path in places.items() if path and _may_exist(path)}
        if folder is None or self._is_mounted(folder):
            return there
        return {old.image_id for old in olds}

    def _is_mounted(self, folder: Path) -> bool:
        """Whether the drop folder is there, and not the mount point that a share leaves behind."""
        try:
            return folder.is_dir() and self._mounts.is_the_same(folder, mount_of(folder))
        except OSError:
            return False


def _older(read: Callable[..., list[Old]], limit: str, now: str) -> Iterator[list[Old]]:
    """Pages of what was recorded before a time. Ids grow with time, so the first without is the last.

    But not where all of a page was recorded in the time to come: the clock was ahead then, and what came
    after it may well be old.
    """
    after = 0
    while page := read(after=after, limit=_PAGE):
        after = page[-1].image_id
        older = [old for old in page if old.recorded_at < limit]
        if not older and any(old.recorded_at <= now for old in page):
            return
        yield older


def _unlink(path: Path) -> None:
    path.with_name(path.name + REASON_SUFFIX).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _may_exist(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # a share that is away
        return True
    return True
