"""How SQLite goes about what is asked often: nothing reads the whole table of images."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from records import NOW, delivery, finding, record, rows, settle, to_its_id
from sqlalchemy import event

from daemon.store import deliveries, images, rates, viewing
from daemon.store.database import Database
from daemon.values import Progress


def plans_of(store: Database, deed: Callable[[], object]) -> list[str]:
    """How SQLite goes about each SELECT and UPDATE of a deed, before it knows any bound value."""
    statements: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        if statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            statements.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    deed()
    event.remove(store.engine, "before_cursor_execute", note)
    assert statements
    plans = []
    with sqlite3.connect(store.path) as connection:
        for statement in statements:
            nothing = [None] * statement.count("?")
            plans += [r[3] for r in connection.execute(f"EXPLAIN QUERY PLAN {statement}", nothing)]
    connection.close()
    return plans


def test_no_step_of_an_image_reads_through_all_images(store: Database) -> None:
    deeds: list[Callable[[], object]] = [
        lambda: deliveries.known(store, [delivery(1), delivery(2)]),
        lambda: images.record(store, [finding(1), finding(2)], to_its_id, NOW),
        lambda: images.pending(store),
        lambda: images.replan(store, images.pending(store)[0], Path("/x")),
        lambda: settle(store, images.pending(store)[0], progress=Progress.GONE),
        lambda: record(store, finding(1)),
        lambda: images.withdraw(store, images.pending(store)),
    ]
    for deed in deeds:
        scans = [plan for plan in plans_of(store, deed) if plan.startswith("SCAN image")]
        assert scans == []
    counting = plans_of(store, lambda: images.count_pending(store))
    assert [plan.partition("USING ")[2] for plan in counting] == ["INDEX image_pending"]
    totals = plans_of(store, lambda: images.count_by_verdict(store))
    assert [plan.split()[:2] for plan in totals if "SCAN" in plan] == [["SCAN", "tally"]]


def test_what_is_asked_of_one_camera_does_not_read_the_others(store: Database) -> None:
    for deed in (
        lambda: viewing.latest(store, camera="top-1", limit=10),
        lambda: viewing.latest(store, camera="top-1", before=7, limit=10),
    ):
        (plan,) = plans_of(store, deed)
        assert plan.startswith("SEARCH image USING INDEX image_camera (camera=?")
    plans = plans_of(store, lambda: rates.recorded_cameras(store))
    assert [plan for plan in plans if "SCAN tally" in plan] == []
    in_time = "SELECT id FROM inspections WHERE camera = 'top-1' AND captured_at >= '2026-03-01'"
    assert "image_captured_at" in str(rows(store, f"EXPLAIN QUERY PLAN {in_time}"))


def test_images_of_one_camera_are_listed_latest_first_and_where_a_list_ended(
    store: Database,
) -> None:
    record(store, *(finding(each, camera=("a", "b")[each % 2]) for each in range(1, 8)))
    listed = viewing.latest(store, camera="a", limit=2)
    assert [each.id for each in listed] == [6, 4]
    assert [each.id for each in viewing.latest(store, camera="a", before=4)] == [2]
    assert viewing.latest(store, camera="c") == []
    assert rates.recorded_cameras(store) == ["a", "b"]
