"""Every record against its file."""

import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from config.text import counted
from daemon.integrity.differences import Counts, Difference, Kind, Roots, content_of, unread
from daemon.integrity.names import id_in_name
from daemon.names import to_text
from daemon.store import places
from daemon.store.database import Database
from daemon.store.places import Notebook, Place
from daemon.values import Progress

_PAGE: Final = 500
_OURS: Final = (Progress.PENDING, Progress.MOVED, Progress.UNSEEN)
"""Images with a file to look for. What was `left` belongs to whoever collects it."""


_LOOKS: Final = 10


def against_files(
    database: Database, roots: Roots, notebook: Notebook, counts: Counts, *, hashes: bool
) -> Iterator[Difference]:
    """Differences by id; what the reading of the files needs goes into the notebook.

    Args:
        hashes: read every file; else its size must do.

    Raises:
        StoreError, OSError
    """
    away: Counter[Path] = Counter()
    after = 0
    while page := places.places(database, after=after, limit=_PAGE):
        after = page[-1].image_id
        counts.records += len(page)
        for was in page:
            if was.progress not in _OURS or was.path is None:
                continue
            counts.pending += was.progress is Progress.PENDING
            try:
                yield from _against_file(database, was, roots, notebook, away, hashes=hashes)
            except OSError as error:
                yield unread(was.path, error, was.image_id)
    for root, number in away.items():
        yield Difference(
            kind=Kind.AWAY,
            path=root,
            what=f"{to_text(root)} is empty or not there, where, by {counted(number, 'record')}, images lie",
            remedy="Mount its disk, or correct the folder in the configuration. If it was emptied on "
            "purpose, nothing is to be done.",
        )


def _against_file(
    database: Database,
    was: Place,
    roots: Roots,
    notebook: Notebook,
    away: Counter[Path],
    *,
    hashes: bool,
) -> Iterator[Difference]:
    seen = _seen(database, was, hashes=hashes)
    if seen is None:
        return
    was, found, trouble = seen
    if found is None:
        root = roots.of(was.path or Path())
        if root in roots.away:
            away[root] += 1
        elif was.progress is not Progress.PENDING or _drop_folder_is_there(was):
            notebook.lose(was)
            yield _missing(was)
        return
    if was.progress is Progress.MOVED and roots.of(found) is None:
        notebook.lose(was)
        yield _left_behind(was, found)
    if found != was.target and id_in_name(found.name) != was.image_id:
        notebook.remember(found)
    if trouble:
        yield Difference(
            kind=Kind.CHANGED,
            path=found,
            image_id=was.image_id,
            what=f"image {was.image_id}: {to_text(found)} {trouble}",
            remedy="What was judged is not what lies there. Put back a copy of the image, if you have "
            "one; the record stays as it is.",
        )


def _seen(
    database: Database, was: Place, *, hashes: bool
) -> tuple[Place, Path | None, str | None] | None:
    """The record, where its file is, and what is wrong with that; None where it has none to look for.

    The daemon goes on working: it may move the file after the record was read, and after it was found.

    Raises:
        OSError: the file cannot be read.
    """
    for _ in range(_LOOKS):
        found = _look(was)
        if found is not None:
            with suppress(FileNotFoundError):
                return was, found, _trouble(found, was, hashes=hashes)
        again = places.place(database, was.image_id)
        if again is None or again.progress not in _OURS or again.path is None:
            return None
        if found is None and again == was:
            return was, None, None
        was = again
    return None


def _look(was: Place) -> Path | None:
    """Where the file is, of the places that the record allows."""
    allowed = [was.path, was.moving_to]
    if was.progress is Progress.PENDING:
        allowed.append(was.target)
    for path in allowed:
        if path is None:
            continue
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        return path
    return None


def _trouble(found: Path, was: Place, *, hashes: bool) -> str | None:
    if found == was.path and was.progress is Progress.PENDING:
        return None  # the camera may still write to it; the daemon looks
    status = found.lstat()
    if not stat.S_ISREG(status.st_mode):
        return "is no file"
    if status.st_size != was.size:
        return f"has {status.st_size} bytes, and {was.size} were judged"
    if hashes and content_of(found) != was.sha256:
        return "has other content than was judged"
    return None


def _drop_folder_is_there(was: Place) -> bool:
    """Else its share is only away."""
    return was.path is not None and was.path.parent.is_dir()


def _left_behind(was: Place, found: Path) -> Difference:
    return Difference(
        kind=Kind.MISSING,
        path=found,
        image_id=was.image_id,
        what=f"image {was.image_id} lies at {to_text(found)}, in none of the folders of the configuration",
        remedy="Copy or move what lies there to where the configuration has these folders now; an image "
        "that is there already is told below, and `millwatch audit --mend` has its record follow it.",
    )


def _missing(was: Place) -> Difference:
    path = was.path or Path()
    return Difference(
        kind=Kind.MISSING,
        path=path,
        image_id=was.image_id,
        what=f"image {was.image_id} of camera {was.camera}: there is no {to_text(path)}",
        remedy="Somebody took or deleted it. The record and the defect rates stay; where the file is "
        "found elsewhere in these folders, that is told below.",
    )
