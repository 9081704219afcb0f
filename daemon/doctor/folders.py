"""Whether images can be brought from each drop folder to where they go: really tried, and tidied up."""

import errno
import os
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from config.folders import user_in_words
from config.hanging import hang
from config.mounted import mount_of
from config.settings import Camera, Settings
from daemon.clock import timestamp_of_ns
from daemon.doctor.checked import Checked, bad, good, remark
from daemon.files.mounts import is_network_filesystem
from daemon.intake.names import NameRule
from daemon.intake.scanning import scan
from daemon.intake.watching import FolderWatch, WatchError
from daemon.names import to_text

_SOME: Final = 50
"""Images that are looked at in each drop folder, to see whose they are and of what time."""
_ANSWER_SECONDS: Final = 2.0
_AHEAD_SECONDS: Final = 60.0
_WATCHES: Final = Path("/proc/sys/fs/inotify/max_user_watches")


def camera_checks(
    settings: Settings, now: datetime, silent: Collection[Path] = ()
) -> Iterator[Checked]:
    """Of each camera whose folder is there; `config.folders` tells of the others, and of those that hang."""
    rule = NameRule.of(settings.intake)
    targets = {name: each for name, each in _targets(settings).items() if each not in silent}
    answering = [each for each in settings.cameras if each.folder not in silent]
    for camera in answering:
        if is_there(camera.folder):
            yield from _links(camera, targets)
            yield from _owners(camera, rule, now)
            yield from _events(camera)
    yield from _watches(answering)


def _links(camera: Camera, targets: Mapping[str, Path]) -> Iterator[Checked]:
    """Whether an image gets a second name in its new place, or has to be copied there."""
    check = f"camera {camera.name}: moving"
    try:
        with _scratch(camera.folder) as scratch:
            places = targets.values()
            copied = [to_text(each) for each in places if not _can_link(scratch, nearest(each))]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            found = f"{to_text(camera.folder)} is full"
            yield bad(check, found, "Free space there; images wait where the camera put them.")
        return  # else `config.folders` has told it
    if copied:
        found = f"images are copied to {', '.join(copied)}, which are on another filesystem, or one without links"
        step = (
            "It is safe, and slower; put the drop folder and these on one filesystem to be quick."
        )
        yield remark(check, found, step)
    elif targets:
        yield good(check, f"images are linked to {', '.join(targets)}, never copied")


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A file that no camera watcher takes for an image; gone at the end."""
    descriptor, name = tempfile.mkstemp(prefix=".millwatch-doctor-", suffix=".part", dir=folder)
    try:
        os.write(descriptor, b"millwatch doctor was here; this file may be deleted\n")
        yield Path(name)
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)


def _can_link(scratch: Path, folder: Path) -> bool:
    link = folder / scratch.name
    try:
        os.link(scratch, link)
    except OSError:
        return False
    link.unlink()
    return True


def nearest(folder: Path) -> Path:
    """The folder, or the one above it that is there."""
    while not is_there(folder):
        folder = folder.parent
    return folder


def _targets(settings: Settings) -> dict[str, Path]:
    """Where images are brought to."""
    return {
        "review": settings.review_folder,
        "archive": settings.archive_folder,
        "quarantine": settings.quarantine_folder,
    }


def silent_folders(settings: Settings) -> frozenset[Path]:
    """Those whose share hangs, so that they are looked into no more; `config.folders` tells of them."""
    folders = [*(camera.folder for camera in settings.cameras), *_targets(settings).values()]
    hung = hang([partial(is_there, each) for each in folders], seconds=_ANSWER_SECONDS)
    return frozenset(each for each, hangs in zip(folders, hung, strict=True) if hangs)


def is_there(folder: Path) -> bool:
    """Whether this user can see it: one below a closed folder, or on a share that is away, is not there."""
    try:
        return folder.is_dir()
    except OSError:
        return False


def _owners(camera: Camera, rule: NameRule, now: datetime) -> Iterator[Checked]:
    """Whether the camera's own files can be read and removed, and are of this time."""
    check = f"camera {camera.name}: files"
    refused: list[OSError] = []
    images = list(islice(scan(camera.folder, rule, on_error=refused.append), _SOME))
    status = camera.folder.stat()
    if status.st_mode & stat.S_ISVTX and os.geteuid() not in (0, status.st_uid):
        yield bad(
            check,
            f"{to_text(camera.folder)} has the sticky bit: only their owners may remove files there",
            f"chmod -t '{to_text(camera.folder)}'",
        )
    for filename, _ in images:
        try:
            os.close(os.open(camera.folder / filename, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
        except FileNotFoundError:  # the daemon was quicker
            continue
        except OSError as error:
            refused.append(error)
    if refused:
        where = to_text(refused[0].filename or camera.folder)
        found = f"{where} cannot be read by {user_in_words()}: {refused[0].strerror}"
        yield bad(
            check,
            f"{found}; {len(refused)} of those that were looked at",
            "Let what writes there (an FTP or Samba server, say) give its files to a group that "
            f"{user_in_words()} is in, with permission to read and write (umask 0007, setgid folder).",
        )
    newest = max((each.st_mtime_ns for _, each in images), default=0)
    if newest / 1e9 > now.timestamp() + _AHEAD_SECONDS:
        yield remark(
            f"camera {camera.name}: clock",
            f"an image is of {timestamp_of_ns(newest)}, and here it is {now.astimezone(UTC):%FT%TZ}",
            "Set the camera's clock, or this computer's: reports count an image at the time of its file.",
        )


def _events(camera: Camera) -> Iterator[Checked]:
    """How new images are noticed."""
    check = f"camera {camera.name}: noticing"
    kind = mount_of(camera.folder).kind
    if is_network_filesystem(camera.folder):
        found = f"{to_text(camera.folder)} is a share ({kind}), whose server sends no events"
        if camera.watch == "inotify":
            yield bad(
                check, f"{found}, and watch is inotify", 'Set watch = "auto" for this camera.'
            )
        else:
            step = "None is needed: it is polled every second, and an image counts as complete after intake.quiet_seconds."
            yield remark(check, found, step)
        return
    if camera.watch == "polling":
        yield good(check, f"the folder is polled, as configured ({kind})")
        return
    try:
        FolderWatch(camera.folder, lambda _name, _done: None).stop()
    except WatchError as error:
        yield bad(check, str(error), "Until then the folder is polled: images are noticed later.")
    except OSError:  # it went away just now
        return
    else:
        yield good(check, f"by inotify, at once ({kind})")


def _watches(cameras: Sequence[Camera]) -> Iterator[Checked]:
    folders = 0
    for camera in cameras:
        with suppress(OSError):
            if camera.watch != "polling" and not is_network_filesystem(camera.folder):
                folders += sum(1 for _ in os.walk(camera.folder))
    try:
        limit = int(_WATCHES.read_text())
    except (OSError, ValueError):
        return
    found = f"folders that are watched: {folders}, of {limit} that a user may watch"
    if folders * 2 > limit:
        step = "Raise fs.inotify.max_user_watches (sysctl) before there are more."
        yield remark("inotify", found, step)
    else:
        yield good("inotify", found)
