"""The database, the disks, and the model that is to serve."""

import os
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from config.folders import user_in_words
from config.mounted import mount_of
from config.settings import Settings
from daemon.doctor.checked import AS_WHOM, Checked, bad, good, remark
from daemon.doctor.folders import nearest
from daemon.files.disks import Room
from daemon.files.mounts import is_network_filesystem
from daemon.names import to_text
from daemon.serving import REPLACE_IT, ServingModelError, load_first
from daemon.store.database import StoreError
from daemon.store.upgrading import DatabaseRefusedError, open_existing, read_only
from daemon.store.viewing import latest

_WHOLE_VERSION: Final = (3, 51, 3)
_LOW_INODES: Final = 0.02


def database_checks(settings: Settings) -> Iterator[Checked]:
    """`daemon.checking` tells of its schema and of damage."""
    path = settings.database_file
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < _WHOLE_VERSION:
        found = f"{version}; before 3.51.3 two programs that write at once may, rarely, damage a database"
        step = (
            "Millwatch writes alone. Let no other program write to its database; reading is safe."
        )
        yield remark("SQLite", found, step)
    else:
        yield good("SQLite", version)
    folder = nearest(path.parent)
    if is_network_filesystem(folder):
        yield bad(
            "database",
            f"{to_text(path)} is on a share ({mount_of(folder).kind}), where SQLite's log does not work",
            "Set database_url to a file on a local disk.",
        )
    try:
        is_there = path.exists()
    except OSError as error:
        found = f"{to_text(path)} cannot be seen by {user_in_words()}: {error.strerror}"
        yield bad("database", found, AS_WHOM)
        return
    if not is_there:
        yield good("database", f"there is none yet; the first start makes {to_text(path)}")
        return
    try:
        with read_only(path) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    except (DatabaseRefusedError, StoreError, sqlite3.Error) as error:
        yield bad("database", str(error), "`millwatch db check` reads all of it.")
        return
    size = path.stat().st_size / 1e6
    if mode == "wal":
        yield good("database", f"{to_text(path)}, {size:.1f} MB, with a log of its own (WAL)")
    else:
        step = "The next start sets it. If it does not stay, the folder's filesystem cannot do it."
        yield remark("database", f"{to_text(path)} is in mode {mode}, not WAL", step)


def last_recorded(settings: Settings) -> str | None:
    """The time of the newest record; None where there is none, or it cannot be read."""
    try:
        if not settings.database_file.exists():
            return None
        with open_existing(settings.database_file) as database:
            newest = latest(database, limit=1)
    except (StoreError, OSError):
        return None
    return newest[0].recorded_at if newest else None


def disk_checks(settings: Settings, silent: Collection[Path] = ()) -> Iterator[Checked]:
    """Space and inodes of each disk, once; not of a share that hangs."""
    keep = settings.retention
    folders = {
        "state_dir": settings.state_dir,
        "database": settings.database_file.parent,
        "review": settings.review_folder,
        "archive": settings.archive_folder,
        "quarantine": settings.quarantine_folder,
        **{f"camera {camera.name}": camera.folder for camera in settings.cameras},
    }
    seen: dict[int, str] = {}
    for name, wanted in folders.items():
        if wanted in silent:
            continue
        folder = nearest(wanted)
        try:
            disk, room, status = folder.stat().st_dev, Room.of(folder), os.statvfs(folder)
        except OSError:  # a share that is away, which is told elsewhere
            continue
        if seen.setdefault(disk, name) != name:
            continue
        check, free = f"disk of {name}", f"{room.free / 1e9:.1f} of {room.total / 1e9:.1f} GB free"
        if status.f_files and status.f_favail < _LOW_INODES * status.f_files:
            found = f"{status.f_favail} of {status.f_files} inodes are left on {to_text(folder)}"
            step = "Delete small files there, or make the filesystem anew with more inodes."
            yield bad(check, found, step)
        if room.is_below(keep.pause_below_gb, at_most=0.01):
            step = "Free space there: images wait in their drop folders until there is some."
            yield bad(check, f"{free}, less than retention.pause_below_gb", step)
        elif room.is_below(keep.make_room_below_gb, at_most=0.1):
            found = f"{free}, less than retention.make_room_below_gb"
            step = "The oldest images in archive and quarantine there are deleted; free space to keep them."
            yield remark(check, found, step)
        else:
            yield good(check, free)


def model_checks(settings: Settings) -> tuple[list[Checked], str]:
    """Whether the model loads, and in which runtime; its name, "" where it does not."""
    try:
        model, fallen = load_first(settings)
    except ServingModelError as error:
        step = "Mend it as the message says, or leave model.folder out to use the shipped one."
        return [bad("model", str(error), step)], ""
    told = []
    if fallen is not None:
        found = f"{fallen.what}, and {model.version} serves instead"
        told.append(bad("model", found, REPLACE_IT))
    found = f"{model.version} by {model.runtime.name}"
    if not model.decider.normal.any():
        found += "; it knows no class that may pass yet (commissioning)"
    told.append(good("model", found))
    step = "None is needed where it is fast enough: `millwatch demo` measures."
    told += [remark("model: runtime", each, step) for each in model.remarks]
    return told, model.runtime.name
