"""The models that there were and are, what became of each, and the one that serves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update

from daemon.clock import moment, timestamp
from daemon.store.audit import Deed, note
from daemon.store.database import Database
from daemon.store.schema import IN_FORCE, image, label, model
from models.checkpoint import Metadata

_LATEST_FIRST: Final = (model.c.created_at.desc(), model.c.version.desc())


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One model.

    Attributes:
        status: `candidate`, `current`, `retired`, `rejected` or `needs_a_person`.
        metrics: its figures; of one that a retraining made also the `run`'s, and what the `gate` said.
        reason: why it has this status.
    """

    version: str
    status: str
    created_at: str
    promoted_at: str | None
    trained_on: str
    metrics: dict[str, Any]
    reason: str | None

    @property
    def of_line(self) -> "OfLine | None":
        """None for a model that no retraining made, or whose run held none of the line's images out."""
        run = table_in(self.metrics, "run")
        now, before = (table_in(run, which, "held_out") for which in ("candidate", "current"))
        if not now:
            return None
        normal = run.get("normal_classes", ())
        return OfLine(
            images=sum(row["images"] for row in now.values()),
            right=sum(row["right"] for row in now.values()),
            right_before=sum(row["right"] for row in before.values()),
            missed=sum(row["passed"] for name, row in now.items() if name not in normal),
        )


@dataclass(frozen=True, kw_only=True)
class OfLine:
    """What a retraining measured on the line's labelled images that no run trains on. All are counts.

    Attributes:
        right: named rightly by the model.
        right_before: likewise by the one that served when it was made, as far as it knows the classes.
        missed: defects that the model lets pass.
    """

    images: int
    right: int
    right_before: int
    missed: int


