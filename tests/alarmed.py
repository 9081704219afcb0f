"""Alarms without their thread."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from records import NOW

from config.loading import load_settings
from daemon.alarms.alarms import Alarms
from daemon.process.health import Health
from daemon.store.database import Database


@dataclass
class Line:
    """Alarms without their thread: a test tells the time, and calls each step."""

    folder: Path
    database: Database
    health: Health = field(default_factory=Health)
    now: datetime = NOW
    steady: float = 0.0
    alarms: Alarms | None = None
    more: str = ""

    def configure(self, *to: str, **keys: Any) -> None:
        """One alarm, of a daemon that starts now."""
        values = {"name": "office", "when": "trouble", "to": list(to)} | keys
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        file = self.folder / "millwatch.toml"
        file.write_text(f'state_dir = "{self.folder}"\n[[alarms]]\n{text}{self.more}')
        self.alarms = Alarms(
            load_settings(file, {}),
            database=self.database,
            health=self.health,
            clock=lambda: self.now,
        )

    def after(self, seconds: float) -> None:
        """So much later, a step."""
        assert self.alarms is not None
        self.now += timedelta(seconds=seconds)
        self.steady += seconds
        self.alarms.step(steady=self.steady)

    @property
    def own(self) -> str:
        """The trouble of an address that cannot be reached."""
        return " ".join(
            what for name, what in self.health.troubles().items() if name.startswith("alarm ")
        )
