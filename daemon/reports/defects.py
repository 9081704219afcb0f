"""Reports of what the machine found: `rates`, `pareto` and `chart`. They read the kept counts alone."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import groupby
from operator import attrgetter
from typing import Final

from config.text import percent
from daemon.reports import rules
from daemon.reports.limits import Limits, Sample, laney_chart
from daemon.reports.periods import By, Calendar
from daemon.reports.report import (
    Bars,
    Controlled,
    Kind,
    Lines,
    Question,
    Report,
    Value,
    about,
    columns,
    for_people,
    remarks,
    section,
    shown,
)
from daemon.reports.words import class_in_words
from daemon.store import rates as store
from daemon.store.database import Database
from daemon.store.rates import Rate, rate_of

_RATES: Final = columns(
    ("camera", "camera"),
    ("period", "period"),
    ("inspected", "inspected", Kind.COUNT),
    ("defects", "defects", Kind.COUNT),
    ("unsure", "unsure", Kind.COUNT),
    ("unreadable", "unreadable", Kind.COUNT),
    ("defect_rate", "defect rate", Kind.SHARE),
)
_FIGURES: Final[Callable[[Rate], tuple[Value, ...]]] = attrgetter(*(each.key for each in _RATES))
_PARETO: Final = columns(
    ("camera", "camera"),
    ("period", "period"),
    ("predicted_class", "class"),
    ("images", "images", Kind.COUNT),
    ("share", "share", Kind.SHARE),
    ("cumulative", "sum", Kind.SHARE),
)
_CHART: Final = columns(
    ("period", "period"),
    ("inspected", "inspected", Kind.COUNT),
    ("defects", "defects", Kind.COUNT),
    ("defect_rate", "defect rate", Kind.SHARE),
    ("lower", "lower limit", Kind.SHARE),
    ("upper", "upper limit", Kind.SHARE),
    ("rules", "rules broken"),
)


def rates(database: Database, question: Question) -> list[Rate]:
    """Defect rates by the periods of the plant, oldest first. Raises StoreError."""
    hourly = store.rates(
        database, question.span, by="camera" if question.by is By.CAMERA else "hour"
    )
    if question.by in (By.HOUR, By.CAMERA):
        return hourly
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for hour, of_hour in groupby(hourly, key=lambda each: each.period):
        period = question.calendar.period(question.by, hour)
        for each in of_hour:
            total = sums[period, each.camera]
            for at, images in enumerate(
                (each.inspected, each.defects, each.unsure, each.unreadable)
            ):
                total[at] += images
    return [rate_of(camera, period, *total) for (period, camera), total in sorted(sums.items())]


def rates_report(database: Database, question: Question) -> Report:
    """Raises StoreError."""
    found = rates(database, question)
    table = section("Defect rates", _RATES, map(_FIGURES, found))
    return Report(
        title="Defect rates, by the machine's verdict",
        about=about(question),
        sections=(for_people(table, question),),
        flat=table,
        document=table.dicts(),
        drawing=_lines(found, question) if found else None,
        notes=remarks(question, [each.period for each in found]),
    )


def pareto_report(database: Database, question: Question, *, grouped: bool) -> Report:
    """What the defects were, most first; by period or camera where `grouped`. Raises StoreError."""
    counted = store.defects_by_class(database, question.span, hourly=grouped)
    groups: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    period_of = cache(lambda hour: question.calendar.period(question.by, hour))
    for each in counted:
        key = (period_of(each.hour), each.camera) if grouped else ("", "")
        groups[key][each.predicted_class] += each.images
    rows = [
        (camera, period, *line)
        for (period, camera), images in sorted(groups.items())
        for line in pareto(images.items())
    ]
    heads = _PARETO if grouped else _PARETO[2:]
    table = section("Defects by class", heads, (row if grouped else row[2:] for row in rows))
    totals: dict[str, int] = defaultdict(int)
    for *_, name, images, _, _ in rows:
        totals[name] += images
    return Report(
        title="Defects by class, by the machine's verdict",
        about=about(question),
        sections=(for_people(table, question),),
        flat=table,
        document=table.dicts(),
        drawing=Bars(
            values=tuple(
                (class_in_words(name), images) for name, images, *_ in pareto(totals.items())
            ),
            shares=False,
            tell_all=not grouped,
        )
        if totals
        else None,
        notes=remarks(question, [period for _, period, *_ in rows]) if grouped else (),
    )


def pareto(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int, float, float]]:
    """Most first: name, images, share of all, share of all with those before."""
    ordered = sorted(counts, key=lambda each: (-each[1], each[0]))
    total = sum(images for _, images in ordered)
    lines, before = [], 0
    for name, images in ordered:
        before += images
        lines.append((name, images, images / total, before / total))
    return lines


def controlled(
    found: Iterable[Rate], calendar: Calendar, by: By, numbers: Sequence[int] = rules.EVERY_DAY
) -> Controlled | None:
    """The control chart of rates, all their cameras together; None where nothing was inspected."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for each in found:
        counts[each.period][0] += each.inspected
        counts[each.period][1] += each.defects
    samples = [
        Sample(period=period, inspected=inspected, defects=defects)
        for period, (inspected, defects) in sorted(counts.items())
        if inspected
    ]
    if not samples:
        return None
    limits = laney_chart(samples)
    return Controlled(
        limits=limits,
        signals=tuple(rules.signals(limits, numbers)),
        labels=tuple(shown(each.period, calendar, by) for each in samples),
    )


