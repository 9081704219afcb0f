"""What the page and its API work with: composed once, by the service."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from config.settings import Settings
from daemon.journey.metering import Meter
from daemon.process.control import Handlers
from daemon.process.health import Health
from daemon.reports.periods import Calendar
from daemon.review.labelling import Labeller
from daemon.store.database import Database
from models.registry import Model


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The collaborators of the page.

    Attributes:
        model: the model that serves at the moment.
        status: what `millwatch status` tells.
        meter: what was counted since the start.
        commands: what commands reach by the control socket, by name: the page does it the same way.
    """

    settings: Settings
    database: Database
    health: Health
    clock: Callable[[], datetime]
    model: Callable[[], Model]
    labeller: Labeller
    status: Callable[[], dict[str, Any]]
    commands: Handlers
    meter: Meter = field(default_factory=Meter)

    @property
    def calendar(self) -> Calendar:
        zone = ZoneInfo(self.settings.time_zone)
        return Calendar(zone=zone, shifts=self.settings.reports.starts)
