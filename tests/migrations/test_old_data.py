"""What was recorded under each older schema, brought to today's by the command."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from builders import Station
from commands import Millwatch

from daemon.store.database import Database
from daemon.store.upgrading import MIGRATIONS, chain_of

DAY = "2025-11-03"
IMAGE: dict[str, Any] = {
    "camera": "top-1",
    "size": 4711,
    "mtime_ns": "1762157100000000000",
    "captured_at": f"{DAY}T08:05:00Z",
    "recorded_at": f"{DAY}T08:05:02Z",
    "novelty": 1.5,
    "model_version": "m1",
    "notes": "[]",
    "action": "move",
    "progress": "moved",
}


def image(number: int, name: str, verdict: str, reason: str, **columns: Any) -> dict[str, Any]:
    place = f"/srv/{name}"
    row = IMAGE | {"id": number, "filename": name, "inode": str(2**64 - number), "path": place}
    row |= {"sha256": f"{number:064x}", "verdict": verdict, "reason": reason, "target": place}
    return row | columns


# As each version that knows the column or the table would have written them. What a migration derives is
# here as it should derive it.
ROWS: dict[str, list[dict[str, Any]]] = {
    "image": [
        image(1, "1.jpg", "defect", "confident", predicted_class="scratches", confidence=0.93),
        image(2, "2.jpg", "unsure", "low_confidence", predicted_class="crazing", confidence=0.41)
        | {"instructive": 1.0 - 0.41, "brightness": 97.5, "sharpness": 3.25},
        image(3, "a/caf\\xe9.bmp", "unsure", "unknown", predicted_class="patches", confidence=0.7)
        | {"instructive": 2.0 - 0.7, "camera": "side", "captured_at": "9999-12-31T23:59:59Z"},
        image(4, "4.jpg", "pass", "confident", predicted_class="no_defect", confidence=0.99)
        | {"progress": "deleted", "path": None},
        image(5, "5.jpg", "unreadable", "truncated", novelty=None, model_version=None),
        image(6, "6.jpg", "defect", "confident", predicted_class="patches", confidence=0.88)
        | {"instructive": 1.0 - 0.88},
        image(7, "7.jpg", "pass", "confident", predicted_class="no_defect", confidence=0.97)
        | {"action": "leave", "progress": "left", "target": None},
    ],
    "tally": [
        {"camera": camera, "hour": hour, "verdict": verdict, "predicted_class": name, "images": n}
        for camera, hour, verdict, name, n in (
            ("top-1", f"{DAY}T08:00:00Z", "defect", "scratches", 1),
            ("top-1", f"{DAY}T08:00:00Z", "defect", "patches", 1),
            ("top-1", f"{DAY}T08:00:00Z", "unsure", "crazing", 1),
            ("top-1", f"{DAY}T08:00:00Z", "pass", "no_defect", 2),
            ("top-1", f"{DAY}T08:00:00Z", "unreadable", "", 1),
            ("top-1", "2025-11-04T09:00:00Z", "defect", "scratches", 0),  # withdrawn
            ("side", "9999-12-31T23:00:00Z", "unsure", "patches", 1),
        )
    ],
    "label": [
        {"id": 1, "image_id": 6, "label": "inclusion", "labelled_by": "anna"}
        | {"labelled_at": f"{DAY}T09:00:00Z", "undone_at": f"{DAY}T09:01:00Z"},
        {"id": 2, "image_id": 1, "label": "scratches", "labelled_by": "otto"}
        | {"labelled_at": f"{DAY}T10:59:59Z"},
        {"id": 3, "image_id": 5, "label": "burr", "labelled_by": "folder"}
        | {"labelled_at": f"{DAY}T11:00:00Z"},
    ],
    "label_tally": [
        {"hour": f"{DAY}T10:00:00Z", "camera": "top-1", "labelled_by": "otto", "labels": 1}
        | {"verdict": "defect", "predicted_class": "scratches", "label": "scratches"},
        {"hour": f"{DAY}T11:00:00Z", "camera": "top-1", "labelled_by": "folder", "labels": 1}
        | {"verdict": "unreadable", "predicted_class": "", "label": "burr"},
    ],
    "model": [
        {"version": "m1", "status": "current", "created_at": "2025-11-01T00:00:00Z"}
        | {"promoted_at": "2025-11-01T01:00:00Z", "trained_on": "NEU-DET", "metrics": '{"a": 1}'},
        {"version": "m2", "status": "rejected", "created_at": "2025-11-02T00:00:00Z"}
        | {"trained_on": "labels", "metrics": "{}", "reason": "it misses more"},
    ],
    "web_user": [
        {"name": "anna", "role": "operator", "password_hash": "x", "added_at": f"{DAY}T00:00:00Z"}
    ],
    "web_session": [
        {"token_sha256": "0f", "user_name": "anna", "begun_at": f"{DAY}T00:00:00Z"}
        | {"ends_at": f"{DAY}T12:00:00Z"}
    ],
    "audit": [
        {"id": 1, "at": f"{DAY}T09:00:00Z", "who": "anna", "address": "10.0.0.7"}
        | {"deed": "label", "what": "image 6: inclusion"}
    ],
    "retraining_run": [
        {"id": 1, "name": "r1", "state": "done", "started_at": "2025-11-02T03:00:00Z"}
        | {"handled_until": "2025-11-02T03:00:00Z", "reason": "m2: it misses more"},
    ],
    "camera_day": [
        {"day": DAY, "camera": "top-1", "model_version": "m1", "predicted_class": "crazing"}
        | {"side": 96, "images": 2, "unknown": 1, "brightness": 195.0, "sharpness": 6.5}
        | {"novelty": 3.0},
    ],
    "drift_reference": [{"camera": "top-1", "since": "2025-11-01"}],
    "review_file": [
        {"path": "/srv/review/copy.jpg", "image_id": 2, "problem": "copy", "reason": "a second"}
        | {"noticed_at": f"{DAY}T09:00:00Z"},
    ],
    "alarm_told": [
        {"alarm": "office", "holds": '{"space": "full"}', "told_at": f"{DAY}T09:00:00Z"}
    ],
    "alarm_message": [
        {"id": 1, "alarm": "office", "address": "0a", "body": "{}", "tries": 3, "state": "waiting"}
        | {"created_at": f"{DAY}T09:00:00Z", "error": "no answer"},
    ],
}
TOLD = {
    "defect_rate_hourly": [
        ("side", "9999-12-31T23:00:00Z", 1, 0, 1, 0, 0.0),
        ("top-1", f"{DAY}T08:00:00Z", 5, 2, 1, 1, 0.4),
    ],
    "defect_rate_daily": [
        ("side", "9999-12-31", 1, 0, 1, 0, 0.0),
        ("top-1", DAY, 5, 2, 1, 1, 0.4),
    ],
    "defect_pareto": [("top-1", DAY, "patches", 1), ("top-1", DAY, "scratches", 1)],
    "labels": [
        (1, "scratches", "otto", f"{DAY}T10:59:59Z", "scratches", 0.93, 1),
        (5, "burr", "folder", f"{DAY}T11:00:00Z", None, None, None),
    ],
    "labels_daily": [
        (DAY, "top-1", "folder", "unreadable", None, "burr", 1),
        (DAY, "top-1", "otto", "defect", "scratches", "scratches", 1),
    ],
    "model_versions": [
        (
            "m1",
            "current",
            "2025-11-01T00:00:00Z",
            "2025-11-01T01:00:00Z",
            "NEU-DET",
            '{"a": 1}',
            None,
        ),
        ("m2", "rejected", "2025-11-02T00:00:00Z", None, "labels", "{}", "it misses more"),
    ],
}
IN_VIEW = "id, camera, filename, sha256, captured_at, recorded_at, verdict, predicted_class, confidence, novelty, model_version, path, reason, notes"
INSPECTIONS = [tuple(row.get(name) for name in IN_VIEW.split(", ")) for row in ROWS["image"]]
WAITING = "SELECT id, instructive FROM image WHERE instructive IS NOT NULL ORDER BY id"


def older() -> list[str]:
    """Every revision but today's, the first one first."""
    before = {below: revision for revision, below in chain_of(MIGRATIONS).items()}
    found, revision = [], before[None]
    while revision in before:
        found.append(revision)
        revision = before[revision]
    return found


