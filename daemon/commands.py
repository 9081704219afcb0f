"""What people and programs may ask of a running service, by name: the same by socket and by page."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from config.settings import Settings
from daemon.files.placing import write_durably
from daemon.integrity.mending import Mender
from daemon.parts import Parts
from daemon.process.control import Answer, Arguments, Handlers, RefusedError
from daemon.process.health import Health
from daemon.review.commands import ReviewCommands
from daemon.status import Status
from daemon.store.database import Database, StoreError
from daemon.web.door.users import Users


def commands_of(
    parts: Parts,
    settings: Settings,
    *,
    database: Database,
    status: Status,
    clock: Callable[[], datetime],
) -> Handlers:
    """Each command of a service with what answers it, from any thread."""
    note = settings.state_dir / "backup.json"
    with suppress(OSError, ValueError):  # none was made yet
        _tell_of_backup(parts.health, json.loads(note.read_text()))
    review = ReviewCommands(
        settings,
        database=database,
        labeller=parts.labeller,
        settled=parts.review.wait_until_settled,
    )
    return {
        "status": lambda _: status.tell(),
        **Users(database, clock).commands(),
        **parts.promoter.commands(),
        **{
            name: parts.review.settled_before(command)
            for name, command in parts.retrainer.commands().items()
        },
        **review.handlers(),
        **Mender(settings, database=database, clock=clock).commands(),
        **parts.drift.commands(),
        **parts.alarms.commands(),
        "backed up": partial(_backed_up, parts.health, note),
    }


def by_socket(commands: Handlers) -> Handlers:
    """The same; what the database or a disk does not take is refused, as nothing of it was done."""

    def refusing(command: Callable[[Arguments], Answer], asked: Arguments) -> Answer:
        try:
            return command(asked)
        except StoreError as error:
            raise RefusedError(str(error)) from error
        except OSError as error:
            told = f"{error}; see whether it may be written there, and whether there is room"
            raise RefusedError(told) from error

    return {name: partial(refusing, command) for name, command in commands.items()}


def _backed_up(health: Health, note: Path, asked: Arguments) -> Answer:
    """What came of a backup that is made again and again: else the timer's log alone would tell."""
    with suppress(
        OSError
    ):  # a full disk, say, which is why it failed; told until the next start at least
        write_durably(note, json.dumps(asked["failed"]) + "\n")
    _tell_of_backup(health, asked["failed"])
    return {}


def _tell_of_backup(health: Health, failed: str) -> None:
    if failed:
        health.trouble("backup", f"the last backup of the database failed: {failed}")
    else:
        health.mended("backup")
