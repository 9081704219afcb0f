"""Runs the journey in forked children that kill themselves at a chosen step.

torch takes seconds to import, so it is done once here: each line on the standard input, a JSON
object, is a child; each line on the standard output says how it ended. The steps are the calls
that change something on a disk; they are counted here, and product code knows nothing of it.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from config.loading import load_settings
from config.logging import configure_logging
from config.settings import Settings
from daemon.health import Health
from daemon.intake.camera import CameraMinder
from daemon.intake.names import NameRule
from daemon.intake.waiting import Patience, WaitingRoom
from daemon.pipeline import Pipeline
from daemon.service import now_utc
from daemon.serving import load_serving_model
from daemon.store import images
from daemon.store.database import Database
from daemon.store.upgrading import prepare_database
from models.registry import Model

GIVE_UP_SECONDS = 20.0
OPERATIONS = ("link", "unlink", "rename", "replace", "fsync", "pread")


class Kill:
    """Counts the steps, and ends the process without a word before the one it was given.

    Nothing changes a disk between two steps, so before one is after the one before it.
    """

    def __init__(self, at: int | None, trace: Path) -> None:
        self._at = at
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._count = 0
        self._lock = threading.Lock()

    def step(self, what: str) -> None:
        with self._lock:
            self._count += 1
            os.write(self._trace, f"{what}\n".encode(errors="surrogateescape"))
            if self._count == self._at:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.step(f"{name} {describe(arguments[0])}")
            return call(*arguments, **options)

        return wrapped

    def arm(self) -> None:
        for name in OPERATIONS:
            setattr(os, name, self.around(name, getattr(os, name)))
        dialect: Any = SQLiteDialect_pysqlite
        dialect.do_commit = self.around("commit", dialect.do_commit)


def describe(argument: object) -> str:
    """A path, or the path of an open file."""
    if isinstance(argument, int):
        return os.readlink(f"/proc/self/fd/{argument}")
    return os.fspath(argument) if isinstance(argument, str | os.PathLike) else ""


def drive(settings: Settings, model: Model, database: Database) -> None:
    """Scan and judge until nothing is left to do."""
    health = Health()
    intake = settings.intake
    room = WaitingRoom(
        {camera.name: camera.folder for camera in settings.cameras},
        Patience(quiet_seconds=intake.quiet_seconds, give_up_seconds=intake.give_up_seconds),
    )
    pipeline = Pipeline(
        settings, database=database, model=model, room=room, health=health, clock=now_utc
    )
    minders = [
        CameraMinder(
            camera,
            room=room,
            rule=NameRule(extensions=intake.extensions, ignore=intake.ignore),
            known=lambda deliveries: images.known(database, deliveries),
            health=health,
            rescan_seconds=intake.rescan_seconds,
            marker_suffix="",
            stopping=threading.Event(),
        )
        for camera in settings.cameras
    ]
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while True:
        for minder in minders:
            minder.step()
        while pipeline.retry_if_due() or pipeline.step():
            pass
        if not any(room.backlog().values()) and not images.count_pending(database):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done: {room.backlog()}, {health.troubles()}")
        room.wait(1.0, now=time.monotonic())


def live(order: dict[str, Any], settings: Settings, model: Model) -> None:
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    path = settings.database_file
    if path.exists():
        database = Database(path)
    else:
        database = prepare_database(path, backups=settings.state_dir / "backups", now=now_utc())
    if order["trace"] is None:
        drive(settings, model, database)
    else:
        kill = Kill(order["kill_at"], Path(order["trace"]))
        kill.arm()
        drive(settings, model, database)
        kill.step("end")
    database.close()


def main() -> None:
    torch.set_num_threads(1)
    configure_logging()
    model: Model | None = None
    for line in sys.stdin:
        order = json.loads(line)
        settings = load_settings(Path(order["config"]), {})
        if model is None:
            model = load_serving_model(settings)
            for images_at_once in (1, 2):  # what torch prepares for a shape, the children inherit
                model.judge(np.zeros((images_at_once, *[model.input_size] * 2), dtype=np.uint8))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                live(order, settings, model)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps({"status": os.waitstatus_to_exitcode(status)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
