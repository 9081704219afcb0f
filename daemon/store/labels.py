"""What people decided: labels, each with the file that goes where it says."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from daemon.clock import timestamp
from daemon.names import from_text, to_text
from daemon.store.audit import Deed, note
from daemon.store.database import Database
from daemon.store.images import instructive
from daemon.store.label_counts import count_label
from daemon.store.review_files import unfit_images
from daemon.store.schema import IN_FORCE, ON_ITS_WAY, image, label
from daemon.values import Progress
from models.taxonomy import Verdict

_AT_A_TIME: Final = 200


@dataclass(frozen=True, kw_only=True)
class LabelInForce:
    """What a person decided of an image, and nobody took back.

    Attributes:
        labelled_by: a user of the page, the owner of a file, or `folder`.
        labelled_at: UTC, `YYYY-MM-DDTHH:MM:SSZ`.
        path: where the image's file is now.
    """

    label_id: int
    image_id: int
    label: str
    labelled_by: str
    labelled_at: str
    path: Path | None
    sha256: str
    predicted_class: str | None
    confidence: float | None
    model_version: str | None


@dataclass(frozen=True, kw_only=True)
class PastLabel:
    """A label that an image has or had; `undone_at` is None for the one in force."""

    label_id: int
    label: str
    labelled_by: str
    labelled_at: str
    undone_at: str | None


@dataclass(frozen=True, kw_only=True)
class Relocation:
    """A file that is on its way, to where a label, or its undoing, sends it."""

    label_id: int
    image_id: int
    source: Path
    target: Path
    sha256: str


class LabelChangedError(Exception):
    """Another label is in force than the one that was seen; nothing was changed.

    Attributes:
        now: the label in force; None when there is none any more.
    """

    def __init__(self, now: LabelInForce | None) -> None:
        super().__init__("changed" if now is None else now.label)
        self.now = now


_IN_FORCE: Final[Select[Any]] = (
    select(
        label.c.id.label("label_id"),
        *(label.c.image_id, label.c.label, label.c.labelled_by, label.c.labelled_at),
        *(image.c.path, image.c.sha256, image.c.predicted_class),
        *(image.c.confidence, image.c.model_version),
    )
    .join(image, image.c.id == label.c.image_id)
    .where(IN_FORCE)
)
_PAST: Final = select(
    label.c.id.label("label_id"),
    *(label.c.label, label.c.labelled_by, label.c.labelled_at, label.c.undone_at),
)


def labels_in_force(database: Database) -> list[LabelInForce]:
    """Every one, by image. Raises StoreError."""
    with database.reading() as connection:
        rows = connection.execute(_IN_FORCE.order_by(label.c.image_id))
        return [_label_in_force(row) for row in rows]


def surprising_labels(database: Database, *, after: int) -> list[LabelInForce]:
    """Those given after a label that differ from what a model was sure of, the surest first.

    Raises:
        StoreError: when the database cannot be read.
    """
    sure = image.c.verdict.in_((Verdict.DEFECT.value, Verdict.PASS.value))
    query = _IN_FORCE.where(label.c.id > after, sure, image.c.predicted_class != label.c.label)
    with database.reading() as connection:
        rows = connection.execute(query.order_by(image.c.confidence.desc(), image.c.id))
        return [_label_in_force(row) for row in rows]


def labels_to_learn_from(database: Database) -> list[LabelInForce]:
    """Those in force whose file is where it should be, and nowhere else. Raises StoreError."""
    unfit = unfit_images(database)
    return [each for each in labels_in_force(database) if each.image_id not in unfit]


def label_of(database: Database, image_id: int) -> LabelInForce | None:
    """The label in force of one image. Raises StoreError."""
    with database.reading() as connection:
        return _label_of(connection, image_id)


def history(database: Database, image_id: int) -> list[PastLabel]:
    """Every label that an image ever had, oldest first. Raises StoreError."""
    query = _PAST.where(label.c.image_id == image_id).order_by(label.c.id)
    with database.reading() as connection:
        return [PastLabel(**row._asdict()) for row in connection.execute(query)]


def count_new_since(database: Database, since: str, after: int | None = None) -> int:
    """Labels in force that are newer than one, if it is known which, or else than a time.

    Args:
        since: `YYYY-MM-DDTHH:MM:SSZ`. A clock that was set back makes every label look older.
        after: the id of a label.

    Raises:
        StoreError: when the database cannot be read.
    """
    newer = label.c.labelled_at > since if after is None else label.c.id > after
    query = select(func.count()).where(IN_FORCE, newer)
    with database.reading() as connection:
        return int(connection.scalar(query) or 0)


def newest_label(database: Database) -> int:
    """The id of the label that was given last; 0 without any. Raises StoreError."""
    with database.reading() as connection:
        return int(connection.scalar(select(func.max(label.c.id))) or 0)


def used_labels(database: Database) -> dict[str, bool]:
    """Every class that an image was ever labelled, the first used first; whether a label in force names it.

    Raises:
        StoreError: when the database cannot be read.
    """
    in_force = func.count().filter(label.c.undone_at.is_(None)) > 0
    query = select(label.c.label, in_force).group_by(label.c.label).order_by(func.min(label.c.id))
    with database.reading() as connection:
        return {name: bool(is_in_force) for name, is_in_force in connection.execute(query)}


def put_label(
    database: Database,
    image_id: int,
    name: str,
    by: str,
    *,
    seen: int,
    target: Path,
    now: datetime,
    is_there: bool = False,
    deed: Deed | None = None,
) -> Relocation:
    """Record a label in place of the one that was seen, and where the file will go.

    Args:
        seen: the id of the label in force that the person saw; 0 for none.
        is_there: the file lies at its target already, and nowhere else that is ours.
        deed: for the audit trail, which has it with the label or not at all.

    Raises:
        LabelChangedError, StoreError: nothing was changed.
    """
    with database.writing() as connection:
        _end_seen(connection, image_id, seen, now)
        label_id = connection.execute(
            insert(label)
            .values(
                image_id=image_id,
                label=name,
                labelled_by=by,
                labelled_at=timestamp(now),
                moving_to=None if is_there else to_text(target),
            )
            .returning(label.c.id)
        ).scalar_one()
        count_label(connection, label_id, 1)
        connection.execute(update(image).where(image.c.id == image_id).values(instructive=None))
        if is_there:
            _lies_at(connection, image_id, target)
        if deed is not None:
            note(connection, deed, now)
        return _relocation(connection, label_id, image_id, target)


def undo_label(
    database: Database,
    image_id: int,
    *,
    seen: int,
    target: Path,
    now: datetime,
    is_there: bool = False,
    deed: Deed | None = None,
) -> Relocation:
    """Take back the label that was seen, and record where the file will go.

    Arguments and errors as of `put_label`.
    """
    with database.writing() as connection:
        this = image.c.id == image_id
        row = connection.execute(select(image).where(this)).one()
        _end_seen(connection, image_id, seen, now)
        if is_there:
            _lies_at(connection, image_id, target)
        else:
            _send(connection, seen, target)
        worth = instructive(row.verdict, row.reason, row.confidence)
        connection.execute(update(image).where(this).values(instructive=worth))
        if deed is not None:
            note(connection, deed, now)
        return _relocation(connection, seen, image_id, target)


def follow(database: Database, image_id: int, path: Path) -> None:
    """Record where somebody moved the file of an image. Raises StoreError."""
    with database.writing() as connection:
        _lies_at(connection, image_id, path)


def send(
    database: Database, image_id: int, label_id: int, *, source: Path, target: Path
) -> Relocation:
    """Record that the file of a labelled image goes on to where its label says.

    Raises:
        StoreError: nothing was changed.
    """
    with database.writing() as connection:
        _lies_at(connection, image_id, source)
        _send(connection, label_id, target)
        return _relocation(connection, label_id, image_id, target)


def _relocation(connection: Connection, label_id: int, image_id: int, target: Path) -> Relocation:
    """From where the image is recorded to be."""
    query = select(image.c.path, image.c.sha256).where(image.c.id == image_id)
    row = connection.execute(query).one()
    source = Path(from_text(row.path))
    return Relocation(
        label_id=label_id, image_id=image_id, source=source, target=target, sha256=row.sha256
    )


def _send(connection: Connection, label_id: int, target: Path) -> None:
    this = label.c.id == label_id
    connection.execute(update(label).where(this).values(moving_to=to_text(target)))


def _lies_at(connection: Connection, image_id: int, path: Path) -> None:
    """In our keeping, also where it was thought to be gone or deleted."""
    this = image.c.id == image_id
    connection.execute(update(image).where(this).values(path=to_text(path)))
    lost = (Progress.GONE.value, Progress.DELETED.value)
    connection.execute(
        update(image).where(this, image.c.progress.in_(lost)).values(progress=Progress.MOVED.value)
    )


def relocations(database: Database, *, after: int = 0) -> list[Relocation]:
    """Some files that are recorded to be on their way, by their label's id. Raises StoreError."""
    query = (
        select(label.c.id, label.c.image_id, label.c.moving_to, image.c.path, image.c.sha256)
        .join(image, image.c.id == label.c.image_id)
        .where(ON_ITS_WAY, label.c.id > after)
        .order_by(label.c.id)
        .limit(_AT_A_TIME)
    )
    with database.reading() as connection:
        return [
            Relocation(
                label_id=row.id,
                image_id=row.image_id,
                source=Path(from_text(row.path)),
                target=Path(from_text(row.moving_to)),
                sha256=row.sha256,
            )
            for row in connection.execute(query)
        ]


