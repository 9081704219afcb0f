"""Images: recorded before they are moved, and followed to where they end."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Row,
    Update,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from daemon.clock import timestamp, timestamp_of_ns
from daemon.names import from_text, to_text
from daemon.store.database import Database, add_up, write_many
from daemon.store.days import count_days
from daemon.store.deliveries import FIND, MAY_COME_BACK, identity, progress_of
from daemon.store.schema import PENDING, image, tally
from daemon.values import Action, Appearance, Delivery, Finding, Intent, Plan, Progress
from models.taxonomy import Reason, Verdict

_CHUNK: Final = 200
_REVIEWED: Final = {Verdict.DEFECT.value, Verdict.UNSURE.value}
# Built once: to build and to look up a statement takes longer than SQLite takes to run it.
_INSERT: Final = insert(image)
_SETTLE: Final = (
    update(image)
    .where(image.c.id == bindparam("b_id"), PENDING)
    .values(progress=bindparam("b_progress"), path=bindparam("b_path"))
)
_NEW_IDS: Final = {
    # What AUTOINCREMENT would give; whoever records holds the write lock.
    "sqlite": text(
        "WITH RECURSIVE ids(id) AS (SELECT 1 + max("
        "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'image'), 0), "
        "coalesce((SELECT max(id) FROM image), 0)) "
        "UNION ALL SELECT id + 1 FROM ids LIMIT :count) SELECT id FROM ids"
    ),
    "postgresql": text(
        "SELECT nextval(pg_get_serial_sequence('image', 'id')) FROM generate_series(1, :count)"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What recording a batch came to.

    Attributes:
        findings: those that were new.
        intents: what is to be done now, by id.
    """

    findings: list[Finding]
    intents: list[Intent]


Planner = Callable[[int, Finding, Callable[[Path], bool]], Plan]
"""From an image's id, what was found and whether a target is promised already, to where it goes."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """How an intent ended."""

    intent: Intent
    progress: Progress
    path: Path | None


def record(
    database: Database, findings: Sequence[Finding], plan: Planner, now: datetime
) -> Recorded:
    """Record a batch in one transaction, with what will be done with each file.

    A finding whose delivery is recorded already is passed over: nothing is counted twice. Where
    that file was away when it should have been moved or removed (its share, say), its intent is
    taken up again.

    Args:
        plan: called with the id that the image was given; two images never get one target.

    Raises:
        StoreError: nothing was recorded.
    """
    with database.writing() as connection:
        fresh, returned = _sort_out(connection, findings)
        if not fresh:
            return Recorded(findings=[], intents=returned)
        # Intents are settled in the order of their ids, which is the order of delivery.
        ids = _new_ids(connection, len(fresh))
        promised = _Promised(connection)
        intents = [
            _intent(
                image_id, finding, promised.remember(plan(image_id, finding, promised)), fresh=True
            )
            for image_id, finding in zip(ids, fresh, strict=True)
        ]
        recorded_at = timestamp(now)
        rows = [
            {**_row(finding, recorded_at), **_planned(intent)}
            for finding, intent in zip(fresh, intents, strict=True)
        ]
        write_many(connection, _INSERT, rows)
        _count(connection, fresh, 1)
    moving = [intent for intent in intents if intent.plan.action is not Action.LEAVE]
    return Recorded(findings=fresh, intents=returned + moving)


def pending(database: Database, *, after: int = 0, limit: int = _CHUNK) -> list[Intent]:
    """Recorded plans that are not yet known to be done, by id."""
    query = select(image).where(PENDING, image.c.id > after).order_by(image.c.id).limit(limit)
    with database.reading() as connection:
        return [_intent_of(row) for row in connection.execute(query)]


def count_pending(database: Database) -> int:
    query = select(func.count()).select_from(image).where(PENDING)
    with database.reading() as connection:
        return int(connection.scalar(query) or 0)


def count_by_verdict(database: Database) -> dict[str, int]:
    """Images ever recorded, by verdict, from the kept aggregates."""
    query = select(tally.c.verdict, func.sum(tally.c.images)).group_by(tally.c.verdict)
    with database.reading() as connection:
        return {verdict: int(images) for verdict, images in connection.execute(query) if images}


def is_promised(database: Database, target: Path) -> bool:
    """Whether an image has, or had, this target. Raises StoreError."""
    query = select(image.c.id).where(image.c.target == to_text(target))
    with database.reading() as connection:
        return connection.execute(query).first() is not None


def replan(database: Database, intent: Intent, target: Path) -> None:
    """Record another target than the first, where the image cannot go.

    Raises:
        StoreError: the first target stands.
    """
    with database.writing() as connection:
        connection.execute(
            update(image).where(image.c.id == intent.image_id).values(target=to_text(target))
        )


def settle(database: Database, settled: Iterable[Settled]) -> None:
    """Record in one transaction that plans are done; of one that is recorded already, nothing.

    A label may have moved its image since.

    Raises:
        StoreError: they stay pending; doing them again changes nothing.
    """
    rows = [
        {
            "b_id": one.intent.image_id,
            "b_progress": one.progress.value,
            "b_path": None if one.path is None else to_text(one.path),
        }
        for one in settled
    ]
    if not rows:
        return
    with database.writing() as connection:
        write_many(connection, _SETTLE, rows)


def withdraw(database: Database, intents: Sequence[Intent]) -> None:
    """Take back records of files that the camera went on writing: they will be judged again.

    Raises:
        StoreError: the records stand.
    """
    if not intents:
        return
    with database.writing() as connection:
        ids = [intent.image_id for intent in intents]
        rows = connection.execute(select(image).where(image.c.id.in_(ids))).all()
        findings = [_finding_of(row) for row in rows]
        connection.execute(delete(image).where(image.c.id.in_(ids)))
        _count(connection, findings, -1)


def _new_ids(connection: Connection, count: int) -> list[int]:
    """Ids that no image has or had, ascending: a plan needs its image's before it is recorded."""
    found = connection.scalars(_NEW_IDS[connection.dialect.name], {"count": count})
    return sorted(found)


