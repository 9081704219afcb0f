"""Retraining runs: what was started, why, and what came of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import insert, select, update

from daemon.clock import timestamp
from daemon.store.database import Database
from daemon.store.schema import retraining_run


@dataclass(frozen=True, kw_only=True)
class RetrainingRun:
    """One run, or a due time at which none was needed.

    Attributes:
        name: of its folder in `state_dir/runs`; None when none was needed.
        state: `running`, `done`, `failed` or `skipped`.
        reason: what the gate said, why it failed, or why none was needed.
    """

    id: int
    name: str | None
    state: str
    started_at: str
    ended_at: str | None
    reason: str | None


_RUNS: Final = select(*(retraining_run.c[each.name] for each in fields(RetrainingRun)))


def begin(
    database: Database, name: str, now: datetime, *, due: bool, labels_until: int | None = None
) -> int:
    """Record that a run starts, `due` by the schedule or asked for. Its id. Raises StoreError."""
    with database.writing() as connection:
        return int(
            connection.execute(
                insert(retraining_run)
                .values(
                    name=name,
                    state="running",
                    started_at=timestamp(now),
                    handled_until=timestamp(now) if due else None,
                    labels_until=labels_until,
                )
                .returning(retraining_run.c.id)
            ).scalar_one()
        )


def skip(database: Database, reason: str, now: datetime) -> None:
    """Record that a due time was met and needs no run. Raises StoreError."""
    moment = timestamp(now)
    with database.writing() as connection:
        connection.execute(
            insert(retraining_run).values(
                state="skipped",
                started_at=moment,
                ended_at=moment,
                handled_until=moment,
                reason=reason,
            )
        )


def end(
    database: Database,
    run_id: int,
    state: str,
    reason: str,
    now: datetime,
    *,
    figures: dict[str, Any] | None = None,
    still_due: bool = False,
) -> None:
    """Record what came of a run; `still_due` when the schedule has to start it again.

    Raises:
        StoreError: nothing was recorded.
    """
    values: dict[str, Any] = {"state": state, "reason": reason, "ended_at": timestamp(now)}
    if figures is not None:
        values["figures"] = json.dumps(figures)
    if still_due:
        values["handled_until"] = None
    with database.writing() as connection:
        this = retraining_run.c.id == run_id
        connection.execute(update(retraining_run).where(this).values(**values))


def latest(
    database: Database, *, limit: int = 20, states: Sequence[str] = ()
) -> list[RetrainingRun]:
    """The latest first, in one of these states where any are named. Raises StoreError."""
    query = _RUNS.order_by(retraining_run.c.id.desc()).limit(limit)
    if states:
        query = query.where(retraining_run.c.state.in_(states))
    with database.reading() as connection:
        return [RetrainingRun(**row._asdict()) for row in connection.execute(query)]


def unfinished(database: Database) -> list[RetrainingRun]:
    """Those that nothing came of yet. Raises StoreError."""
    query = _RUNS.where(retraining_run.c.state == "running")
    with database.reading() as connection:
        return [RetrainingRun(**row._asdict()) for row in connection.execute(query)]


def handled_until(database: Database) -> str | None:
    """Until when due times were met; None before the first. Raises StoreError."""
    query = (
        select(retraining_run.c.handled_until)
        .where(retraining_run.c.handled_until.is_not(None))
        .order_by(retraining_run.c.id.desc())
        .limit(1)
    )
    with database.reading() as connection:
        found: str | None = connection.scalar(query)
        return found


def last_done(database: Database) -> tuple[str, int | None]:
    """When the last run began that came to an end, and the newest label that there was then.

    Raises:
        StoreError: when the database cannot be read.
    """
    query = (
        select(retraining_run.c.started_at, retraining_run.c.labels_until)
        .where(retraining_run.c.state == "done")
        .order_by(retraining_run.c.id.desc())
        .limit(1)
    )
    with database.reading() as connection:
        row = connection.execute(query).first()
    return ("", None) if row is None else (row.started_at, row.labels_until)
