"""`models promote` and `models rollback`."""

import sys
from typing import Annotated, Any, Final

import typer

from config.settings import Settings
from daemon.cli.options import ConfigOption, settings_of
from daemon.cli.standing_in import by_daemon_or_alone, user_name
from daemon.clock import now_utc
from daemon.process.control import Handlers
from daemon.process.health import Health
from daemon.retraining.promotion import Promoter
from daemon.store.database import Database

_SECONDS: Final = 300.0
"""A model is loaded and tried before the answer."""


def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="As `models list` names it.")],
    config: ConfigOption = None,
) -> None:
    """Let a model serve from the next batch on, whatever the gate said of it."""
    arguments = {"version": version, "by": user_name()}
    done = _change(settings_of(config), "models promote", arguments)
    sys.stdout.write(f"model {done} serves\n")


def rollback(config: ConfigOption = None) -> None:
    """Let the model serve again that did before this one."""
    arguments = {"by": user_name()}
    done = _change(settings_of(config), "models rollback", arguments)
    sys.stdout.write(f"model {done} serves again\n")


def _change(settings: Settings, command: str, arguments: dict[str, Any]) -> str:
    """The version that serves."""

    def handlers(database: Database) -> Handlers:
        return Promoter(settings, database=database, health=Health(), clock=now_utc).commands()

    makes = command == "models promote"
    done = by_daemon_or_alone(settings, command, handlers, arguments, makes=makes, seconds=_SECONDS)
    return str(done["version"])
