"""`models promote` and `models rollback`."""

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer

from config.settings import Settings
from daemon.cli.options import CommandError, ConfigOption, logged_aside, settings_of
from daemon.clock import now_utc
from daemon.control import NoAnswerError, NoDaemonError, RefusedError, ask
from daemon.health import Health
from daemon.process import AlreadyRunningError, instance_lock
from daemon.retraining.promotion import Promoter
from daemon.store.upgrading import prepare_database

_SECONDS: Final = 300.0
"""A model is loaded and tried before the answer."""


def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="As `models list` names it.")],
    config: ConfigOption = None,
) -> None:
    """Let a model serve from the next batch on, whatever the gate said of it."""
    arguments = {"version": version, "by": getpass.getuser()}
    done = _change(settings_of(config), "models promote", lambda it: it.promote, arguments)
    sys.stdout.write(f"model {done} serves\n")


def rollback(config: ConfigOption = None) -> None:
    """Let the model serve again that did before this one."""
    arguments = {"by": getpass.getuser()}
    done = _change(settings_of(config), "models rollback", lambda it: it.roll_back, arguments)
    sys.stdout.write(f"model {done} serves again\n")


def _change(
    settings: Settings,
    command: str,
    method: Callable[[Promoter], Callable[..., str]],
    arguments: dict[str, Any],
) -> str:
    """By the daemon where one runs, else alone. The version that serves."""
    try:
        try:
            return str(ask(settings.state_dir, command, seconds=_SECONDS, **arguments)["version"])
        except NoAnswerError:
            raise
        except NoDaemonError:
            with _alone(settings) as promoter:
                return method(promoter)(**arguments)
    except (RefusedError, NoAnswerError, AlreadyRunningError, OSError) as error:
        raise CommandError(f"nothing was changed: {error}") from error


@contextmanager
def _alone(settings: Settings) -> Iterator[Promoter]:
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with logged_aside(), instance_lock(settings.state_dir):
        database = prepare_database(
            settings.database_file, backups=settings.state_dir / "backups", now=now_utc()
        )
        try:
            yield Promoter(settings, database=database, health=Health(), clock=now_utc)
        finally:
            database.close()