class _Promised:
    """Whether a target is promised to another image, in this transaction or before it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._here: set[Path | None] = set()

    def __call__(self, target: Path) -> bool:
        query = select(image.c.id).where(image.c.target == to_text(target))
        return target in self._here or self._connection.execute(query).first() is not None

    def remember(self, plan: Plan) -> Plan:
        self._here.add(plan.target)
        return plan


def _sort_out(
    connection: Connection, findings: Sequence[Finding]
) -> tuple[list[Finding], list[Intent]]:
    """The findings that have no record yet, and the intents of those whose file came back."""
    fresh: dict[Delivery, Finding] = {}
    returned: list[Intent] = []
    found = progress_of(connection, [finding.delivery for finding in findings])
    recorded = {delivery for delivery, _ in found}
    for finding in findings:
        if finding.delivery not in recorded:
            fresh.setdefault(finding.delivery, finding)
            continue
        row = connection.execute(FIND, identity(finding.delivery)).first()
        if row is None:
            fresh.setdefault(finding.delivery, finding)
        elif row.progress != Progress.PENDING.value and row.sha256 != finding.sha256:
            # Another file has the number, the name, the size and the time of one that did leave,
            # or was written over one that was left. What is pending its own move finds out.
            moved = row.progress == Progress.UNSEEN.value and row.path is not None
            connection.execute(_end_of(row.id, moved=moved))
            fresh.setdefault(finding.delivery, finding)
        elif row.progress in MAY_COME_BACK:
            returned.append(_take_up_again(connection, row.id, finding.delivery))
    return list(fresh.values()), returned


def _end_of(image_id: int, *, moved: bool) -> Update:
    """The end of a record whose image's place in the drop folder another one has taken."""
    this = update(image).where(image.c.id == image_id)
    if moved:
        return this.values(progress=Progress.MOVED.value)
    return this.values(progress=Progress.DELETED.value, path=None)


