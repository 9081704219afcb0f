"""`run`, `check` and `status`."""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import structlog
import typer
from rich.console import Console

from config.loading import check_settings, load_settings
from config.logging import configure_logging
from config.problems import CONFIGURATION_EXIT_STATUS, ConfigurationError, Problem
from config.settings import Settings
from config.text import counted
from daemon.checking import (
    CHECKS,
    alarm_problems,
    camera_problems,
    policy_problems,
    state_problems,
)
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
from daemon.names import to_text
from daemon.process.arenas import keep_the_heap_small
from daemon.process.control import NoAnswerError, NoDaemonError, ask
from daemon.process.crashes import trace_crashes
from daemon.process.instance import end_beside_threads
from daemon.serving import pointed_version
from daemon.starting import serve
from daemon.store.images import count_by_verdict, count_pending
from daemon.store.upgrading import open_existing
from daemon.systemd.units import UnitError, write_drop_ins

log = structlog.get_logger(__name__)

_OF_A_DISK: Final = {errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO}
"""Which may be mended while systemd tries again and again."""


def run(config: ConfigOption = None) -> None:
    """Watch the cameras' folders until stopped (SIGTERM or Ctrl-C)."""
    keep_the_heap_small()
    # Without checking the model and the database: they are about to be opened.
    further = (camera_problems, policy_problems, alarm_problems)
    settings, problems = check_settings(config, os.environ, further=(*further, state_problems))
    lasting = [
        each for each in problems if not each.again_helps and not _is_made_up_for(each, settings)
    ]
    if lasting or settings is None:
        raise ConfigurationError(problems)
    configure_logging()
    for problem in problems:  # a share that is not mounted yet: the service waits for it
        log.warning("not there yet", problem=str(problem))
    try:
        trace_crashes(settings.state_dir)
        serve(settings, reread=lambda: load_settings(config, os.environ, further=further))
        end_beside_threads()
    except OSError as error:
        if error.errno not in _OF_A_DISK:
            raise
        raise CommandError(
            f"it cannot run on {to_text(settings.state_dir)}: {error}; free space and inodes on its "
            "disk, or mount it read-write (`dmesg` may say more)"
        ) from error


def _is_made_up_for(problem: Problem, settings: Settings | None) -> bool:
    """The model that the line began with is not needed where another was promoted: that is loaded first."""
    if settings is None or problem.key != "model.folder":
        return False
    return pointed_version(settings) is not None


def check(
    config: ConfigOption = None,
    *,
    write_unit: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write what systemd's units need to know of it, to /etc/systemd/system usually.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Report everything that is wrong with the configuration, its folders, model and database."""
    settings, problems = check_settings(config, os.environ, further=CHECKS)
    if write_unit is not None and settings is not None:
        _write_units(settings, write_unit)
    if as_json:
        fields = ("source", "line", "key", "what", "remedy", "again_helps")
        print_json([{name: getattr(each, name) for name in fields} for each in problems])
    else:
        for problem in problems:
            sys.stdout.write(f"{problem}\n")
        if settings is not None and not problems:
            names = ", ".join(camera.name for camera in settings.cameras)
            sys.stdout.write(f"The configuration is good. Cameras: {names}.\n")
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        sys.stderr.write(f"{count} in the configuration\n")
        raise typer.Exit(CONFIGURATION_EXIT_STATUS)


def _write_units(settings: Settings, folder: Path) -> None:
    try:
        written = write_drop_ins(settings, folder)
    except PermissionError as error:
        raise CommandError(
            f"the units in {folder} were not written: {error}; `millwatch-configure` does it, as root"
        ) from error
    except (UnitError, OSError) as error:
        raise CommandError(f"the units in {folder} were not written: {error}") from error
    for path in written:
        sys.stderr.write(f"wrote {path}\n")
    if written:
        sys.stderr.write("now: systemctl daemon-reload && systemctl restart millwatch\n")


def status(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show what the daemon is doing: cameras, backlog, verdicts, troubles."""
    settings = settings_of(config)
    try:
        answer = ask(settings.state_dir, "status")
    except NoAnswerError as error:
        raise CommandError(str(error)) from error
    except NoDaemonError:
        answer = _stopped(settings)
    if as_json:
        print_json(answer)
    else:
        _print_status(answer)


def _stopped(settings: Settings) -> dict[str, Any]:
    """What the database alone can say."""
    path = settings.database_file
    if not path.exists():
        return {"state": "stopped", "in_database": {}, "pending_moves": 0, "troubles": {}}
    with open_existing(path) as database:
        return {
            "state": "stopped",
            "in_database": count_by_verdict(database),
            "pending_moves": count_pending(database),
            "troubles": {},
        }


def _print_status(answer: dict[str, Any]) -> None:
    console = console_of_answers()
    console.print(f"Millwatch is [bold]{answer['state']}[/bold]")
    for name in ("since", "model_version", "runtime", "pending_moves"):
        if name in answer:
            console.print(f"  {name.replace('_', ' ')}: {shown(answer[name])}", highlight=False)
    counts = answer.get("recorded", answer.get("in_database", {}))
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "none"
    where = "recorded since the start" if "recorded" in answer else "in the database"
    console.print(f"  images {where}: {told}", highlight=False)
    if answer.get("commissioning"):
        console.print("  commissioning: no normal class is learned yet, so nothing passes")
    if shadow := answer.get("shadow"):
        _print_shadow(console, shadow)
    if retraining := answer.get("retraining"):
        _print_retraining(console, retraining)
    if cameras := answer.get("cameras"):
        table = table_of_answers("camera", "folder", "watching", "waiting")
        for camera in cameras:
            keys = ("name", "folder", "watching", "waiting")
            table.add_row(*(shown(camera[key]) for key in keys))
        console.print(table)
    for name, what in answer["troubles"].items():
        console.print(f"[red]{shown(name)}[/red]: {shown(what)}", highlight=False)


def _print_shadow(console: Console, shadow: dict[str, Any]) -> None:
    ended = f"; ended: {shown(shadow['ended'])}" if shadow["ended"] else ""
    console.print(
        f"  shadow: model {shown(shadow['model_version'])} also judged {shadow['judged']} of "
        f"{counted(shadow['of'], 'image')}, {shadow['agreed']} alike; of {shadow['passed']} that passed it calls "
        f"{counted(shadow['passed_called_defect'], 'defect')}{ended}",
        highlight=False,
    )


def _print_retraining(console: Console, told: dict[str, Any]) -> None:
    if told["running"]:
        how_far = "begins"
        if progress := told["progress"]:
            how_far = "{stage}, {done} of {of}".format_map(progress)
        going = f"{shown(told['running'])}: {shown(how_far)}"
    else:
        going = (
            f"{counted(told['new_labels'], 'new label')}, next due {told['next_due'] or 'never'}"
        )
    console.print(f"  retraining: {going}", highlight=False)
    if last := told["last_run"]:
        came = f"{last['state']}: {last['reason']}"
        console.print(f"  the last retraining: {shown(came)}", highlight=False)
