"""Deliveries and findings made up for the store: nothing of them lies on a disk."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from daemon.store import images
from daemon.store.database import Database
from daemon.store.images import Settled
from daemon.store.upgrading import prepare_database
from daemon.values import Action, Appearance, Delivery, Finding, Intent, Plan, Progress
from models.taxonomy import Verdict

TALLIED = "SELECT camera, hour, verdict, predicted_class, images FROM tally WHERE images <> 0"
COUNTED = """
    SELECT camera, substr(captured_at, 1, 13) || ':00:00Z', verdict,
           coalesce(predicted_class, ''), count(*)
    FROM image GROUP BY 1, 2, 3, 4
"""
DAYS = """
    SELECT camera, day, model_version, predicted_class, images, round(brightness, 6),
           round(sharpness, 6), round(novelty, 6)
    FROM camera_day WHERE images <> 0
"""
COUNTED_DAYS = """
    SELECT camera, substr(captured_at, 1, 10), model_version, predicted_class, count(*),
           round(sum(brightness), 6), round(sum(sharpness), 6), round(sum(novelty), 6)
    FROM image WHERE verdict <> 'unreadable' GROUP BY 1, 2, 3, 4
"""
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_OTHER_PROGRAM = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("ready", flush=True)
sys.stdin.read()
"""


@cache
def empty_database() -> bytes:
    """As the migrations make it, once in a process: that takes fifty times as long as to copy it."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "millwatch.db"
        prepare_database(file, backups=Path(folder), now=NOW).close()
        return file.read_bytes()


def lay_empty_database(file: Path) -> None:
    """Where there is none."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(empty_database())


def open_store(folder: Path, *, busy_seconds: float = 10.0) -> Database:
    lay_empty_database(folder / "millwatch.db")
    return prepare_database(
        folder / "millwatch.db", backups=folder / "backups", now=NOW, busy_seconds=busy_seconds
    )


def nanoseconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def delivery(number: int = 1, **fields: Any) -> Delivery:
    values: dict[str, Any] = {
        "camera": "top-1",
        "filename": f"{number}.jpg",
        "inode": number,
        "size": 1000,
        "mtime_ns": nanoseconds("2026-03-01T10:00:00") + number,
    }
    values |= fields
    return Delivery(path=Path("/drop") / values["camera"] / values["filename"], **values)


def finding(number: int = 1, verdict: str = "defect", **fields: Any) -> Finding:
    predicted = fields.pop("predicted_class", None if verdict == "unreadable" else "scratches")
    return Finding(
        delivery=delivery(number, **fields),
        sha256=f"{number:064x}",
        verdict=Verdict(verdict),
        reason="confident" if predicted else "truncated",
        predicted_class=predicted,
        confidence=0.75 if predicted else None,
        novelty=0.5 if predicted else None,
        model_version="m1" if predicted else None,
        appearance=Appearance(brightness=float(number), sharpness=0.25, side=64)
        if predicted
        else None,
    )


def to_its_id(image_id: int, _: Finding, promised: Callable[[Path], bool]) -> Plan:
    """To a place that has the image's id in it, as the review folder's names do."""
    target = Path(f"/review/{image_id}.jpg")
    assert not promised(target)
    return Plan(action=Action.MOVE, target=target)


def leave(_: int, __: Finding, ___: Callable[[Path], bool]) -> Plan:
    return Plan(action=Action.LEAVE)


def record(database: Database, *findings: Finding) -> list[Intent]:
    return images.record(database, findings, to_its_id, NOW).intents


def rows(database: Database, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Read by SQLite alone, as another program would."""
    with closing(sqlite3.connect(database.path)) as connection:
        return connection.execute(sql, parameters).fetchall()


@contextmanager
def another_process(path: Path, *statements: str) -> Iterator[None]:
    """Another program that has executed these on the database, and stays connected meanwhile."""
    command = [sys.executable, "-c", _OTHER_PROGRAM, str(path), *statements]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
        process.communicate()
    assert process.returncode == 0


def count(store: Database) -> int:
    return int(rows(store, "SELECT count(*) FROM image")[0][0])


def settle(store: Database, *intents: Intent, progress: Progress = Progress.MOVED) -> None:
    gone = progress is Progress.GONE
    images.settle(
        store,
        [
            Settled(intent=intent, progress=progress, path=None if gone else intent.plan.target)
            for intent in intents
        ],
    )


def assert_tallies_agree(store: Database) -> None:
    assert sorted(rows(store, TALLIED)) == sorted(rows(store, COUNTED))
    assert sorted(rows(store, DAYS)) == sorted(rows(store, COUNTED_DAYS))
