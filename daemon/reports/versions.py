"""The report of the models that there were and are: `model`."""

from datetime import datetime
from typing import Final

from daemon.reports.report import (
    Bars,
    Kind,
    Question,
    Report,
    Section,
    Value,
    about,
    columns,
    section,
)
from daemon.store.database import Database
from daemon.store.models import ModelVersion, OfLine, model_versions, table_in

_MODELS: Final = columns(
    ("version", "version"),
    ("status", "status"),
    ("created_at", "made"),
    ("promoted_at", "promoted"),
    ("accuracy", "accuracy on its test part", Kind.SHARE),
    ("held_out", "held-out images of the line", Kind.COUNT),
    ("held_out_right", "named rightly", Kind.SHARE),
    ("held_out_right_before", "by the model before it", Kind.SHARE),
    ("held_out_missed", "defects that passed", Kind.COUNT),
    ("gate", "what the gate decided"),
    ("reason", "what became of it"),
)
_LEARNING: Final = columns(
    ("class", "class"),
    ("images", "labels", Kind.COUNT),
    ("right_by_half", "named rightly, taught by a third", Kind.SHARE),
    ("right", "by two thirds", Kind.SHARE),
)
_LEARNT: Final = (
    "Each label was checked by heads that were not fitted to it. Where the last share is well above the "
    "one before it, more labels of that class help."
)


def model_report(database: Database, question: Question) -> Report:
    """Every model made in the time asked for, latest first, with what the gate saw of it.

    Raises:
        StoreError: when the database cannot be read.
    """
    found = [each for each in model_versions(database) if _is_asked_for(each, question)]
    table = section("Models", _MODELS, (_row(each) for each in found))
    accuracy = tuple((str(row[0]), row[4]) for row in reversed(table.rows))
    drawn = tuple((name, float(share)) for name, share in accuracy if isinstance(share, float))
    learning = [_learning(each) for each in found if table_in(each.metrics, "run", "learning")][:1]
    return Report(
        title="Models, and what the gate decided",
        about=about(question),
        sections=(
            section("Models", _MODELS, (_by_the_clock(row, question) for row in table.rows)),
            *learning,
        ),
        flat=table,
        document=[
            line | {"trained_on": each.trained_on, "metrics": each.metrics}
            for line, each in zip(table.dicts(), found, strict=True)
        ],
        drawing=Bars(values=drawn, shares=True) if drawn else None,
        notes=(_LEARNT,) if learning else (),
    )


def _learning(version: ModelVersion) -> Section:
    return section(
        f"What twice as many labels brought, model {version.version}",
        _LEARNING,
        (
            (name, of["images"], of["right_by_half"] / of["images"], of["right"] / of["images"])
            for name, of in sorted(table_in(version.metrics, "run", "learning").items())
        ),
    )


def _by_the_clock(row: tuple[Value, ...], question: Question) -> tuple[Value, ...]:
    """With times as the plant has them."""
    version, status, *times = row[:4]
    there = (
        each and f"{question.calendar.there(datetime.fromisoformat(str(each))):%Y-%m-%d %H:%M}"
        for each in times
    )
    return (version, status, *there, *row[4:])


def _is_asked_for(version: ModelVersion, question: Question) -> bool:
    made = datetime.fromisoformat(version.created_at)
    return (question.since is None or made >= question.since) and (
        question.until is None or made < question.until
    )


def _row(version: ModelVersion) -> tuple[Value, ...]:
    line = version.of_line
    accuracy = table_in(version.metrics, "test").get("accuracy")
    gate = version.metrics.get("gate")
    return (
        version.version,
        version.status,
        version.created_at,
        version.promoted_at,
        float(accuracy) if isinstance(accuracy, int | float) else None,
        *(_of_line(line) if line else (None, None, None, None)),
        gate if isinstance(gate, str) else None,
        version.reason,
    )


def _of_line(line: OfLine) -> tuple[Value, ...]:
    return (line.images, line.right / line.images, line.right_before / line.images, line.missed)
