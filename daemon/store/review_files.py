"""What lies in the review folder where it is not simply the image that a record says.

A copy with another time, a second copy, a stranger's file, an edited one; and what is missing. Kept
so that no file is read again that has not changed, and so that a command can tell of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, Select, bindparam, delete, exists, func, insert, select

from daemon.clock import timestamp
from daemon.names import from_text, to_text
from daemon.store.database import Database
from daemon.store.schema import IN_FORCE, ON_ITS_WAY, image, label, review_file
from daemon.values import Progress, Signature
from models.taxonomy import Verdict

_CHUNK: Final = 400
_MOST_ALIKE: Final = 200


class Problem(StrEnum):
    """Why a file in the review folder is no label, or an image is left out of training."""

    CONTRADICTION = "contradiction"
    """One content under two labels."""
    TWIN = "twin"
    """Labelled, and a copy of it in `to_check`."""
    COPY = "copy"
    """A second copy, which changes nothing."""
    MISSING = "missing"
    """The file of an image in review is gone."""
    EDITED = "edited"
    """Its name is an image's; its bytes are not what was judged."""
    STRANGER = "stranger"
    """No image that was ever judged."""
    MISPLACED = "misplaced"
    """Under `labelled`, but in no folder that can be a class, or in one class within another."""
    UNREADABLE = "unreadable"
    """Judged to be no whole picture, so that nobody can learn from it."""
    NO_FILE = "no_file"
    """A link, a pipe, or what cannot be read."""


_TORN: Final = (Problem.CONTRADICTION, Problem.TWIN, Problem.MISPLACED)
_UNFIT: Final = (*_TORN, Problem.MISSING, Problem.UNREADABLE)