def chart_report(
    database: Database, question: Question, numbers: Sequence[int] = rules.EVERY_DAY
) -> Report:
    """The control chart of the share of defects. Raises StoreError."""
    chart = controlled(rates(database, question), question.calendar, question.by, numbers)
    limits = Limits(centre=0.0, sigma_z=1.0, samples=()) if chart is None else chart.limits
    rows = [
        (
            each.sample.period,
            each.sample.inspected,
            each.sample.defects,
            each.sample.share,
            each.lower,
            each.upper,
            " ".join(map(str, broken)),
        )
        for each, broken in zip(limits.samples, chart.signals if chart else (), strict=True)
    ]
    table = section("Share of defects", _CHART, rows)
    broken = sorted({rule for each in (chart.signals if chart else ()) for rule in each})
    points = [
        line | {"rules": [int(rule) for rule in str(line["rules"]).split()]}
        for line in table.dicts()
    ]
    return Report(
        title="Control chart of the share of defects, by the machine's verdict",
        about=about(question),
        sections=(for_people(table, question),),
        flat=table,
        document={
            "centre": limits.centre if chart else None,
            "sigma_z": limits.sigma_z if chart else None,
            "rules": sorted(numbers),
            "points": points,
        },
        drawing=chart,
        notes=(
            *(_limits_in_words(limits) if chart else ()),
            *(f"Rule {rule} (Nelson 1984): {rules.WORDS[rule]}." for rule in broken),
            *remarks(question, [each.sample.period for each in limits.samples]),
        ),
    )


def _limits_in_words(limits: Limits) -> tuple[str, ...]:
    wider = (
        f", {limits.sigma_z:.2f} times as wide as chance alone has it: the line varies by itself"
        if limits.sigma_z > 1
        else ""
    )
    return (
        f"Centre {percent(limits.centre)}; limits of each period by its number of images (Laney's p'){wider}.",
    )


def _lines(found: Sequence[Rate], question: Question) -> Lines | Bars | None:
    if question.by is By.CAMERA:
        # Where nothing was inspected no rate is known, and a bar of 0 % would tell one.
        known_rates = tuple(
            (it.camera, it.defect_rate) for it in found if it.defect_rate is not None
        )
        return Bars(values=known_rates, shares=True) if known_rates else None
    periods = sorted({each.period for each in found})
    cameras = sorted({each.camera for each in found})
    known = {(each.camera, each.period): each.defect_rate for each in found}
    return Lines(
        labels=tuple(shown(period, question.calendar, question.by) for period in periods),
        lines=tuple(
            (camera, tuple(known.get((camera, period)) for period in periods)) for camera in cameras
        ),
    )
