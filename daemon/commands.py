"""What people and programs may ask of a running service, by name: the same by socket and by page."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from config.settings import Settings
from daemon.integrity.mending import Mender
from daemon.parts import Parts
from daemon.process.control import Answer, Arguments, Handlers
from daemon.process.health import Health
from daemon.review.commands import ReviewCommands
from daemon.status import Status
from daemon.store.database import Database
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
        "backed up": partial(_backed_up, parts.health),
    }


def _backed_up(health: Health, asked: Arguments) -> Answer:
    """What came of a backup that is made again and again: else the timer's log alone would tell."""
    if asked["failed"]:
        health.trouble("backup", f"the last backup of the database failed: {asked['failed']}")
    else:
        health.mended("backup")
    return {}
