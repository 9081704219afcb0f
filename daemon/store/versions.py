"""The models that there were and are, as the view `model_versions` tells them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import select

from daemon.store.database import Database
from daemon.store.schema import model

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
