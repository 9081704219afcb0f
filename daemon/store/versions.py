"""The models that there were and are, as the view `model_versions` tells them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from sqlalchemy import select

from daemon.store.database import Database
from daemon.store.schema import model


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One model.

    Attributes:
        status: `candidate`, `current`, `retired`, `rejected` or `needs_a_person`.
        reason: what the gate decided, and why.
    """

    version: str
    status: str
    created_at: str
    promoted_at: str | None
    trained_on: str
    metrics: dict[str, Any]
    reason: str | None


def model_versions(database: Database) -> list[ModelVersion]:
    """Latest made first. Raises StoreError."""
    query = select(model).order_by(model.c.created_at.desc(), model.c.version.desc())
    with database.reading() as connection:
        return [
            ModelVersion(
                version=row.version,
                status=row.status,
                created_at=row.created_at,
                promoted_at=row.promoted_at,
                trained_on=row.trained_on,
                metrics=json.loads(row.metrics),
                reason=row.reason,
            )
            for row in connection.execute(query)
        ]


def latest_run(database: Database) -> ModelVersion | None:
    """The latest model that a retraining made, whatever became of it. Raises StoreError."""
    return next((each for each in model_versions(database) if each.metrics.get("run")), None)


def waiting_for_a_person(versions: Sequence[ModelVersion]) -> list[ModelVersion]:
    """Those, latest made first, that a person has still to decide on: no later one serves or did."""
    later = takewhile(lambda each: each.status not in ("current", "retired"), versions)
    return [each for each in later if each.status == "needs_a_person"]
