"""What a report is: figures in tables, a drawing of them, and what to know of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from typing import Any

from config.text import percent
from daemon.reports.limits import Limits
from daemon.reports.periods import By, Calendar, first_not_counted
from daemon.store.spans import Span

Value = str | int | float | None


class Kind(StrEnum):
    """How a figure is shown to people; programs get it as it is."""

    TEXT = "text"
    COUNT = "count"
    SHARE = "share"
    NUMBER = "number"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a report is asked for.

    Attributes:
        by: one line for each of these.
        since, until: aware moments. Counts are kept by the hour, and hours count whole.
        camera: one alone; None for all.
    """

    calendar: Calendar
    by: By
    since: datetime | None = None
    until: datetime | None = None
    camera: str | None = None

    @property
    def span(self) -> Span:
        """Of the kept counts, as the database holds times."""
        return Span(
            since=None if self.since is None else self.calendar.first_counted(self.since),
            until=None if self.until is None else first_not_counted(self.until),
            camera=self.camera,
        )


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its name for programs, for people, and how its figures are shown."""

    key: str
    heading: str
    kind: Kind = Kind.TEXT

    def shown(self, value: Value) -> str:
        if value is None:
            return "-"
        if self.kind is Kind.SHARE:
            return percent(float(value))
        if self.kind is Kind.NUMBER:
            return f"{float(value):.3g}"
        return str(value)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table of a report."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]

    def dicts(self) -> list[dict[str, Value]]:
        keys = [column.key for column in self.columns]
        return [dict(zip(keys, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Controlled:
    """A control chart: limits, the rules that each point breaks, and what each period is called."""

    limits: Limits
    signals: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Named figures, in the order that they are drawn; a class is named in words, a camera as it is.

    Attributes:
        shares: whether they are shares of one, and not counts of which the sum is drawn too.
        tell_all: whether the report's table would say the same again.
    """

    values: tuple[tuple[str, float], ...]
    shares: bool
    tell_all: bool = False


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Shares over periods, a line for each name; None where there was nothing."""

    labels: tuple[str, ...]
    lines: tuple[tuple[str, tuple[float | None, ...]], ...]


Drawing = Controlled | Bars | Lines


@dataclass(frozen=True, kw_only=True)
class Report:
    """An answer.

    Attributes:
        about: which time and cameras it is of.
        sections: tables for people.
        flat: the table that a spreadsheet gets.
        document: the JSON that a program gets.
        notes: what to know of the figures.
    """

    title: str
    about: str
    sections: tuple[Section, ...]
    flat: Section
    document: Any
    drawing: Drawing | None = None
    notes: tuple[str, ...] = ()


def columns(*described: tuple[str, str] | tuple[str, str, Kind]) -> tuple[Column, ...]:
    return tuple(
        Column(key=key, heading=head, kind=(*kind, Kind.TEXT)[0]) for key, head, *kind in described
    )


def section(title: str, heads: Sequence[Column], rows: Iterable[Sequence[Value]]) -> Section:
    return Section(title=title, columns=tuple(heads), rows=tuple(tuple(row) for row in rows))


def about(question: Question) -> str:
    """The time and the cameras that were asked for, in words."""
    ends = [
        f"{word} {question.calendar.there(moment):%Y-%m-%d %H:%M}"
        for word, moment in (("from", question.since), ("until", question.until))
        if moment is not None
    ]
    camera = "all cameras" if question.camera is None else f"camera {question.camera}"
    return f"{' '.join(ends) or 'all of the time'}, {camera}; times in {question.calendar.zone.key}"


def shown(period: str, calendar: Calendar, by: By) -> str:
    """The name of a period, with hours by the plant's clock."""
    return calendar.local(period) if by is By.HOUR else period or "all"


def for_people(table: Section, question: Question) -> Section:
    """With periods as people read them; a spreadsheet and a program get hours in UTC."""
    keys = [column.key for column in table.columns]
    if "period" not in keys:
        return table
    at = keys.index("period")
    name = cache(lambda period: shown(period, question.calendar, question.by))
    return section(
        table.title,
        table.columns,
        ((*row[:at], name(str(row[at])), *row[at + 1 :]) for row in table.rows),
    )


def remarks(question: Question, periods: Sequence[str]) -> tuple[str, ...]:
    """What to know of the periods of a report."""
    if question.by not in (By.SHIFT, By.DAY) or not periods:
        return ()
    remark = question.calendar.remark(question.by, date.fromisoformat(max(periods)[:10]))
    return (remark,) if remark else ()
