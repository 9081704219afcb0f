"""`alarms test` and `alarms list`: whether they arrive, and what they last said."""

import sys
from typing import Annotated, Any, Final

import typer

from config.settings import Settings
from config.text import as_one_line, counted
from daemon.alarms.alarms import try_out
from daemon.alarms.sending import Sender
from daemon.cli.options import (
    CommandError,
    ConfigOption,
    JsonOption,
    console_of_answers,
    print_json,
    settings_of,
    shown,
    table_of_answers,
)
from daemon.clock import now_utc, timestamp
from daemon.process.control import NoAnswerError, NoDaemonError, RefusedError, ask
from daemon.store import outbox
from daemon.store.upgrading import open_existing

_SECONDS: Final = 120.0
_STALE: Final = (
    "the daemon that runs has other alarms than the configuration, as it was started before that was "
    "edited: `systemctl restart millwatch`, or start it again yourself, then test"
)
alarms = typer.Typer(name="alarms", no_args_is_help=True, help="What is told to whom (`alarms`).")


@alarms.command("test")
def send_test(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One alarm; every one without.")
    ] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Send a test message to each address, by the daemon where one runs, and say what came of it."""
    settings = settings_of(config)
    chosen = [alarm for alarm in settings.alarms if name in (None, alarm.name)]
    try:
        results = _results(settings, name)
    except RefusedError as error:
        raise CommandError(_STALE if chosen else str(error)) from error
    except NoAnswerError as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json(results)
    else:
        for each in results:
            came = "delivered" if each["error"] is None else f"NOT delivered: {each['error']}"
            sys.stdout.write(f"{each['alarm']} to {each['address']}: {as_one_line(came)}\n")
    wanted = {(alarm.name, address.shown) for alarm in chosen for address in alarm.addresses}
    if {(each["alarm"], each["address"]) for each in results} != wanted:
        raise CommandError(_STALE)
    missed = sum(each["error"] is not None for each in results)
    if missed:
        raise CommandError(f"{missed} of {counted(len(results), 'test message')} not delivered")


def _results(settings: Settings, name: str | None) -> list[dict[str, Any]]:
    try:
        answer = ask(settings.state_dir, "alarms test", seconds=_SECONDS, name=name)
    except NoDaemonError:
        return try_out(settings.alarms, Sender(settings), now_utc(), name=name)
    results: list[dict[str, Any]] = answer["results"]
    return results


@alarms.command("list")
def show(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Each alarm, where it goes, what it last told, and how many of its messages wait."""
    settings = settings_of(config)
    lines = _lines(settings)
    if as_json:
        print_json(lines)
        return
    if not lines:
        sys.stdout.write("no alarm is configured ([[alarms]]): nobody is called\n")
        return
    table = table_of_answers("alarm", "when", "to", "last told", "holds", "waiting")
    for line in lines:
        holds = "; ".join(line["holds"].values())
        cells = (line["alarm"], line["when"], " ".join(line["to"]), line["last_told"] or "never")
        table.add_row(*map(shown, (*cells, holds, line["waiting"])))
    console_of_answers().print(table)


def _lines(settings: Settings) -> list[dict[str, Any]]:
    told: dict[str, outbox.Told] = {}
    waiting: dict[str, int] = {}
    if settings.database_file.exists():
        with open_existing(settings.database_file) as database:
            told, waiting = outbox.told(database), outbox.count_waiting(database)
    return [
        {
            "alarm": alarm.name,
            "when": alarm.when,
            "to": [address.shown for address in alarm.addresses],
            "last_told": timestamp(told[alarm.name].at) if alarm.name in told else None,
            "holds": dict(told[alarm.name].holds) if alarm.name in told else {},
            "waiting": waiting.get(alarm.name, 0),
        }
        for alarm in settings.alarms
    ]
