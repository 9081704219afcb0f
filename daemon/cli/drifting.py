"""`drift accept`: a camera that is meant to look as it does now."""

import sys
from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, settings_of
from daemon.cli.standing_in import by_daemon_or_alone
from daemon.clock import now_utc
from daemon.drift.minder import DriftMinder
from daemon.process.control import Handlers
from daemon.process.health import Health
from daemon.store.database import Database

drift = typer.Typer(
    name="drift", no_args_is_help=True, help="What changed about the cameras' images."
)


@drift.callback()
def _commands() -> None:
    """Its commands are named, though there is only one."""


@drift.command()
def accept(
    camera: Annotated[str, typer.Argument(metavar="CAMERA", help="As the configuration names it.")],
    config: ConfigOption = None,
) -> None:
    """Take a camera as it is from today on for usual: after a new lamp, lens or product."""
    settings = settings_of(config)

    def handlers(database: Database) -> Handlers:
        return DriftMinder(settings, database=database, health=Health(), clock=now_utc).commands()

    done = by_daemon_or_alone(settings, "drift accept", handlers, {"camera": camera})
    sys.stdout.write(f"camera {camera} is compared with its days from {done['since']} on\n")
