"""The report of what people decided: `review`. It reads the kept counts of labels alone."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from config.text import percent
from daemon.reports.periods import By
from daemon.reports.report import (
    Bars,
    Kind,
    Question,
    Report,
    Section,
    Value,
    about,
    columns,
    for_people,
    remarks,
    section,
)
from daemon.reports.words import class_in_words
from daemon.store.database import Database
from daemon.store.label_counts import Decided, Given, decided, given
from daemon.store.queueing import Filter, count_waiting
from daemon.store.sampled import MissedDefects, missed_defects
from models.binomial import interval

_MOST_COUNTED: Final = 100_000
"""Of what waits: to count takes time, and nobody needs to know more exactly."""
_OF_A_TIME: Final = (
    "Labels are those that were given in this time, missed defects those of images taken in it."
)
_CLASSES: Final = columns(
    ("predicted_class", "the machine said"),
    ("labels", "labels", Kind.COUNT),
    ("agreed", "agreed", Kind.COUNT),
    ("agreement", "agreement", Kind.SHARE),
    ("lower", "95 % from", Kind.SHARE),
    ("upper", "to", Kind.SHARE),
)
_GIVEN: Final = (("labelled_by", "by"), ("labels", "labels", Kind.COUNT))
_FIGURES: Final = columns(
    ("figure", "figure"), ("of", "of"), ("by", "by"), ("value", "value", Kind.NUMBER)
)


def review_report(
    database: Database, question: Question, *, normal_classes: Sequence[str]
) -> Report:
    """How far people and the machine agree, what passed wrongly, what waits, who labelled how much.

    The time that was asked for is that in which labels were given; of the defects missed, that in which
    the images were taken. Agreement of a class is the share of its images, by the machine's first
    choice, that got a label of the same name.

    Args:
        normal_classes: the labels of images that pass rightly (`policy.normal_classes`).

    Raises:
        StoreError: when the database cannot be read.
    """
    span = question.span
    counted = decided(database, span)
    missed = missed_defects(database, span, normal_classes=normal_classes)
    waiting = count_waiting(database, Filter(camera=question.camera), most=_MOST_COUNTED)
    classes = section("Agreement by class", _CLASSES, _agreement(counted))
    by_camera = question.by is By.CAMERA
    people = section(
        "Labels given",
        columns(("camera", "camera") if by_camera else ("period", "given in"), *_GIVEN),
        _given(given(database, span, by_camera=by_camera), question),
    )
    kappa = cohens_kappa(counted)
    document: dict[str, Any] = {
        "waiting": waiting,
        "waiting_is_more": waiting >= _MOST_COUNTED,
        "labels": sum(each.labels for each in counted),
        "kappa": kappa,
        "missed_defects": asdict(missed),
        "classes": classes.dicts(),
        "given": people.dicts(),
    }
    more = " or more" if waiting >= _MOST_COUNTED else ""
    is_of_a_time = question.since is not None or question.until is not None
    return Report(
        title="Review: what people decided",
        about=about(question),
        sections=(classes, for_people(people, question)),
        flat=_flat(document),
        document=document,
        drawing=Bars(
            values=tuple(
                (class_in_words(str(row[0])), float(row[3] or 0.0)) for row in classes.rows
            ),
            shares=True,
        )
        if classes.rows
        else None,
        notes=(
            f"Waiting for a label now: {waiting}{more}.",
            _missed_in_words(missed),
            *(() if kappa is None else (f"Cohen's kappa {kappa:.3f}: agreement beyond chance.",)),
            *((_OF_A_TIME,) if is_of_a_time else ()),
            *remarks(question, [str(period) for period, *_ in people.rows]),
        ),
    )


def _missed_in_words(missed: MissedDefects) -> str:
    """The share of what passed that are defects, as far as the sample of it tells."""
    if missed.rate is None:
        return (
            f"Images that passed: {missed.passed}; drawn for a second look: {missed.sampled}, of which none is "
            "labelled yet: how many are defects is not known."
        )
    return (
        f"Of the images that passed, {percent(missed.rate)} are defects: {missed.missed} of {missed.labelled} "
        f"that were drawn at random and labelled (95 % interval {percent(missed.low)} to {percent(missed.high)})."
    )


def cohens_kappa(counted: Sequence[Decided]) -> float | None:
    """Agreement beyond chance of the machine's first choice and the label.

    Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement
    20(1), 1960, 37-46. None where there is no label, or chance alone would agree always.
    """
    machine: Counter[str] = Counter()
    people: Counter[str] = Counter()
    agreed = 0
    for each in counted:
        if each.predicted_class:
            machine[each.predicted_class] += each.labels
            people[each.label] += each.labels
            agreed += each.labels if each.label == each.predicted_class else 0
    total = machine.total()
    if not total:
        return None
    by_chance = sum(machine[name] * people[name] for name in machine) / total**2
    return None if by_chance == 1 else (agreed / total - by_chance) / (1 - by_chance)


def _agreement(counted: Sequence[Decided]) -> list[tuple[Value, ...]]:
    labels: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    for each in counted:
        if each.predicted_class:
            labels[each.predicted_class] += each.labels
            agreed[each.predicted_class] += each.labels * (each.label == each.predicted_class)
    return [
        (name, total, agreed[name], agreed[name] / total, *interval(agreed[name], total))
        for name, total in sorted(labels.items())
    ]


def _given(labels: Sequence[Given], question: Question) -> list[tuple[Value, ...]]:
    periods: dict[str, str] = {}
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for each in labels:
        if each.hour and each.hour not in periods:
            periods[each.hour] = question.calendar.period(question.by, each.hour)
        sums[periods.get(each.hour, each.camera), each.labelled_by] += each.labels
    return [(period, name, total) for (period, name), total in sorted(sums.items())]


def _flat(document: dict[str, Any]) -> Section:
    """One figure a line, as a spreadsheet's pivot table wants it: no sum of others among them."""
    rows: list[tuple[Value, ...]] = [
        ("waiting", None, None, document["waiting"]),
        ("waiting_is_more", None, None, int(document["waiting_is_more"])),
        ("kappa", None, None, document["kappa"]),
    ]
    rows += [
        (f"missed_defects_{key}", None, None, document["missed_defects"][key])
        for key in ("passed", "sampled", "labelled", "missed", "rate", "low", "high")
    ]
    for each in document["classes"]:
        name = each["predicted_class"]
        rows += [("labelled", name, None, each["labels"])]  # by the machine's class, not by period
        rows += [(key, name, None, each[key]) for key in ("agreed", "agreement", "lower", "upper")]
    rows += [
        ("labels", where, by, labels)
        for where, by, labels in (each.values() for each in document["given"])
    ]
    return section("Review", _FIGURES, rows)
