"""`drift accept`: a camera that is meant to look as it does now."""

import sys
from typing import Annotated

import typer

from config.settings import Settings
from daemon.cli.options import CommandError, ConfigOption, settings_of
from daemon.clock import now_utc
from daemon.control import NoAnswerError, NoDaemonError, RefusedError, ask
from daemon.drift.minder import DriftMinder
from daemon.health import Health
from daemon.process import AlreadyRunningError, instance_lock
from daemon.store.upgrading import prepare_database

_drift = typer.Typer(help="What changed about the cameras' images.", no_args_is_help=True)


@_drift.callback()
def _commands() -> None:
    """Its commands are named, though there is only one."""


def register(app: typer.Typer) -> None:
    _drift.command()(accept)
    app.add_typer(_drift, name="drift")


def accept(
    camera: Annotated[str, typer.Argument(metavar="CAMERA", help="As the configuration names it.")],
    config: ConfigOption = None,
) -> None:
    """Take a camera as it is from today on for usual: after a new lamp, lens or product."""
    settings = settings_of(config)
    try:
        try:
            since = ask(settings.state_dir, "drift accept", camera=camera)["since"]
        except NoAnswerError:
            raise
        except NoDaemonError:
            since = _alone(settings, camera)
    except (RefusedError, NoAnswerError, AlreadyRunningError, OSError) as error:
        raise CommandError(f"nothing was changed: {error}") from error
    sys.stdout.write(f"camera {camera} is compared with its days from {since} on\n")


def _alone(settings: Settings, camera: str) -> str:
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with instance_lock(settings.state_dir):
        database = prepare_database(
            settings.database_file, backups=settings.state_dir / "backups", now=now_utc()
        )
        try:
            minder = DriftMinder(settings, database=database, health=Health(), clock=now_utc)
            return minder.accept(camera)
        finally:
            database.close()