@dataclass(frozen=True, kw_only=True)
class ReviewFile:
    """One file, or the place where one is missing.

    Attributes:
        signature: None where there is no file.
        sha256: of its bytes; None where they were not read.
        image_id: the image that it is, or claims to be.
        reason: the problem in words.
    """

    path: Path
    signature: Signature | None
    sha256: str | None
    image_id: int | None
    problem: Problem | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Something in the review folder that a person has to look at.

    Attributes:
        since: when it was noticed, UTC; None for what is found by comparing labels.
    """

    problem: Problem
    path: Path | None
    image_id: int | None
    reason: str
    since: str | None


@dataclass(frozen=True, kw_only=True)
class Known:
    """An image, as far as its file and its label are concerned.

    Attributes:
        size, mtime_ns: of the file that was judged; a file that was moved keeps them.
        label: the one in force; None without.
        label_id: of that; 0 without.
        on_its_way: a label, or its undoing, is still bringing the file somewhere.
    """

    id: int
    sha256: str
    size: int
    mtime_ns: int
    verdict: Verdict
    progress: Progress
    path: Path | None
    target: Path | None
    label: str | None
    label_id: int
    on_its_way: bool


_KNOWN: Final[Select[Any]] = (
    select(
        *(image.c.id, image.c.sha256, image.c.size, image.c.mtime_ns, image.c.verdict),
        *(image.c.progress, image.c.path, image.c.target),
        label.c.label,
        label.c.id.label("label_id"),
        exists()
        .where(label.c.image_id == image.c.id, ON_ITS_WAY)
        .correlate(image)
        .label("on_its_way"),
    )
    .select_from(image)
    .outerjoin(label, (label.c.image_id == image.c.id) & (label.c.undone_at.is_(None)))
)
# Built once: to build and to look up a statement takes longer than SQLite takes to run it.
_KNOWN_BY_ID: Final = _KNOWN.where(image.c.id.in_(bindparam("ids", expanding=True)))
_REMEMBERED: Final = select(review_file).where(
    review_file.c.path.in_(bindparam("paths", expanding=True))
)


def known(database: Database, ids: Iterable[int]) -> dict[int, Known]:
    """Images by their ids. Raises StoreError."""
    found: dict[int, Known] = {}
    with database.reading() as connection:
        for chunk in _chunks(sorted(set(ids))):
            rows = connection.execute(_KNOWN_BY_ID, {"ids": chunk})
            found |= {row.id: _known(row) for row in rows}
    return found


def known_by_content(database: Database, sha256: str) -> list[Known]:
    """Images with these bytes, the latest first; not all, of a camera that is stuck.

    Raises:
        StoreError: when the database cannot be read.
    """
    query = _KNOWN.where(image.c.sha256 == sha256).order_by(image.c.id.desc()).limit(_MOST_ALIKE)
    with database.reading() as connection:
        return [_known(row) for row in connection.execute(query)]


def labelled_page(database: Database, *, after: int, limit: int) -> list[int]:
    """Images that have a label, by id. Raises StoreError."""
    query = select(label.c.image_id).where(IN_FORCE, label.c.image_id > after)
    with database.reading() as connection:
        return list(connection.scalars(query.order_by(label.c.image_id).limit(limit)))


def remembered(database: Database, paths: Iterable[Path]) -> dict[Path, ReviewFile]:
    """What is remembered of these. Raises StoreError."""
    found: dict[Path, ReviewFile] = {}
    with database.reading() as connection:
        for chunk in _chunks([to_text(path) for path in paths]):
            rows = connection.execute(_REMEMBERED, {"paths": chunk})
            found |= {each.path: each for each in map(_file, rows)}
    return found


def remembered_of(database: Database, image_id: int) -> list[ReviewFile]:
    """What is remembered of one image. Raises StoreError."""
    query = select(review_file).where(review_file.c.image_id == image_id)
    with database.reading() as connection:
        return [_file(row) for row in connection.execute(query)]


def remembered_page(database: Database, *, after: str, limit: int) -> list[ReviewFile]:
    """What is remembered, by path as text. Raises StoreError."""
    query = select(review_file).where(review_file.c.path > after)
    with database.reading() as connection:
        rows = connection.execute(query.order_by(review_file.c.path).limit(limit))
        return [_file(row) for row in rows]


def remembered_below(database: Database, folder: Path) -> Iterator[ReviewFile]:
    """What is remembered of files in a folder and those below it, some at a time. Raises StoreError."""
    after, end = to_text(folder) + "/", to_text(folder) + "0"  # the character after "/"
    while True:
        query = select(review_file).where(review_file.c.path > after, review_file.c.path < end)
        with database.reading() as connection:
            rows = connection.execute(query.order_by(review_file.c.path).limit(_CHUNK)).all()
        yield from map(_file, rows)
        if len(rows) < _CHUNK:
            return
        after = rows[-1].path


def remember(
    database: Database, files: Sequence[ReviewFile], now: datetime, *, forget: Sequence[Path] = ()
) -> None:
    """Remember some in place of what was remembered of their paths, and forget others.

    Raises:
        StoreError: nothing was changed.
    """
    gone = [to_text(path) for path in (*forget, *(each.path for each in files))]
    if not gone:
        return
    with database.writing() as connection:
        for chunk in _chunks(gone):
            connection.execute(delete(review_file).where(review_file.c.path.in_(chunk)))
        if files:
            connection.execute(insert(review_file), [_row(each, now) for each in files])


def conflicts(database: Database) -> list[Conflict]:
    """All that a person has to look at; reads every image's hash. Raises StoreError."""
    found = conflicts_in_folder(database)
    with database.reading() as connection:
        rows = connection.execute(_contradictions()).all()
    names: dict[str, set[str]] = {}
    for row in rows:
        names.setdefault(row.sha256, set()).add(row.label)
    for row in rows:
        others = " and ".join(sorted(names[row.sha256]))
        found.append(
            Conflict(
                problem=Problem.CONTRADICTION,
                path=None if row.path is None else Path(from_text(row.path)),
                image_id=row.image_id,
                reason=f"the same bytes were delivered more than once and are labelled {others}; "
                "give them one label",
                since=None,
            )
        )
    return found