def _take_up_again(connection: Connection, image_id: int, delivery: Delivery) -> Intent:
    this = image.c.id == image_id
    path = to_text(delivery.path)
    connection.execute(update(image).where(this).values(progress=Progress.PENDING.value, path=path))
    return _intent_of(connection.execute(select(image).where(this)).one())


def _count(connection: Connection, findings: Sequence[Finding], step: int) -> None:
    """Keep the aggregates that reports read: in the same transaction, so they cannot disagree."""
    counts = Counter(
        (
            finding.delivery.camera,
            timestamp_of_ns(finding.delivery.mtime_ns)[:13] + ":00:00Z",
            finding.verdict.value,
            finding.predicted_class or "",
        )
        for finding in findings
    )
    rows = [
        dict(zip(("camera", "hour", "verdict", "predicted_class"), key, strict=True))
        | {"images": step * count}
        for key, count in counts.items()
    ]
    add_up(connection, tally, rows, ["images"])
    count_days(connection, findings, step)


def _row(finding: Finding, recorded_at: str) -> dict[str, Any]:
    delivery = finding.delivery
    return {
        **identity(delivery),
        "sha256": finding.sha256,
        "captured_at": timestamp_of_ns(delivery.mtime_ns),
        "recorded_at": recorded_at,
        "verdict": finding.verdict.value,
        "reason": finding.reason,
        "predicted_class": finding.predicted_class,
        "confidence": finding.confidence,
        "novelty": finding.novelty,
        "brightness": finding.appearance and finding.appearance.brightness,
        "sharpness": finding.appearance and finding.appearance.sharpness,
        "model_version": finding.model_version,
        "notes": _notes(finding),
        "path": to_text(delivery.path),
        "instructive": instructive(finding.verdict, finding.reason, finding.confidence),
    }


def instructive(verdict: str, reason: str, confidence: float | None) -> float | None:
    """How much a person's label would teach the network, from 0 (sure) to 2 (never seen the like).

    None for what nobody is to look at. All that is drawn from what passed counts alike: which of it
    is labelled must not depend on what it shows.
    """
    if reason == Reason.SAMPLE.value:
        return 1.0
    if verdict not in _REVIEWED or confidence is None:
        return None
    return (2.0 if reason == Reason.UNKNOWN.value else 1.0) - confidence


def _notes(finding: Finding) -> str | None:
    return "; ".join(finding.notes) or None


def _planned(intent: Intent) -> Mapping[str, Any]:
    leave = intent.plan.action is Action.LEAVE
    target = intent.plan.target
    return {
        "id": intent.image_id,
        "action": intent.plan.action.value,
        "progress": (Progress.LEFT if leave else Progress.PENDING).value,
        "target": None if target is None else to_text(target),
    }


def _intent(image_id: int, finding: Finding, plan: Plan, *, fresh: bool = False) -> Intent:
    return Intent(
        image_id=image_id,
        delivery=finding.delivery,
        sha256=finding.sha256,
        plan=plan,
        verdict=finding.verdict,
        reason=finding.reason,
        notes=_notes(finding),
        fresh=fresh,
    )


def _intent_of(row: Row[Any]) -> Intent:
    target = None if row.target is None else Path(from_text(row.target))
    return _intent(row.id, _finding_of(row), Plan(action=Action(row.action), target=target))


def _finding_of(row: Row[Any]) -> Finding:
    delivery = Delivery(
        camera=row.camera,
        filename=from_text(row.filename),
        path=Path(from_text(row.path)),
        inode=int(row.inode),
        size=row.size,
        mtime_ns=int(row.mtime_ns),
    )
    return Finding(
        delivery=delivery,
        sha256=row.sha256,
        verdict=Verdict(row.verdict),
        reason=row.reason,
        predicted_class=row.predicted_class,
        novelty=row.novelty,
        model_version=row.model_version,
        appearance=_appearance_of(row),
        notes=(row.notes,) if row.notes else (),
    )


def _appearance_of(row: Row[Any]) -> Appearance | None:
    """As it was counted. An image that was recorded by an older version was not."""
    if row.brightness is None:
        return None
    return Appearance(brightness=row.brightness, sharpness=row.sharpness, side=0)
