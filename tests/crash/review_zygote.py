"""Looks after a review folder in forked children that kill themselves at a chosen step.

Each line on the standard input, a JSON object, is a child; each line on the standard output says how
it ended.
"""

import threading
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from crash.kills import Kill
from forking import answer, fork, orders

from config.settings import Settings
from daemon.process.health import Health
from daemon.review.labelling import Labeller
from daemon.review.reconciling import Reconciler
from daemon.store.database import Database

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def live(order: dict[str, Any], settings: Settings) -> None:
    """Look until all is settled; or first do what the page does, label an image or undo that."""
    database = Database(settings.database_file)
    health = Health()
    labeller = Labeller(settings, database=database, health=health, clock=lambda: NOW)
    reconciler = Reconciler(
        settings, database=database, labeller=labeller, health=health, clock=lambda: NOW
    )
    kill = Kill(order["kill_at"], Path(order["trace"]))
    kill.arm()
    for image_id, label in order.get("page", []):
        if label is None:
            labeller.undo(image_id, "anna", seen=None)
        else:
            labeller.label(image_id, label, "anna", seen=None)
    pause = threading.Event()
    looks = 0
    while reconciler.step(now=time.monotonic()) or not reconciler.is_settled or looks < 2:
        looks += 1
        if looks > 500:
            raise AssertionError(f"it never settles: {health.troubles()}")
        pause.wait(0.005)
    kill.step("end")
    assert not health.troubles(), health.troubles()


def main() -> None:
    for order, settings in orders():
        answer(fork(partial(live, order, settings)))


if __name__ == "__main__":
    main()
