"""Copies of the database, made while it is used or not: whole, on the disk, or not there."""

import os
import re
import sqlite3
import stat
import time
from contextlib import closing, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Final

from daemon.store.database import StoreError, explain

_LONG_SECONDS: Final = 3600.0


def new_backup(path: Path, folder: Path, revision: str, now: datetime) -> Path:
    """A file that is not there yet; the backups of a database sort by its name."""
    stem = f"{path.stem}-{revision}-{now:%Y%m%dT%H%M%SZ}"
    names = (folder / f"{stem}{f'-{n}' if n else ''}.db" for n in count())
    return next(name for name in names if not os.path.lexists(name))


def back_up(path: Path, backup: Path) -> None:
    """Copy with SQLite's backup interface: a plain copy of a database in WAL mode can miss commits.

    The copy is one file, which needs no log beside it.

    Raises:
        StoreError: there is no room, something lies there already, or the database cannot be read.
    """
    partial = backup.with_name(f"{backup.name}.part")
    try:
        backup.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(backup):
            raise StoreError(
                f"the database {path} is not backed up: {backup} is there already, and nothing is "
                "ever overwritten. Name another file",
                again_helps=False,
            )
        _remove_leftovers(path, backup.parent)
        _refuse_without_room(path, backup.parent)
        partial.unlink(missing_ok=True)  # of a power cut
        _copy(path, partial)
        partial.rename(backup)
        fsync_folder(backup.parent)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise explain(path, f"backed up to {backup}", error) from error


def copy_database(path: Path, copy: Path, *, immutable: bool = False) -> None:
    """Into an empty or new file, durable.

    Args:
        immutable: nobody writes to it, and its folder may be read-only.

    Raises:
        OSError, sqlite3.Error: what there is of the copy is no use.
    """
    uri = f"{path.as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    with (
        closing(sqlite3.connect(uri, uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
    fsync_file(copy)


def delete_old_backups(path: Path, made: Path, *, keep: int) -> list[Path]:
    """Delete all but the newest backups beside one that was just made; those deleted.

    Their names tell their age, if they are ours. The one just made is kept whatever the clock says: where
    that was ahead once, or has fallen back to 1970, all others look newer. The last one of each older
    schema is kept beside them: without it no version that ran before an upgrade could be gone back to.

    Raises:
        OSError: some are left.
    """
    ours = _names_of(path)
    found = sorted(
        (each == made, match[2], match[1], each)
        for each in made.parent.iterdir()
        if (match := ours.fullmatch(each.name)) and each.is_file()
    )
    lasts = {revision: each for _, _, revision, each in found}.values()
    others = [each for _, _, _, each in found if each not in lasts]
    old = others[: max(0, len(others) + 1 - keep)]
    for each in old:
        each.unlink()
    return old


def _names_of(path: Path) -> re.Pattern[str]:
    """Of a database's backups: the schema, and the time."""
    return re.compile(rf"{re.escape(path.stem)}-([^-]+)-(\d{{8}}T\d{{6}}Z(?:-\d+)?)\.db")


def _remove_leftovers(path: Path, folder: Path) -> None:
    """What kills left of earlier backups, which nobody has written to for long. Raises OSError."""
    partial = re.compile(rf"{_names_of(path).pattern}\.part(-journal)?")
    for each in folder.iterdir():
        if partial.fullmatch(each.name):
            with suppress(OSError):  # another is quicker
                if time.time() - each.stat().st_mtime > _LONG_SECONDS:
                    each.unlink()


def fsync_file(path: Path) -> None:
    with path.open("r+b") as file:  # some shares know no fsync of a file open for reading
        os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where its filesystem can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some shares know no fsync of a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(path: Path, partial: Path) -> None:
    # It holds hashes of passwords: nobody may read more of it than of the database itself.
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    copy_database(path, partial)
    with suppress(OSError):  # a share or a stick that gives every file the permissions of its mount
        partial.chmod(stat.S_IMODE(path.stat().st_mode))


def _refuse_without_room(path: Path, folder: Path) -> None:
    status = os.statvfs(folder)
    log = path.with_name(f"{path.name}-wal")
    free = status.f_bavail * status.f_frsize
    needed = path.stat().st_size + (log.stat().st_size if log.exists() else 0)
    if free < needed:
        raise StoreError(
            f"the database {path} is not backed up: {folder} has {free / 1e6:.1f} MB free, and the "
            f"copy needs {needed / 1e6:.1f} MB. Free space there, or name a file on another disk"
        )