def arrived(database: Database, relocation: Relocation, path: Path) -> None:
    """Record where the file is, for good. Raises StoreError: it is still on its way."""
    with database.writing() as connection:
        connection.execute(
            update(image).where(image.c.id == relocation.image_id).values(path=to_text(path))
        )
        connection.execute(
            update(label)
            .where(label.c.id <= relocation.label_id, label.c.image_id == relocation.image_id)
            .values(moving_to=None)
        )


def _end_seen(connection: Connection, image_id: int, seen: int, now: datetime) -> None:
    known = _label_of(connection, image_id)
    if (0 if known is None else known.label_id) != seen:
        raise LabelChangedError(known)
    if known is not None:
        count_label(connection, seen, -1)
    this = label.c.image_id == image_id
    connection.execute(update(label).where(label.c.id == seen).values(undone_at=timestamp(now)))
    # A label that was taken back may be bringing the file somewhere still: that is over too.
    connection.execute(update(label).where(this).values(moving_to=None))


def _label_of(connection: Connection, image_id: int) -> LabelInForce | None:
    row = connection.execute(_IN_FORCE.where(label.c.image_id == image_id)).first()
    return None if row is None else _label_in_force(row)


def _label_in_force(row: Row[Any]) -> LabelInForce:
    values = row._asdict()
    path = values.pop("path")
    return LabelInForce(**values, path=None if path is None else Path(from_text(path)))
