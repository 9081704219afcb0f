"""`report rates`: defect rates, by the machine's verdict."""

import csv
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from daemon.cli.options import CommandError, ConfigOption, print_json, settings_of
from daemon.clock import timestamp
from daemon.store.rates import Rate
from daemon.store.rates import rates as rates_of
from daemon.store.upgrading import find_schema_trouble, open_existing


class By(StrEnum):
    HOUR = "hour"
    DAY = "day"
    CAMERA = "camera"


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"


Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Captures from then on, UTC (2026-01-31T06:00).")
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Captures before then, UTC.")]

_report = typer.Typer(help="Answers from the database.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    _report.command()(rates)
    app.add_typer(_report, name="report")


def rates(
    config: ConfigOption = None,
    since: Since = None,
    until: Until = None,
    camera: Annotated[str | None, typer.Option(metavar="NAME", help="One camera alone.")] = None,
    by: Annotated[By, typer.Option(help="One line for each of these.")] = By.DAY,
    form: Annotated[Format, typer.Option("--format", help="How it is printed.")] = Format.TABLE,
) -> None:
    """Defect rates: images inspected, defects, unsure, unreadable, and defects / inspected."""
    settings = settings_of(config)
    if camera is not None and camera not in {each.name for each in settings.cameras}:
        names = ", ".join(each.name for each in settings.cameras) or "none"
        raise CommandError(f"no camera {camera!r} in the configuration; there are: {names}")
    path = settings.database_file
    if not path.exists():
        raise CommandError(f"there is no database at {path} yet; start `millwatch run` first")
    if trouble := find_schema_trouble(path):
        raise CommandError(trouble)
    with open_existing(path) as database:
        lines = rates_of(
            database,
            by=by.value,
            since=_moment(since, "--since"),
            until=_moment(until, "--until"),
            camera=camera,
        )
    if form is Format.JSON:
        print_json([asdict(line) for line in lines])
    elif form is Format.CSV:
        _print_csv(lines)
    else:
        _print_table(lines)


def _moment(text: str | None, option: str) -> str | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(
            f"{option} {text!r} is no time; write 2026-01-31 or 2026-01-31T06:00"
        ) from error
    return timestamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _print_csv(lines: list[Rate]) -> None:
    names = list(Rate.__dataclass_fields__)
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(line) for line in lines)


def _print_table(lines: list[Rate]) -> None:
    table = Table("period", "camera", title="Defect rates, by the machine's verdict (UTC)")
    for name in ("inspected", "defects", "unsure", "unreadable", "defect rate"):
        table.add_column(name, justify="right")
    for line in lines:
        rate = "-" if line.defect_rate is None else f"{line.defect_rate:.2%}"
        counts = (line.inspected, line.defects, line.unsure, line.unreadable)
        table.add_row(line.period or "all", line.camera, *map(str, counts), rate)
    Console().print(table)
