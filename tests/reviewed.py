"""A review folder with images in it and their records, where nothing was judged: quick to make."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from builders import Station
from records import NOW, finding, open_store

from daemon.journey.routing import Folders
from daemon.names import from_text
from daemon.process.health import Health
from daemon.review.labelling import Labeller
from daemon.review.minder import ReviewMinder
from daemon.review.reconciling import Reconciler
from daemon.store import images
from daemon.store.database import Database
from daemon.store.images import Settled
from daemon.values import Action, Progress

UNSURE: Mapping[int, str] = dict.fromkeys(range(1, 5), "unsure")


def data_of(number: int) -> bytes:
    return f"image {number}".encode()


def station_of(
    root: Path,
    verdicts: Mapping[int, str] = UNSURE,
    *,
    reasons: Mapping[int, str] = MappingProxyType({}),
    state: Path | None = None,
    **policy: str,
) -> Station:
    """Images 1 to n of these verdicts, each where the service would have brought it."""
    station = Station(
        root=root,
        model=root,
        cameras=("top-1",),
        state=state,
        tables={"intake": {"quiet_seconds": 0.0, "give_up_seconds": 0.0}, "policy": dict(policy)},
    )
    station.state_dir.mkdir(parents=True)
    (station.review / "labelled").mkdir(parents=True)
    store = open_store(station.state_dir)
    plan = Folders.of(station.settings()).plan
    for number, verdict in verdicts.items():
        data = data_of(number)
        path = station.folder("top-1") / f"{number}.jpg"
        predicted = {"predicted_class": "no_defect"} if verdict == "pass" else {}
        found = finding(number, verdict, size=len(data), **predicted)
        found = replace(found, reason=reasons.get(number, found.reason))
        delivery = replace(found.delivery, path=path)
        found = replace(found, sha256=hashlib.sha256(data).hexdigest(), delivery=delivery)
        intents = images.record(store, [found], plan, NOW).intents
        for intent in intents:
            path = intent.plan.target or path
            done = Settled(intent=intent, progress=Progress.MOVED, path=path)
            assert intent.plan.action is Action.MOVE
            images.settle(store, [done])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(found.delivery.mtime_ns, found.delivery.mtime_ns))
    store.close()
    return station


def paths(station: Station) -> dict[int, Path]:
    """Where each image is, by its record."""
    return {
        number: Path(from_text(path))
        for number, path in station.query("SELECT id, path FROM image")
    }


def labels(station: Station) -> dict[int, str]:
    return dict(station.query("SELECT image_id, label FROM labels"))


def move(path: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    path.rename(to)
    return to


@dataclass
class Looking:
    """A minder of the review folder, whose steps a test calls, at times of its own."""

    database: Database
    labeller: Labeller
    minder: ReviewMinder
    health: Health
    now: float = 0.0

    def look(self, *, seconds: float = 10.0) -> None:
        """Often enough, over so long a time, that all is settled and what is missing is missed."""
        for _ in range(5):
            self.now += seconds / 5
            while self.minder.step(now=self.now):
                pass


@contextmanager
def looking(station: Station) -> Iterator[Looking]:
    settings = station.settings()
    database = Database(settings.database_file)
    health = Health()

    def clock() -> datetime:
        return NOW

    labeller = Labeller(settings, database=database, health=health, clock=clock)
    reconciler = Reconciler(
        settings, database=database, labeller=labeller, health=health, clock=clock
    )
    minder = ReviewMinder(reconciler, review=settings.review_folder, health=health)
    try:
        yield Looking(database=database, labeller=labeller, minder=minder, health=health)
    finally:
        database.close()
