"""`report rates | pareto | chart | review | model`: answers from the database."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import typer
from rich.table import Table
from rich.text import Text

from config.settings import Settings
from config.text import as_one_line
from daemon.cli.options import (
    CommandError,
    ConfigOption,
    console_of_answers,
    existing_database,
    settings_of,
)
from daemon.reports import rules
from daemon.reports.defects import chart_report, pareto_report, rates_report
from daemon.reports.people import review_report
from daemon.reports.periods import By, Calendar
from daemon.reports.png import NoPngError, as_png
from daemon.reports.report import Kind, Question, Report
from daemon.reports.versions import model_report
from daemon.reports.writing import as_csv, as_html, as_json
from daemon.store.database import Database
from daemon.store.rates import recorded_cameras
from daemon.store.upgrading import open_existing
from models.whole import write_whole


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    HTML = "html"
    PNG = "png"


class OverTime(StrEnum):
    """A control chart is of points in the order of time."""

    HOUR = "hour"
    SHIFT = "shift"
    DAY = "day"


_TIME: Final = "2026-01-31 or 2026-01-31T06:00, in time_zone unless it says otherwise"
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help=f"From then on: {_TIME}. Images are counted by the hour: an hour that TIME lies in counts "
        "whole, if it begins in the same shift and day.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Before then; an hour that TIME lies in counts whole."),
]
Camera = Annotated[str | None, typer.Option("--camera", metavar="NAME", help="One camera alone.")]
ByOption = Annotated[By, typer.Option("--by", help="One line for each of these.")]
Form = Annotated[
    Format, typer.Option("--format", help="How it is written; html and png are drawn.")
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write it there, not to the terminal.")
]

report = typer.Typer(name="report", no_args_is_help=True, help="Answers from the database.")


@report.command()
def rates(
    config: ConfigOption = None,
    since: Since = None,
    until: Until = None,
    camera: Camera = None,
    by: ByOption = By.DAY,
    form: Form = Format.TABLE,
    out: Out = None,
) -> None:
    """Defect rates: images inspected, defects, unsure, unreadable, and defects / inspected."""
    asked = _Asked(config, since, until, camera, by)
    asked.answer(rates_report, form, out)


@report.command()
def pareto(
    config: ConfigOption = None,
    since: Since = None,
    until: Until = None,
    camera: Camera = None,
    by: Annotated[By | None, typer.Option("--by", help="One Pareto for each of these.")] = None,
    form: Form = Format.TABLE,
    out: Out = None,
) -> None:
    """Defects by class, most first, with their share and the sum of shares."""
    asked = _Asked(config, since, until, camera, by or By.CAMERA)
    asked.answer(
        lambda database, question: pareto_report(database, question, grouped=by is not None),
        form,
        out,
    )


@report.command()
def chart(
    config: ConfigOption = None,
    since: Since = None,
    until: Until = None,
    camera: Camera = None,
    by: Annotated[OverTime, typer.Option("--by", help="One point for each.")] = OverTime.DAY,
    rule_numbers: Annotated[
        str,
        typer.Option("--rules", metavar="NUMBERS", help="Nelson's run rules to test, such as 1,2."),
    ] = ",".join(map(str, rules.EVERY_DAY)),
    form: Form = Format.TABLE,
    out: Out = None,
) -> None:
    """A control chart of the share of defects: limits for each number of images, and broken rules."""
    numbers = _rules(rule_numbers)
    asked = _Asked(config, since, until, camera, By(by.value))
    asked.answer(
        lambda database, question: chart_report(database, question, numbers),
        form,
        out,
    )


@report.command()
def review(
    config: ConfigOption = None,
    since: Since = None,
    until: Until = None,
    camera: Camera = None,
    by: ByOption = By.DAY,
    form: Form = Format.TABLE,
    out: Out = None,
) -> None:
    """What people decided: agreement with the machine, defects that passed, labels, what waits.

    A time is that in which labels were given; of defects that passed, that in which they were taken.
    """
    asked = _Asked(config, since, until, camera, by)
    normal = asked.settings.policy.normal_classes
    asked.answer(
        lambda database, question: review_report(database, question, normal_classes=normal),
        form,
        out,
    )


@report.command()
def model(
    config: ConfigOption = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Made from then on: {_TIME}.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Made before then.")] = None,
    form: Form = Format.TABLE,
    out: Out = None,
) -> None:
    """The models made in a time, their figures, and what the gate decided."""
    asked = _Asked(config, since, until, None, By.DAY)
    asked.answer(model_report, form, out)


class _Asked:
    """What every report is asked for, understood."""

    def __init__(
        self, config: Path | None, since: str | None, until: str | None, camera: str | None, by: By
    ) -> None:
        self.settings = settings_of(config)
        self._zone = ZoneInfo(self.settings.time_zone)
        first, end = _moment(since, "--since", self._zone), _moment(until, "--until", self._zone)
        if first is not None and end is not None and first >= end:
            raise typer.BadParameter(
                f"{until!r} is not after --since {since!r}; name a later time",
                param_hint="--until",
            )
        self._question = Question(
            calendar=Calendar(zone=self._zone, shifts=self.settings.reports.starts),
            by=by,
            since=first,
            until=end,
            camera=camera,
        )

    def answer(
        self, ask: Callable[[Database, Question], Report], form: Format, out: Path | None
    ) -> None:
        """Raises CommandError."""
        if form is Format.PNG and out is None and sys.stdout.isatty():
            raise CommandError("a terminal shows no PNG; name a file: --out chart.png")
        with open_existing(existing_database(self.settings)) as database:
            _refuse_unknown(self._question.camera, self.settings, database)
            answer = ask(database, self._question)
        if form is Format.TABLE and out is None:
            _print_tables(answer)
        else:
            _write(self._written(answer, form), out)

    def _written(self, report: Report, form: Format) -> bytes:
        match form:
            case Format.JSON:
                text = as_json(report)
            case Format.CSV:
                text = as_csv(report)
            case Format.HTML:
                made = datetime.now(UTC).astimezone(self._zone)
                text = as_html(report, by=self._question.by, made=made)
            case Format.PNG:
                try:
                    return as_png(report)
                except NoPngError as error:
                    raise CommandError(f"{report.title}: no PNG is made: {error}") from error
            case _:
                raise CommandError("a table is for the terminal; choose a --format for --out")
        return text.encode()


def _write(data: bytes, out: Path | None) -> None:
    if out is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        _put(data, out)
    except OSError as error:
        raise CommandError(
            f"the report cannot be written to {out}: {error.strerror}; name another file"
        ) from error


def _put(data: bytes, out: Path) -> None:
    """Whole or not at all; into a pipe, or what `/dev/stdout` leads to, behind what is there. Raises OSError."""
    if out.is_relative_to("/dev") or out.is_relative_to("/proc") or out.is_fifo():
        with out.open("ab") as stream:
            stream.write(data)
        return
    try:
        write_whole(out, data)
    except PermissionError:  # of its folder, where nothing can be put in its place
        out.write_bytes(data)


def _refuse_unknown(camera: str | None, settings: Settings, database: Database) -> None:
    """A camera that is no longer configured may still have images; one that never was is a slip."""
    names = {each.name for each in settings.cameras} | set(recorded_cameras(database))
    if camera is not None and camera not in names:
        there_are = ", ".join(sorted(names)) or "none"
        raise typer.BadParameter(
            f"no camera {camera!r} is configured or has images; there are: {there_are}",
            param_hint="--camera",
        )


def _moment(text: str | None, option: str, zone: ZoneInfo) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2026-01-31 or 2026-01-31T06:00", param_hint=option
        ) from error


def _rules(text: str) -> tuple[int, ...]:
    try:
        numbers = sorted({int(each) for each in text.split(",")})
    except ValueError:
        numbers = [0]
    if any(number not in rules.WORDS for number in numbers):
        raise typer.BadParameter(
            f"{text!r} are no rules; write numbers from 1 to 8 with commas, such as 1,2,3,4",
            param_hint="--rules",
        )
    return tuple(numbers)


def _print_tables(report: Report) -> None:
    console = console_of_answers()
    console.print(f"{report.title}\n{report.about}", markup=False, highlight=False)
    for section in report.sections:
        table = Table(title=section.title, title_justify="left")
        for column in section.columns:
            is_text = column.kind is Kind.TEXT
            table.add_column(
                # One word a line: a table must fit a terminal with its figures whole.
                column.heading.replace(" ", "\n"),
                justify="left" if is_text else "right",
                no_wrap=not is_text,
                overflow="fold",
            )
        for row in section.rows:
            cells = zip(section.columns, row, strict=True)
            table.add_row(*(_plain(column.shown(value)) for column, value in cells))
        console.print(table)
    for note in report.notes:
        console.print(note, markup=False, highlight=False)


def _plain(text: str) -> Text:
    """As it is: a class may be named `[red]`."""
    return Text(as_one_line(text))
