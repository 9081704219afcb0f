import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from records import (
    NOW,
    TALLIED,
    assert_tallies_agree,
    count,
    delivery,
    finding,
    leave,
    nanoseconds,
    record,
    rows,
    settle,
    to_its_id,
)
from sqlalchemy import event

from daemon.names import from_text, to_text
from daemon.store import deliveries, images, labels
from daemon.store.database import Database, StoreError
from daemon.store.models import remember_current
from daemon.store.viewing import all_images
from daemon.values import Action, Finding, Plan, Progress
from models.checkpoint import Metadata

# --- recording ---------------------------------------------------------------------------------


def test_a_batch_is_recorded_with_what_will_be_done_with_each_image(store: Database) -> None:
    intents = record(store, finding(1), finding(2, "unreadable"))

    assert [intent.delivery for intent in intents] == [delivery(1), delivery(2)]
    assert [intent.image_id for intent in intents] == [1, 2]
    assert images.pending(store) == intents
    assert rows(
        store,
        "SELECT camera, filename, sha256, captured_at, recorded_at, verdict, predicted_class, "
        "confidence, novelty, model_version, path, reason, notes FROM inspections ORDER BY id",
    ) == [
        (
            *("top-1", "1.jpg", f"{1:064x}", "2026-03-01T10:00:00Z", "2026-03-01T12:00:00Z"),
            *("defect", "scratches", 0.75, 0.5, "m1", "/drop/top-1/1.jpg", "confident", None),
        ),
        (
            *("top-1", "2.jpg", f"{2:064x}", "2026-03-01T10:00:00Z", "2026-03-01T12:00:00Z"),
            *("unreadable", None, None, None, None, "/drop/top-1/2.jpg", "truncated", None),
        ),
    ]


def test_a_batch_of_the_largest_size_is_one_transaction_in_the_order_of_delivery(
    store: Database,
) -> None:
    commits: list[str] = []
    event.listen(store.engine, "commit", lambda _: commits.append("commit"))
    intents = record(store, *(finding(number) for number in range(1024)))

    assert commits == ["commit"]
    assert [intent.delivery.inode for intent in intents] == list(range(1024))
    assert [intent.image_id for intent in intents] == sorted(i.image_id for i in intents)


def test_a_batch_of_which_one_image_cannot_be_planned_is_not_recorded_at_all(
    store: Database,
) -> None:
    def plan(image_id: int, found: Finding, promised: Callable[[Path], bool]) -> Plan:
        if found.delivery.inode == 2:
            raise OSError("no such place")
        return to_its_id(image_id, found, promised)

    with pytest.raises(OSError, match="no such place"):
        images.record(store, [finding(1), finding(2)], plan, NOW)
    assert count(store) == 0
    assert rows(store, TALLIED) == []
    assert record(store, finding(1))


def test_a_delivery_that_is_recorded_twice_is_counted_once(store: Database) -> None:
    first = images.record(store, [finding(1)], to_its_id, NOW)
    again = images.record(store, [finding(1), finding(2)], to_its_id, NOW)

    assert [each.delivery.inode for each in first.findings] == [1]
    assert [each.delivery.inode for each in again.findings] == [2]
    assert [intent.image_id for intent in again.intents] == [2]
    assert images.count_by_verdict(store) == {"defect": 2}


def test_a_delivery_that_is_twice_in_one_batch_is_counted_once(store: Database) -> None:
    recorded = images.record(store, [finding(1), finding(2), finding(1)], to_its_id, NOW)
    assert [each.delivery.inode for each in recorded.findings] == [1, 2]
    assert images.count_by_verdict(store) == {"defect": 2}