def conflicts_in_folder(database: Database) -> list[Conflict]:
    """What lies in the review folder as it should not; of labels that differ nothing. Raises StoreError."""
    query = select(review_file).where(review_file.c.problem.is_not(None))
    with database.reading() as connection:
        return [_conflict(row) for row in connection.execute(query.order_by(review_file.c.path))]


def _contradictions() -> Any:
    """Labels in force of contents that have several."""
    inner_label, inner_image = label.alias(), image.alias()
    torn = (
        select(inner_image.c.sha256)
        .join(inner_label, inner_label.c.image_id == inner_image.c.id)
        .where(inner_label.c.undone_at.is_(None))
        .group_by(inner_image.c.sha256)
        .having(func.count(inner_label.c.label.distinct()) > 1)
    )
    return (
        select(label.c.image_id, label.c.label, image.c.sha256, image.c.path)
        .join(image, image.c.id == label.c.image_id)
        .where(IN_FORCE, image.c.sha256.in_(torn))
        .order_by(label.c.image_id)
    )


def unfit_images(database: Database) -> set[int]:
    """Images whose label nobody should learn from, as long as a conflict stands. Raises StoreError."""
    edited_in_place = (review_file.c.problem == Problem.EDITED.value) & exists().where(
        image.c.id == review_file.c.image_id, image.c.path == review_file.c.path
    )
    unfit = review_file.c.problem.in_([each.value for each in _UNFIT])
    query = select(review_file.c.image_id).where(
        review_file.c.image_id.is_not(None), unfit | edited_in_place
    )
    with database.reading() as connection:
        return set(connection.scalars(query))


def torn_images(database: Database) -> set[int]:
    """Images of which the folder says something else than their label, or two things. Raises StoreError."""
    torn = review_file.c.problem.in_([each.value for each in _TORN])
    query = select(review_file.c.image_id).where(review_file.c.image_id.is_not(None), torn)
    with database.reading() as connection:
        return set(connection.scalars(query))


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _known(row: Row[Any]) -> Known:
    path = None if row.path is None else Path(from_text(row.path))
    target = path  # which it nearly always is
    if row.target != row.path:
        target = None if row.target is None else Path(from_text(row.target))
    return Known(
        id=row.id,
        sha256=row.sha256,
        size=row.size,
        mtime_ns=int(row.mtime_ns),
        verdict=Verdict(row.verdict),
        progress=Progress(row.progress),
        path=path,
        target=target,
        label=row.label,
        label_id=row.label_id or 0,
        on_its_way=bool(row.on_its_way),
    )


def _file(row: Row[Any]) -> ReviewFile:
    signature = None
    if row.inode is not None:
        signature = Signature(inode=int(row.inode), size=row.size, mtime_ns=int(row.mtime_ns))
    return ReviewFile(
        path=Path(from_text(row.path)),
        signature=signature,
        sha256=row.sha256,
        image_id=row.image_id,
        problem=None if row.problem is None else Problem(row.problem),
        reason=row.reason,
    )


def _row(each: ReviewFile, now: datetime) -> dict[str, Any]:
    signature = each.signature
    return {
        "path": to_text(each.path),
        "inode": None if signature is None else str(signature.inode),
        "size": None if signature is None else signature.size,
        "mtime_ns": None if signature is None else str(signature.mtime_ns),
        "sha256": each.sha256,
        "image_id": each.image_id,
        "problem": None if each.problem is None else each.problem.value,
        "reason": each.reason,
        "noticed_at": timestamp(now),
    }


def _conflict(row: Row[Any]) -> Conflict:
    return Conflict(
        problem=Problem(row.problem),
        path=Path(from_text(row.path)),
        image_id=row.image_id,
        reason=row.reason or "",
        since=row.noticed_at,
    )
