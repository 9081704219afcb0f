"""A pipeline without its service, whose steps a test calls."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from builders import WAIT_SECONDS, wait_until
from numpy.typing import NDArray
from records import lay_empty_database

from config.settings import Settings
from daemon.clock import now_utc
from daemon.files.mounts import MountMemory
from daemon.intake.camera import CameraMinder
from daemon.intake.names import NameRule
from daemon.intake.waiting import WaitingRoom
from daemon.journey.pipeline import Pipeline
from daemon.process.health import Health
from daemon.serving import load_serving_model
from daemon.store import deliveries
from daemon.store.database import Database
from daemon.store.upgrading import prepare_database
from models.registry import Model
from models.runtimes.protocol import Runtime


@dataclass
class Wrapped:
    """Another runtime by its name and its head; how it judges, a test's own class says."""

    sound: Runtime

    @property
    def name(self) -> str:
        return self.sound.name

    @property
    def head(self) -> NDArray[np.float32]:
        return self.sound.head


@dataclass
class ByHand:
    """A pipeline without its service: the test scans, and calls each step."""

    database: Database
    room: WaitingRoom
    pipeline: Pipeline
    health: Health
    minders: list[CameraMinder]

    def scan(self) -> None:
        for minder in self.minders:
            minder.step()

    def work(self) -> None:
        """Until nothing is due."""
        while self.pipeline.retry_if_due() or self.pipeline.step():
            pass

    def work_until(self, condition: Callable[[], Any]) -> None:
        def worked() -> Any:
            self.scan()
            self.work()
            return condition()

        wait_until(worked)


@contextmanager
def by_hand(
    settings: Settings, *, model: Model | None = None, busy_seconds: float = 10.0
) -> Iterator[ByHand]:
    """Compose what `serve` composes, with another model perhaps, and no thread that goes by itself."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    lay_empty_database(settings.database_file)
    database = prepare_database(
        settings.database_file,
        backups=settings.state_dir / "backups",
        now=now_utc(),
        busy_seconds=busy_seconds,
    )
    intake = settings.intake
    health = Health()
    room = WaitingRoom({camera.name: camera.folder for camera in settings.cameras}, intake)
    pipeline = Pipeline(
        settings,
        database=database,
        model=model or load_serving_model(settings),
        room=room,
        health=health,
        clock=now_utc,
    )
    minders = [
        CameraMinder(
            camera,
            room=room,
            rule=NameRule.of(intake),
            known=lambda some: deliveries.known(database, some),
            mounts=MountMemory(settings.state_dir / "drop_folders.json"),
            health=health,
            rescan_seconds=intake.rescan_seconds,
            marker_suffix=intake.marker_suffix,
            stopping=threading.Event(),
        )
        for camera in settings.cameras
    ]
    try:
        yield ByHand(
            database=database, room=room, pipeline=pipeline, health=health, minders=minders
        )
    finally:
        for minder in minders:
            minder.close()
        pipeline.close(seconds=WAIT_SECONDS)
        database.close()