@pytest.mark.parametrize(
    "other",
    [
        {"camera": "bottom-1"},
        {"filename": "other.jpg"},
        {"inode": 99},
        {"size": 1001},
        {"mtime_ns": delivery(1).mtime_ns + 1},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_delivery_that_differs_in_one_thing_is_another_image(
    store: Database, other: dict[str, Any]
) -> None:
    changed = delivery(1, **other)
    record(store, finding(1))
    assert deliveries.known(store, [delivery(1), changed]) == {delivery(1)}
    record(store, replace(finding(1), delivery=changed))
    assert count(store) == 2
    assert deliveries.known(store, [delivery(1), changed]) == {delivery(1), changed}


@pytest.mark.fault(42)
def test_the_same_delivery_after_the_first_was_moved_away_is_another_image(
    store: Database,
) -> None:
    settle(store, *record(store, finding(1)))
    assert deliveries.known(store, [delivery(1)]) == set()
    record(store, finding(1))
    assert count(store) == 2
    assert_tallies_agree(store)


def test_images_that_stay_in_the_drop_folder_are_known_and_never_pending(store: Database) -> None:
    recorded = images.record(store, [finding(1, "pass")], leave, NOW)
    assert len(recorded.findings) == 1
    assert recorded.intents == []
    assert images.count_pending(store) == 0
    assert deliveries.known(store, [delivery(1), delivery(2)]) == {delivery(1)}


def test_a_batch_of_deliveries_that_are_all_known_asks_for_nothing(store: Database) -> None:
    record(store, finding(1))
    recorded = images.record(store, [finding(1)], to_its_id, NOW)
    assert recorded.findings == []
    assert recorded.intents == []


@pytest.mark.fault(44)
@pytest.mark.parametrize(
    "odd",
    [
        {"inode": 2**64 - 1},
        {"mtime_ns": nanoseconds("2500-01-01T00:00:00")},
        {"mtime_ns": 2**70},
        {"mtime_ns": -(2**70)},
        {"mtime_ns": 0},
    ],
    ids=str,
)
def test_no_inode_and_no_time_that_a_disk_can_hold_is_refused(
    store: Database, odd: dict[str, int]
) -> None:
    recorded = record(store, replace(finding(1), delivery=delivery(1, **odd)))
    assert recorded[0].delivery == delivery(1, **odd)
    assert deliveries.known(store, [delivery(1, **odd)]) == {delivery(1, **odd)}
    assert images.pending(store) == recorded


@pytest.mark.parametrize(
    "name", [b"caf\xe9.jpg", b"\\xe9.jpg", b"two\nlines.jpg", b"=1+1.jpg", "spät/ö.jpg".encode()]
)
def test_a_name_of_any_bytes_is_stored_without_loss(store: Database, name: bytes) -> None:
    filename = os.fsdecode(name)
    record(store, finding(1, filename=filename))
    assert [os.fsencode(from_text(each.filename)) for each in all_images(store)] == [name]
    assert deliveries.known(store, [delivery(1, filename=filename)])
    assert images.pending(store)[0].delivery.path == Path("/drop/top-1") / filename
    assert rows(store, "SELECT filename FROM inspections") == [(to_text(filename),)]


# --- targets and ids -----------------------------------------------------------------------------


def by_name(image_id: int, found: Finding, promised: Callable[[Path], bool]) -> Plan:
    target = Path("/archive") / found.delivery.filename
    if promised(target):
        target = target.with_name(f"{image_id}-{target.name}")
    return Plan(action=Action.MOVE, target=target)


def test_two_images_of_one_batch_are_never_promised_one_target(store: Database) -> None:
    same = [finding(number, filename="a.jpg") for number in (1, 2)]
    intents = images.record(store, same, by_name, NOW).intents
    assert [intent.plan.target for intent in intents] == [
        Path("/archive/a.jpg"),
        Path("/archive/2-a.jpg"),
    ]


def test_a_target_stays_promised_after_its_image_was_moved(store: Database) -> None:
    settle(store, *images.record(store, [finding(1, filename="a.jpg")], by_name, NOW).intents)
    (intent,) = images.record(store, [finding(2, filename="a.jpg")], by_name, NOW).intents
    assert intent.plan.target == Path("/archive/2-a.jpg")


def test_a_plan_that_breaks_the_promise_is_refused_and_nothing_is_recorded(
    store: Database,
) -> None:
    def plan(_: int, __: Finding, ___: object) -> Plan:
        return Plan(action=Action.MOVE, target=Path("/archive/one"))

    with pytest.raises(StoreError, match="UNIQUE"):
        images.record(store, [finding(1), finding(2)], plan, NOW)
    assert count(store) == 0


def test_an_id_is_never_given_twice(store: Database) -> None:
    intents = record(store, finding(1), finding(2))
    images.withdraw(store, intents)
    assert count(store) == 0
    assert [intent.image_id for intent in record(store, finding(3))] == [3]


def test_a_new_target_is_what_a_restart_finds(store: Database) -> None:
    (intent,) = record(store, finding(1))
    images.replan(store, intent, Path("/review/aside.jpg"))
    assert [each.plan.target for each in images.pending(store)] == [Path("/review/aside.jpg")]


# --- following -----------------------------------------------------------------------------------


def test_a_settled_image_lies_at_its_target_and_is_pending_no_more(store: Database) -> None:
    one, two = record(store, finding(1), finding(2))
    settle(store, one)
    assert images.pending(store) == [two]
    assert images.count_pending(store) == 1
    assert rows(store, "SELECT path FROM inspections ORDER BY id") == [
        ("/review/1.jpg",),
        ("/drop/top-1/2.jpg",),
    ]


def test_an_image_that_a_label_has_moved_on_is_not_settled_once_more(store: Database) -> None:
    (intent,) = record(store, finding(1))
    settle(store, intent)
    labels.follow(store, intent.image_id, Path("/review/labelled/crazing/1.jpg"))
    settle(store, intent)
    assert rows(store, "SELECT path FROM inspections") == [("/review/labelled/crazing/1.jpg",)]


def test_a_deleted_image_keeps_its_record_without_a_place(store: Database) -> None:
    settle(store, *record(store, finding(1)), progress=Progress.GONE)
    assert [each.path for each in all_images(store)] == [None]


def test_pending_images_are_listed_page_by_page(store: Database) -> None:
    record(store, *(finding(number) for number in range(5)))
    first = images.pending(store, limit=3)
    rest = images.pending(store, after=first[-1].image_id, limit=3)
    assert [intent.image_id for intent in (*first, *rest)] == [1, 2, 3, 4, 5]


def test_a_file_that_was_gone_and_comes_back_resumes_and_is_not_counted_again(
    store: Database,
) -> None:
    (intent,) = record(store, finding(1))
    settle(store, intent, progress=Progress.GONE)
    assert deliveries.known(store, [delivery(1)]) == set()
    assert images.pending(store) == []

    back = images.record(store, [finding(2), finding(1), finding(1)], to_its_id, NOW)

    assert [each.delivery.inode for each in back.findings] == [2]
    assert [each.image_id for each in back.intents] == [intent.image_id, 2]
    assert back.intents[0] == intent
    assert images.pending(store) == back.intents
    assert images.count_by_verdict(store) == {"defect": 2}
    assert_tallies_agree(store)


@pytest.mark.fault(58)
def test_a_moved_file_that_comes_back_is_removed_and_not_counted_again(store: Database) -> None:
    (intent,) = record(store, finding(1))
    settle(store, intent, progress=Progress.UNSEEN)
    assert deliveries.known(store, [delivery(1)]) == set()

    back = images.record(store, [finding(1)], to_its_id, NOW)

    assert (back.findings, back.intents) == ([], [intent])
    assert images.pending(store) == [intent]
    assert_tallies_agree(store)


@pytest.mark.fault(42)
@pytest.mark.parametrize(
    ("progress", "place"),
    [(Progress.UNSEEN, Path("/review/1.jpg")), (Progress.GONE, None), (Progress.LEFT, None)],
)
def test_another_image_with_the_identity_of_one_that_may_come_back_is_another_image(
    store: Database, progress: Progress, place: Path | None
) -> None:
    if progress is Progress.LEFT:
        images.record(store, [finding(1, "pass")], leave, NOW)
    else:
        settle(store, *record(store, finding(1)), progress=progress)
    other = replace(finding(1), sha256="f" * 64)
    recorded = images.record(store, [other], to_its_id, NOW)
    assert recorded.findings == [other]
    assert [intent.sha256 for intent in recorded.intents] == [other.sha256]
    assert deliveries.known(store, [delivery(1)]) == {delivery(1)}
    paths = [each.path for each in all_images(store)]
    assert paths == [place, delivery(1).path]
    assert_tallies_agree(store)


def test_a_withdrawn_image_leaves_no_trace_in_the_counts(store: Database) -> None:
    one, two = record(store, finding(1), finding(2, "unsure"))
    images.withdraw(store, [one])
    assert images.count_by_verdict(store) == {"unsure": 1}
    assert images.pending(store) == [two]
    assert rows(store, "SELECT defects, unsure FROM defect_rate_daily") == [(0, 1)]


# --- models --------------------------------------------------------------------------------------


def metadata(version: str) -> Metadata:
    return Metadata(
        version=version,
        classes=("scratches",),
        input_size=64,
        created_at="2026-01-01T00:00:00Z",
        manifest_sha256="f" * 64,
    )


def test_the_model_that_serves_is_the_only_current_one(store: Database) -> None:
    later = NOW.replace(year=2027)
    remember_current(store, metadata("a"), NOW)
    remember_current(store, metadata("a"), later)
    remember_current(store, metadata("b"), later)
    sql = "SELECT version, status, promoted_at FROM model_versions ORDER BY version"
    assert rows(store, sql) == [
        ("a", "retired", "2026-03-01T12:00:00Z"),
        ("b", "current", "2027-03-01T12:00:00Z"),
    ]
    remember_current(store, metadata("a"), later)
    assert rows(store, sql) == [
        ("a", "current", "2027-03-01T12:00:00Z"),
        ("b", "retired", "2027-03-01T12:00:00Z"),
    ]
    (trained_on, metrics) = rows(store, "SELECT trained_on, metrics FROM model_versions")[0]
    assert trained_on == "f" * 64
    assert isinstance(json.loads(metrics), dict)
