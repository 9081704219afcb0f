"""A line with images in its archive and quarantine, and what is deleted of them in time."""

import copy
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from builders import Station, surface_file

from daemon.files.disks import Room
from daemon.files.mounts import MountMemory
from daemon.process.health import Health
from daemon.retention.deleting import Retention
from daemon.store.database import Database
from daemon.store.labels import follow

TABLES = {"policy": {"max_missed_defect_rate": 0.2}}


def used_line(root: Path, model: Path) -> Station:
    """A line that passes clean surfaces, and has judged images of each kind."""
    station = Station(root=root, model=model, tables=TABLES)
    with station.running():
        for number in range(6):
            station.drop("top-1", f"clean-{number}.jpg", surface_file("no_defect", seed=number))
            station.drop("top-1", f"broken-{number}.jpg", b"no picture %d" % number)
            station.drop("bottom-1", f"defect-{number}.jpg", surface_file("patches", seed=number))
        station.wait_for_images(18)
    return station


def a_copy_of(used: Station, root: Path) -> Station:
    shutil.copytree(used.root, root, dirs_exist_ok=True)
    station = Station(
        root=root,
        model=used.model,
        tables=copy.deepcopy(TABLES),
        dropped=copy.deepcopy(used.dropped),
    )
    move(station.database, used.root, root)
    return station


def left_to_others(root: Path, model: Path) -> Station:
    """A line that leaves what passes in its drop folder."""
    policy = {"policy": {"on_pass": "leave", "max_missed_defect_rate": 0.2}}
    return Station(root=root, model=model, tables=policy)


def move(database: Path, before: Path, after: Path) -> None:
    """As if everything had always been there."""
    with closing(sqlite3.connect(database)) as connection, connection:
        paths = (os.fspath(before), os.fspath(after))
        connection.execute("UPDATE image SET path = replace(path, ?, ?)", paths)


def later(days: float) -> Callable[[], datetime]:
    moment = datetime.now(UTC) + timedelta(days=days)
    return lambda: moment


def keep(station: Station, *, days: float = 0, ran: bool = True, **keys: float) -> dict[str, str]:
    """Retention alone, until it has nothing to do; its troubles.

    Args:
        ran: the clock was seen to go on all these days; else it stands there at the start.
    """
    if ran:
        (station.state_dir / "clock.json").unlink(missing_ok=True)
    station.tables["retention"] = keys
    station.write_config()
    health = Health()
    database = Database(station.database)
    settings = station.settings()
    mounts = MountMemory(settings.state_dir / "drop_folders.json")
    retention = Retention(
        settings, database=database, health=health, clock=later(days), mounts=mounts
    )
    while retention.step(seconds=5.0):
        pass
    retention.close(seconds=5.0)
    database.close()
    return health.troubles()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def passed(station: Station) -> int:
    ((count,),) = station.query("SELECT count(*) FROM inspections WHERE verdict = 'pass'")
    return int(count)


def bring_to_review(station: Station) -> tuple[int, Path]:
    """The oldest image that passed, where one of the sample would lie: its id, and its file."""
    query = "SELECT id, path FROM inspections WHERE verdict = 'pass' ORDER BY id LIMIT 1"
    ((image_id, path),) = station.query(query)
    there = station.review / "to_check" / "no_defect" / Path(path).name
    there.parent.mkdir(parents=True, exist_ok=True)
    Path(path).rename(there)
    database = Database(station.database)
    follow(database, image_id, there)
    database.close()
    return image_id, there


def age(station: Station, days: float) -> None:
    """As if the images had been recorded so long ago."""
    with closing(sqlite3.connect(station.database)) as connection, connection:
        connection.execute(
            "UPDATE image SET recorded_at = strftime('%Y-%m-%dT%H:%M:%SZ', recorded_at, ?)",
            (f"{-days:+g} days",),
        )


def on_another_disk(station: Station, disk: Path) -> None:
    shutil.copytree(station.state_dir, disk / "state")
    before, station.state = station.state_dir, disk / "state"
    move(station.database, before, station.state)


def leave_little_room(disk: Path) -> None:
    room = Room.of(disk)
    (disk / "filler").write_bytes(bytes(room.free - room.total // 20))


def archived_by_a_clock_that_was_ahead(station: Station, images: int) -> None:
    """As if so many images had passed in 2099, before all others."""
    folder = station.state_dir / "archive" / "top-1" / "2099-01-01"
    folder.mkdir()
    with closing(sqlite3.connect(station.database)) as connection, connection:
        connection.row_factory = sqlite3.Row
        query = "SELECT * FROM image WHERE verdict = 'pass' ORDER BY id LIMIT 1"
        row = dict(connection.execute(query).fetchone())
        connection.execute("UPDATE image SET id = -id")
        connection.execute("UPDATE image SET id = ? - id", (images,))
        for number in range(1, images + 1):
            path = folder / f"{number}.jpg"
            path.touch()
            row |= {"id": number, "recorded_at": "2099-01-01T00:00:00Z"}
            row |= {"path": str(path), "target": str(path)}
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO image VALUES ({marks})", tuple(row.values()))  # noqa: S608
