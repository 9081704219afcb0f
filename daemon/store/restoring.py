"""Putting back a backup: the database that it replaces is kept, and there always is one."""

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

from daemon.names import from_text, to_text
from daemon.store.backups import copy_database, fsync_file, fsync_folder
from daemon.store.database import StoreError, explain, uri_to_read
from daemon.store.soundness import Soundness, examine

_LOGS = ("-wal", "-shm")
"""After the database's name: what SQLite keeps beside it, and would apply to another one."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was put back.

    Attributes:
        replaced: where the database is that was in use before; None where there was none.
    """

    soundness: Soundness
    replaced: Path | None


def restore(path: Path, backup: Path, *, now: datetime, given_ids: int | None = 0) -> Restored:
    """Put a copy of a backup in the database's place. Nobody else may use the database meanwhile.

    Ids stand in the names of review files and are never given twice: the numbers go on after the
    last one that the replaced database gave. Who was logged in when the backup was made is not so again:
    that session may have been ended since, or its user removed.

    Args:
        given_ids: images are known to have had ids up to this one; None where the review folder, whose
            names tell it, does not answer: then the replaced database must.

    Raises:
        DatabaseRefusedError, StoreError: nothing was changed.
    """
    if not backup.is_file():
        raise StoreError(f"nothing is restored: there is no file {backup}", again_helps=False)
    if path.exists() and path.samefile(backup):
        raise StoreError(f"nothing is restored: {backup} is the database itself", again_helps=False)
    soundness = examine(backup)
    if soundness.damage or soundness.revision is None:
        why = soundness.damage[0] if soundness.damage else "there is nothing in it"
        raise StoreError(
            f"nothing is restored: the backup {backup} is damaged: {why}. Try an older one",
            again_helps=False,
        )
    given = _given(path)
    if given_ids is None and "image" not in given:
        raise StoreError(
            "nothing is restored: the review folder, whose names tell which numbers images had, does not "
            f"answer, and there is no database {path} that tells it. See whether the server of its share "
            "is up, then try again"
        )
    partial = path.with_name(f"{path.name}.restoring")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        is_alone = not os.path.lexists(f"{backup}-wal")
        copy_database(backup, partial, immutable=is_alone)
        _go_on_after(partial, given, given_ids or 0)
        _end_sessions(partial)
        if path.exists():
            partial.chmod(path.stat().st_mode & 0o777)
        replaced = _set_aside(path, now)
        partial.replace(path)
        fsync_folder(path.parent)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise explain(path, f"replaced by {backup}", error) from error
    return Restored(soundness=soundness, replaced=replaced)


class Replaced:
    """What the databases that were replaced still know of images that the one in use does not."""

    def __init__(self, connections: Sequence[sqlite3.Connection]) -> None:
        self._connections = connections

    def delivered_as(
        self, file: Path, *, image_id: int | None, camera: str, size: int
    ) -> str | None:
        """The name that its camera gave to a file; None where none of them, as far as they can be read, knows."""
        query = "SELECT filename FROM image WHERE camera = ? AND size = ? AND (target = ? OR id = ?) LIMIT 1"
        for connection in self._connections:
            with suppress(sqlite3.Error):  # that one may be damaged is why it was replaced
                known = connection.execute(query, (camera, size, to_text(file), image_id))
                if row := known.fetchone():
                    return from_text(row[0])
        return None


@contextmanager
def replaced_databases(path: Path) -> Iterator[Replaced]:
    """Those that a backup replaced at this path, the latest first, as far as they can be opened."""
    ours = re.compile(rf"{re.escape(path.name)}\.replaced-\d{{8}}T\d{{6}}Z(-\d+)?")
    connections: list[sqlite3.Connection] = []
    with ExitStack() as held:
        with suppress(OSError):
            found = [each for each in path.parent.iterdir() if ours.fullmatch(each.name)]
            for each in sorted(found, reverse=True):
                with suppress(sqlite3.Error):
                    uri = held.enter_context(uri_to_read(each))
                    connection = held.enter_context(closing(sqlite3.connect(uri, uri=True)))
                    connection.execute("PRAGMA query_only = ON")
                    connections.append(connection)
        yield Replaced(connections)


def gave_none(path: Path) -> bool:
    """Whether a database gave no image a number yet."""
    return "image" not in _given(path)


def go_on_after(path: Path, given_ids: int) -> None:
    """Let such a database give no image a number up to this one. Raises StoreError."""
    try:
        _go_on_after(path, {}, given_ids)
    except sqlite3.Error as error:
        raise explain(path, "written to", error) from error


def _given(path: Path) -> Mapping[str, int]:
    """The last id of each table, as far as the database can still be read."""
    with suppress(OSError, sqlite3.Error):
        if path.is_file():
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
                return dict(connection.execute("SELECT name, seq FROM sqlite_sequence"))
    return {}


def _go_on_after(path: Path, given: Mapping[str, int], given_ids: int) -> None:
    last = {**given, "image": max(given.get("image", 0), given_ids)}
    with closing(sqlite3.connect(path)) as connection, connection:
        known = dict(connection.execute("SELECT name, seq FROM sqlite_sequence"))
        for name, number in last.items():
            if name in known:
                connection.execute(
                    "UPDATE sqlite_sequence SET seq = ? WHERE name = ? AND seq < ?",
                    (number, name, number),
                )
            elif number:
                connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, number))


def _end_sessions(partial: Path) -> None:
    with closing(sqlite3.connect(partial)) as connection, connection:
        if connection.execute("PRAGMA table_info(web_session)").fetchall():  # older ones have none
            connection.execute("DELETE FROM web_session")
    fsync_file(partial)


def _set_aside(path: Path, now: datetime) -> Path | None:
    """Give the database a second name, and take its logs from beside it."""
    if not os.path.lexists(path):
        return None
    # What is still in the log goes into the file, where it can: one file is easier to keep.
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=0.5)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    aside = _free_name(path, now)
    for ending in ("", *_LOGS):
        beside = Path(f"{path}{ending}")
        if beside.exists():
            _link_or_copy(beside, Path(f"{aside}{ending}"))
    fsync_folder(path.parent)
    for ending in _LOGS:
        Path(f"{path}{ending}").unlink(missing_ok=True)
    return aside


def _free_name(path: Path, now: datetime) -> Path:
    first = f"{path.name}.replaced-{now:%Y%m%dT%H%M%SZ}"
    names = (path.with_name(first if not n else f"{first}-{n}") for n in count())
    return next(name for name in names if not os.path.lexists(name))


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # no links on this filesystem
        shutil.copyfile(source, target)
        fsync_file(target)
