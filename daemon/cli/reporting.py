"""`report rates`: defect rates, by the machine's verdict."""

import csv
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from config.settings import Settings
from daemon.cli.options import CommandError, ConfigOption, print_json, settings_of
from daemon.clock import timestamp
from daemon.store.database import Database
from daemon.store.rates import Rate, recorded_cameras
from daemon.store.rates import rates as rates_of
from daemon.store.upgrading import open_existing


class By(StrEnum):
    HOUR = "hour"
    DAY = "day"
    CAMERA = "camera"


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"


Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Captures from then on: 2026-01-31 or 2026-01-31T06:00, UTC unless it says otherwise. "
        "Images are counted by the hour: an hour that begins before TIME counts whole.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Captures before then; an hour that TIME lies in counts whole."
    ),
]

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
    first, end = _moment(since, "--since"), _moment(until, "--until")
    settings = settings_of(config)
    with open_existing(_database_file(settings)) as database:
        _refuse_unknown(camera, settings, database)
        lines = rates_of(
            database,
            by=by.value,
            since=None if first is None else timestamp(first.replace(minute=0, second=0)),
            until=None if end is None else timestamp(end),
            camera=camera,
        )
    if form is Format.JSON:
        print_json([asdict(line) for line in lines])
    elif form is Format.CSV:
        _print_csv(lines)
    else:
        _print_table(lines)


def _database_file(settings: Settings) -> Path:
    path = settings.database_file
    if not path.exists():
        raise CommandError(f"there is no database at {path} yet; start `millwatch run` first")
    return path


def _refuse_unknown(camera: str | None, settings: Settings, database: Database) -> None:
    """A camera that is no longer configured may still have images; one that never was is a slip."""
    names = {each.name for each in settings.cameras} | set(recorded_cameras(database))
    if camera is not None and camera not in names:
        there_are = ", ".join(sorted(names)) or "none"
        raise typer.BadParameter(
            f"no camera {camera!r} is configured or has images; there are: {there_are}",
            param_hint="--camera",
        )


def _moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2026-01-31 or 2026-01-31T06:00", param_hint=option
        ) from error


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