def make_at(path: Path, revision: str) -> dict[str, list[dict[str, Any]]]:
    """A database of an older version; the rows that lie in it, by table, all their columns."""
    path.parent.mkdir()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    database = Database(path)
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    database.close()
    with closing(sqlite3.connect(path)) as old, old:
        for table, rows in ROWS.items():
            columns = {name for _, name, *_ in old.execute(f"PRAGMA table_info({table})")}
            for row in rows if columns else []:
                given = {name: value for name, value in row.items() if name in columns}
                marks = ", ".join("?" * len(given))
                names = ", ".join(given)
                old.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [*given.values()])  # noqa: S608 -- our own
    return contents(path)


def contents(path: Path) -> dict[str, list[dict[str, Any]]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        return {
            table: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")]  # noqa: S608
            for table in ROWS
            if table in there
        }


@pytest.mark.parametrize("revision", older())
def test_what_an_older_version_recorded_is_all_there_and_told_as_it_was(
    revision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    station = Station(root=tmp_path, model=tmp_path / "no model")
    before = make_at(station.database, revision)

    done = Millwatch(capsys)("db", "upgrade", "--config", station.config)

    assert done.status == 0, done.err
    after = contents(station.database)
    for table, rows in before.items():
        kept = [
            {name: row[name] for name in old} for row, old in zip(after[table], rows, strict=True)
        ]
        assert kept == rows, table
    assert station.query("SELECT * FROM inspections ORDER BY id") == INSPECTIONS
    for view, told in TOLD.items():
        assert station.query(f"SELECT * FROM {view} ORDER BY 1, 2, 3") == told, view  # noqa: S608
    looks = [("top-1", DAY, "m1", 2, 97.5, 3.25, 1.5, 0.5)] if "camera_day" in before else []
    assert station.query("SELECT * FROM camera_days") == looks
    assert station.query(WAITING) == [(2, 1.0 - 0.41), (3, 2.0 - 0.7), (6, 1.0 - 0.88)]
    assert station.query("PRAGMA foreign_key_check") == []
    assert (
        Millwatch(capsys)("db", "check", station.database, "--config", station.config).status == 0
    )
