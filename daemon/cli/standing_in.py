"""What a command has done by the daemon where one runs, else alone; and who asks for it."""

import getpass
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from config.settings import Settings
from daemon.cli.options import CommandError, existing_database, logged_aside
from daemon.clock import now_utc
from daemon.names import to_text
from daemon.process.control import (
    Answer,
    Handlers,
    NoAnswerError,
    NoDaemonError,
    NotAskedError,
    RefusedError,
    ask,
)
from daemon.process.instance import AlreadyRunningError, instance_lock
from daemon.store.database import Database
from daemon.store.upgrading import prepare_database

_ANSWER_SECONDS: Final = 60.0
_STARTING_SECONDS: Final = 30.0


def user_name() -> str:
    """Who runs this command, as it is recorded: a user of a container may have a number alone."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def by_daemon_or_alone(
    settings: Settings,
    command: str,
    handlers: Callable[[Database], Handlers],
    arguments: dict[str, Any],
    *,
    changes: bool = True,
    makes: bool = False,
    seconds: float = _ANSWER_SECONDS,
) -> Answer:
    """What the daemon answers; where none runs, this process stands in for it.

    Args:
        handlers: what stands in, by the command's name, on the daemon's database.
        arguments: JSON values.
        changes: whether the command changes anything.
        makes: whether it may be given before the line ran: then it makes the database.
        seconds: how long to wait for the daemon's answer.

    Raises:
        CommandError, StoreError, DatabaseRefusedError
    """
    try:
        return _by_whoever_is_free(settings, command, handlers, arguments, makes, seconds)
    except (RefusedError, NotAskedError, AlreadyRunningError, OSError) as error:
        raise CommandError(f"{command}: nothing was changed: {error}") from error
    except NoAnswerError as error:
        # It may be at it still, or have failed after the record.
        perhaps = "it may have been done all the same: " if changes else ""
        raise CommandError(f"{command}: {perhaps}{error}") from error


def _by_whoever_is_free(
    settings: Settings,
    command: str,
    handlers: Callable[[Database], Handlers],
    arguments: dict[str, Any],
    makes: bool,
    seconds: float,
) -> Answer:
    """Waits for a daemon that is starting, and answers soon, or stopping."""
    until: float | None = None
    while True:
        with suppress(NoDaemonError):
            return ask(settings.state_dir, command, seconds=seconds, **arguments)
        try:
            with own_database(settings, makes=makes) as database:
                return handlers(database)[command](arguments)
        except AlreadyRunningError:
            if until is None:
                until = time.monotonic() + _STARTING_SECONDS
                sys.stderr.write(f"Waiting for the Millwatch on {to_text(settings.state_dir)}\n")
            elif time.monotonic() > until:
                raise
        time.sleep(0.2)


@contextmanager
def own_database(settings: Settings, *, makes: bool = False) -> Iterator[Database]:
    """The daemon's database, for who is the only Millwatch on it meanwhile.

    Args:
        makes: one where there is none.

    Raises:
        CommandError, AlreadyRunningError, OSError, StoreError, DatabaseRefusedError
    """
    if not makes:
        existing_database(settings)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with logged_aside(), instance_lock(settings.state_dir):
        database = prepare_database(
            settings.database_file, backups=settings.state_dir / "backups", now=now_utc()
        )
        try:
            yield database
        finally:
            database.close()
