"""What a service is made of: each part once, and which works with which."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from config.settings import Camera, Settings
from daemon.alarms.alarms import Alarms
from daemon.drift.minder import DriftMinder
from daemon.files.disks import DiskMinder, Reserve
from daemon.files.mounts import DROP_FOLDERS, MountMemory
from daemon.intake.camera import CameraMinder
from daemon.intake.names import NameRule
from daemon.intake.waiting import WaitingRoom
from daemon.journey.pipeline import Pipeline
from daemon.process.health import Health
from daemon.retention.deleting import Retention
from daemon.retraining.promotion import Promoter
from daemon.retraining.retrainer import Retrainer
from daemon.review.labelling import Labeller
from daemon.review.minder import ReviewMinder
from daemon.review.reconciling import Reconciler
from daemon.store import deliveries
from daemon.store.database import Database
from models.registry import Model


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The line, and what goes on beside it."""

    health: Health
    room: WaitingRoom
    cameras: Sequence[CameraMinder]
    pipeline: Pipeline
    labeller: Labeller
    review: ReviewMinder
    promoter: Promoter
    retrainer: Retrainer
    retention: Retention
    drift: DriftMinder
    alarms: Alarms
    disks: DiskMinder
    reserve: Reserve

    def reconfigure(self, settings: Settings) -> None:
        """Take over what may change while the line runs.

        Raises:
            ServingModelError: the model does not load with them; nothing is taken over.
        """
        self.promoter.reconfigure(settings)
        self.retrainer.reconfigure(settings)
        self.retention.reconfigure(settings)
        self.disks.reconfigure(settings)
        self.pipeline.shadow.reconfigure(settings)
        self.pipeline.sights.reconfigure(settings)
        self.drift.reconfigure(settings)
        self.alarms.reconfigure(settings)


def compose(
    settings: Settings,
    *,
    database: Database,
    model: Model,
    stopping: threading.Event,
    clock: Callable[[], datetime],
) -> Parts:
    """Everything but the ways in (`daemon.commands`, the page). Nothing is started yet."""
    health = Health()
    room = WaitingRoom({camera.name: camera.folder for camera in settings.cameras}, settings.intake)
    mounts = MountMemory(settings.state_dir / DROP_FOLDERS)
    labeller = Labeller(settings, database=database, health=health, clock=clock)
    review = ReviewMinder(
        Reconciler(settings, database=database, labeller=labeller, health=health, clock=clock),
        review=settings.review_folder,
        health=health,
    )
    pipeline = Pipeline(
        settings,
        database=database,
        model=model,
        room=room,
        health=health,
        clock=clock,
        placed=review.placed,
    )
    promoter = Promoter(settings, database=database, health=health, clock=clock, line=pipeline)
    return Parts(
        health=health,
        room=room,
        cameras=[
            _camera(each, settings, room, database, mounts, health, stopping)
            for each in settings.cameras
        ],
        pipeline=pipeline,
        labeller=labeller,
        review=review,
        promoter=promoter,
        retrainer=Retrainer(
            settings, database=database, promoter=promoter, health=health, clock=clock
        ),
        retention=Retention(settings, database=database, health=health, clock=clock, mounts=mounts),
        drift=DriftMinder(
            settings, database=database, health=health, clock=clock, model=lambda: pipeline.model
        ),
        alarms=Alarms(settings, database=database, health=health, clock=clock),
        disks=DiskMinder(settings, health=health),
        reserve=Reserve(settings.database_file),
    )


def _camera(
    camera: Camera,
    settings: Settings,
    room: WaitingRoom,
    database: Database,
    mounts: MountMemory,
    health: Health,
    stopping: threading.Event,
) -> CameraMinder:
    return CameraMinder(
        camera,
        room=room,
        rule=NameRule.of(settings.intake),
        known=partial(deliveries.known, database),
        mounts=mounts,
        health=health,
        rescan_seconds=settings.intake.rescan_seconds,
        marker_suffix=settings.intake.marker_suffix,
        stopping=stopping,
    )