def table_in(metrics: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A table inside others; an empty one where a model has none: not every one came from a run."""
    for name in path:
        found = metrics.get(name)
        metrics = found if isinstance(found, Mapping) else {}
    return metrics


def remember_current(
    database: Database,
    metadata: Metadata,
    now: datetime,
    *,
    reason: str | None = None,
    deed: Deed | None = None,
) -> None:
    """Record which model serves from now on, why, and whose deed that is; the one before it is retired.

    Raises:
        StoreError: nothing was recorded.
    """
    because = {} if reason is None else {"reason": reason}
    with database.writing() as connection:
        if deed is not None:
            note(connection, deed, now)
        is_current = model.c.status == "current"
        if connection.scalar(select(model.c.version).where(is_current)) == metadata.version:
            return
        connection.execute(update(model).where(is_current).values(status="retired"))
        _put_current(connection, metadata, now, because)


def _put_current(
    connection: Connection, metadata: Metadata, now: datetime, because: dict[str, str]
) -> None:
    """Of a model that is perhaps not recorded yet."""
    serves = {"status": "current", "promoted_at": timestamp(now), **because}
    this = model.c.version == metadata.version
    if connection.execute(update(model).where(this).values(**serves)).rowcount == 0:
        connection.execute(
            insert(model).values(
                version=metadata.version,
                created_at=metadata.created_at,
                trained_on=metadata.manifest_sha256,
                metrics=json.dumps(metadata.metrics),
                **serves,
            )
        )


def remember_candidate(
    database: Database,
    metadata: Metadata,
    *,
    status: str,
    reason: str | None,
    figures: dict[str, Any] | None = None,
    ruling: str | None = None,
) -> None:
    """Record what a run made, and what the gate said of it, with the figures that it saw.

    Args:
        reason: of its status. It gives way to that of each later one.
        ruling: of the gate. It stays, whatever becomes of the model.

    Raises:
        StoreError: nothing was recorded; also when there is such a version already.
    """
    with database.writing() as connection:
        connection.execute(
            insert(model).values(
                version=metadata.version,
                status=status,
                created_at=metadata.created_at,
                trained_on=metadata.manifest_sha256,
                metrics=json.dumps({**metadata.metrics, "run": figures, "gate": ruling}),
                reason=reason,
            )
        )


def status_of(database: Database, version: str) -> str | None:
    """What has become of a version; None of one that is not recorded. Raises StoreError."""
    query = select(model.c.status).where(model.c.version == version)
    with database.reading() as connection:
        found: str | None = connection.scalar(query)
        return found


def set_status(database: Database, version: str, status: str, reason: str) -> None:
    """Record what has become of a version, and why. Raises StoreError."""
    with database.writing() as connection:
        connection.execute(
            update(model).where(model.c.version == version).values(status=status, reason=reason)
        )


def roll_back_to(
    database: Database,
    metadata: Metadata,
    now: datetime,
    *,
    rejected: str,
    reason: str,
    deed: Deed | None = None,
) -> None:
    """Record that a model serves again, why the one after it was rejected, and whose deed that is.

    Raises:
        StoreError: nothing was recorded.
    """
    with database.writing() as connection:
        if deed is not None:
            note(connection, deed, now)
        found_wanting = update(model).where(model.c.version == rejected)
        connection.execute(found_wanting.values(status="rejected", reason=reason))
        _put_current(connection, metadata, now, {})


def model_versions(database: Database) -> list[ModelVersion]:
    """Latest made first. Raises StoreError."""
    query = select(model).order_by(*_LATEST_FIRST)
    with database.reading() as connection:
        return [
            ModelVersion(**row._asdict() | {"metrics": json.loads(row.metrics)})
            for row in connection.execute(query)
        ]


def statuses(database: Database) -> list[tuple[str, str]]:
    """Each version with its status, latest made first: after years of nights, figures are megabytes.

    Raises:
        StoreError: when the database cannot be read.
    """
    query = select(model.c.version, model.c.status).order_by(*_LATEST_FIRST)
    with database.reading() as connection:
        return [(row.version, row.status) for row in connection.execute(query)]


def latest_run(database: Database) -> ModelVersion | None:
    """The latest model that a retraining made, whatever became of it. Raises StoreError."""
    return next((each for each in model_versions(database) if each.metrics.get("run")), None)


def count_waiting_for_a_person(statuses: Sequence[str]) -> int:
    """How many a person has still to decide on, of models latest made first: no later one serves or did."""
    later = takewhile(lambda status: status not in ("current", "retired"), statuses)
    return list(later).count("needs_a_person")


def served_before(database: Database) -> list[str]:
    """Versions that served and were not found wanting, the latest first. Raises StoreError."""
    query = (
        select(model.c.version)
        .where(model.c.status == "retired", model.c.promoted_at.is_not(None))
        .order_by(model.c.promoted_at.desc(), model.c.created_at.desc())
    )
    with database.reading() as connection:
        return list(connection.scalars(query))


def promoted_at(database: Database) -> datetime | None:
    """When the current model took the place of another; None if it began, or was gone back to.

    Raises:
        StoreError: when the database cannot be read.
    """
    served = (
        select(model.c.status, model.c.promoted_at)
        .where(model.c.promoted_at.is_not(None))
        .order_by(model.c.status == "current", model.c.promoted_at, model.c.created_at)
    )
    with database.reading() as connection:
        rows = connection.execute(served).all()
    statuses = [row.status for row in rows[-2:]]
    return moment(rows[-1].promoted_at) if statuses == ["retired", "current"] else None


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """What people said of images that a model let pass: `looked_at`, of which `defects`."""

    looked_at: int
    defects: int


def contradiction(
    database: Database, version: str, normal_classes: tuple[str, ...], *, after: int | None = None
) -> Contradiction:
    """Labels in force, given since it was promoted, on images that this version passed.

    Whoever promotes it again knows what people said before.

    Args:
        after: the id of the newest label when it was promoted, if that is known: a clock that was set back
            makes every label look older.

    Raises:
        StoreError: when the database cannot be read.
    """
    promoted = select(model.c.promoted_at).where(model.c.version == version).scalar_subquery()
    passed = (
        select(func.count(), func.count().filter(label.c.label.not_in(normal_classes)))
        .join(image, image.c.id == label.c.image_id)
        .where(IN_FORCE, image.c.model_version == version, image.c.verdict == "pass")
        .where(label.c.labelled_at >= promoted if after is None else label.c.id > after)
    )
    with database.reading() as connection:
        looked_at, defects = connection.execute(passed).one()
    return Contradiction(looked_at=looked_at, defects=defects)
