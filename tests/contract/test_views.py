"""The views that reports rest on, on each database: their promised columns, and what they count."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from postgres import Postgres, PostgresStore, running_postgres
from records import NOW, finding, nanoseconds, open_store, record, settle
from sqlalchemy import event, insert, inspect

from daemon.store import images, labels, queueing
from daemon.store.database import Database
from daemon.store.labels import LabelChangedError
from daemon.store.rates import rates
from daemon.store.schema import label, metadata, model
from daemon.store.spans import Span

Store = Database | PostgresStore

PROMISED = {
    "inspections": (
        "id camera filename sha256 captured_at recorded_at verdict predicted_class confidence "
        "novelty model_version path reason"
    ),
    "defect_rate_hourly": "camera hour inspected defects unsure unreadable defect_rate",
    "defect_rate_daily": "camera day inspected defects unsure unreadable defect_rate",
    "defect_pareto": "camera day predicted_class images",
    "camera_days": ("camera day model_version inspected brightness sharpness novelty unknown_rate"),
    "camera_day_classes": "camera day model_version predicted_class images",
    "labels": "image_id label labelled_by labelled_at predicted_class confidence agreed",
    "labels_daily": "day camera labelled_by verdict predicted_class label labels",
    "model_versions": "version status created_at promoted_at trained_on metrics reason",
}
EXTRA = {"inspections": ["notes"]}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Database]:
    database = open_store(tmp_path)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_store")
        return
    with request.getfixturevalue("postgres").store() as database:
        yield database


def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    with store.reading() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


@pytest.fixture
def small_case(store: Store) -> Store:
    """Two cameras, two days, three hours."""
    images = [
        ("top-1", "2026-03-01T10:00:00", "pass", "no_defect"),
        ("top-1", "2026-03-01T10:59:59", "defect", "scratches"),
        ("top-1", "2026-03-01T10:30:00", "unsure", "patches"),
        ("top-1", "2026-03-01T10:30:00", "pass", "no_defect"),
        ("top-1", "2026-03-01T10:30:00", "unreadable", None),
        ("top-1", "2026-03-01T11:00:00", "defect", "scratches"),
        ("top-1", "2026-03-01T23:59:59", "defect", "patches"),
        ("top-1", "2026-03-02T00:00:00", "defect", "scratches"),
        ("bottom-1", "2026-03-01T10:30:00", "unreadable", None),
        ("bottom-1", "2026-03-02T10:30:00", "unsure", "scratches"),
    ]
    record(
        store,  # type: ignore[arg-type] -- used as the other is
        *(
            finding(
                number,
                verdict,
                camera=camera,
                mtime_ns=nanoseconds(moment),
                predicted_class=predicted,
            )
            for number, (camera, moment, verdict, predicted) in enumerate(images, start=1)
        ),
    )
    return store


@pytest.mark.parametrize("view", PROMISED)
def test_a_view_has_the_promised_columns_in_their_order(store: Store, view: str) -> None:
    columns = [column["name"] for column in inspect(store.engine).get_columns(view)]
    assert columns == PROMISED[view].split() + EXTRA.get(view, [])


def test_hourly_rates_leave_unreadable_images_out_of_what_was_inspected(
    small_case: Store,
) -> None:
    assert rows(small_case, "SELECT * FROM defect_rate_hourly ORDER BY camera, hour") == [
        ("bottom-1", "2026-03-01T10:00:00Z", 0, 0, 0, 1, None),
        ("bottom-1", "2026-03-02T10:00:00Z", 1, 0, 1, 0, 0.0),
        ("top-1", "2026-03-01T10:00:00Z", 4, 1, 1, 1, 0.25),
        ("top-1", "2026-03-01T11:00:00Z", 1, 1, 0, 0, 1.0),
        ("top-1", "2026-03-01T23:00:00Z", 1, 1, 0, 0, 1.0),
        ("top-1", "2026-03-02T00:00:00Z", 1, 1, 0, 0, 1.0),
    ]


def test_daily_rates_end_at_midnight_utc(small_case: Store) -> None:
    assert rows(small_case, "SELECT * FROM defect_rate_daily ORDER BY camera, day") == [
        ("bottom-1", "2026-03-01", 0, 0, 0, 1, None),
        ("bottom-1", "2026-03-02", 1, 0, 1, 0, 0.0),
        ("top-1", "2026-03-01", 6, 3, 1, 1, 0.5),
        ("top-1", "2026-03-02", 1, 1, 0, 0, 1.0),
    ]


def test_the_pareto_counts_what_is_called_a_defect_and_nothing_else(small_case: Store) -> None:
    query = "SELECT * FROM defect_pareto ORDER BY camera, day, images DESC, predicted_class"
    assert rows(small_case, query) == [
        ("top-1", "2026-03-01", "scratches", 2),
        ("top-1", "2026-03-01", "patches", 1),
        ("top-1", "2026-03-02", "scratches", 1),
    ]


def test_the_days_of_a_camera_tell_how_its_images_looked_and_what_they_were_called(
    small_case: Store,
) -> None:
    assert rows(small_case, "SELECT * FROM camera_days ORDER BY camera, day") == [
        ("bottom-1", "2026-03-02", "m1", 1, 10.0, 0.25, 0.5, 0.0),
        ("top-1", "2026-03-01", "m1", 6, 23 / 6, 0.25, 0.5, 0.0),
        ("top-1", "2026-03-02", "m1", 1, 8.0, 0.25, 0.5, 0.0),
    ]
    query = "SELECT * FROM camera_day_classes WHERE day = '2026-03-01' ORDER BY predicted_class"
    assert rows(small_case, query) == [
        ("top-1", "2026-03-01", "m1", "no_defect", 2),
        ("top-1", "2026-03-01", "m1", "patches", 2),
        ("top-1", "2026-03-01", "m1", "scratches", 2),
    ]


def test_labels_tell_whether_the_person_and_the_network_agreed(small_case: Store) -> None:
    def labelled(image_id: int, name: str, undone_at: str | None = None) -> dict[str, object]:
        return {
            "image_id": image_id,
            "label": name,
            "labelled_by": "folder",
            "labelled_at": "2026-03-03T00:00:00Z",
            "undone_at": undone_at,
        }

    with small_case.writing() as connection:
        connection.execute(
            insert(label),
            [
                labelled(2, "patches", "2026-03-04T00:00:00Z"),
                labelled(2, "scratches"),
                labelled(3, "scratches"),
                labelled(5, "crazing"),
            ],
        )
    at = "2026-03-03T00:00:00Z"
    assert rows(small_case, "SELECT * FROM labels ORDER BY image_id") == [
        (2, "scratches", "folder", at, "scratches", 0.75, 1),
        (3, "scratches", "folder", at, "patches", 0.75, 0),
        (5, "crazing", "folder", at, None, None, None),
    ]


def test_model_versions_are_listed_with_their_figures(store: Store) -> None:
    row = {
        "version": "m1",
        "status": "rejected",
        "created_at": "2026-03-01T00:00:00Z",
        "promoted_at": None,
        "trained_on": "f" * 64,
        "metrics": '{"accuracy": 0.5}',
        "reason": "worse on scratches",
    }
    with store.writing() as connection:
        connection.execute(insert(model), [row])
    assert rows(store, "SELECT * FROM model_versions") == [tuple(row.values())]


def test_images_are_recorded_moved_labelled_and_counted_alike(store: Store) -> None:
    database = cast("Database", store)
    intents = record(database, finding(1), finding(2, "unsure"), finding(3, "pass"), finding(4))
    assert record(database, finding(2, "unsure")) == [], "a delivery is recorded once"
    settle(database, *intents[:3])
    images.withdraw(database, intents[3:])
    assert images.pending(database) == []
    assert images.count_by_verdict(database) == {"defect": 1, "unsure": 1, "pass": 1}
    target = Path("/review/labelled/patches/1.jpg")
    moved = labels.put_label(database, 1, "patches", "anna", seen=0, target=target, now=NOW)
    labels.arrived(database, moved, target)
    with pytest.raises(LabelChangedError):
        labels.put_label(database, 1, "crazing", "ben", seen=0, target=target, now=NOW)
    assert [image_id for _, image_id in queueing.queue(database, queueing.Filter())] == [2]
    assert rows(store, "SELECT label, labels FROM labels_daily") == [("patches", 1)]
    labels.undo_label(
        database, 1, seen=moved.label_id, target=Path("/review/to_check/1.jpg"), now=NOW
    )
    assert rows(store, "SELECT label, labels FROM labels_daily") == []
    (rate,) = rates(database, Span(), by="camera")
    assert (rate.inspected, rate.defects, rate.unsure, rate.defect_rate) == (3, 1, 1, 1 / 3)


def test_the_schema_on_postgresql_is_the_declared_one(postgres: Postgres) -> None:
    with postgres.store() as database, database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def plan(store: Database, statement: str, *values: object) -> str:
    with closing(sqlite3.connect(store.path)) as connection:
        steps = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        return "\n".join(step[3] for step in steps)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM defect_rate_hourly",
        "SELECT * FROM defect_rate_daily WHERE camera = 'top-1'",
        "SELECT * FROM defect_pareto ORDER BY images DESC",
        "SELECT * FROM camera_days WHERE day >= '2026-03-01'",
    ],
)
def test_reports_read_the_kept_counts_and_not_the_images(
    sqlite_store: Database, query: str
) -> None:
    steps = plan(sqlite_store, query)
    assert "tally" in steps or "camera_day" in steps
    assert "SCAN image" not in steps
    assert "SEARCH image" not in steps


@pytest.mark.parametrize(
    "every", ["SELECT * FROM defect_rate_daily", "SELECT * FROM defect_pareto"]
)
def test_a_day_is_found_by_the_day_and_days_are_added_up_in_their_order(
    sqlite_store: Database, every: str
) -> None:
    within = f"{every} WHERE day BETWEEN '2026-03-01' AND '2026-03-31'"
    assert "SEARCH tally USING INDEX tally_day (<expr>>? AND <expr><?)" in plan(
        sqlite_store, within
    )
    assert "SCAN tally USING INDEX tally_day" in plan(sqlite_store, every)


@pytest.mark.parametrize("by", ["hour", "camera"])
def test_the_command_for_rates_reads_the_kept_counts_from_the_hour_asked_for(
    sqlite_store: Database, by: Literal["hour", "camera"]
) -> None:
    statements: list[tuple[str, tuple[object, ...]]] = []
    event.listen(
        sqlite_store.engine,
        "before_cursor_execute",
        lambda _, __, statement, values, *___: statements.append((statement, values)),
    )
    rates(
        sqlite_store,
        Span(since="2026-03-01T00:00:00Z", until="2026-03-02T00:00:00Z", camera="top-1"),
        by=by,
    )
    ((statement, values),) = [each for each in statements if "SELECT" in each[0]]
    steps = plan(sqlite_store, statement, *values)
    assert "image" not in steps
    assert "SEARCH tally" in steps, "an hour's counts are found, not every hour's read"
