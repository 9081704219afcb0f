"""Labels are counted as they are given: the counts and the labels themselves cannot disagree."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st
from records import NOW, finding, open_store, record, rows, settle
from sqlalchemy import event

from daemon.reports.people import cohens_kappa
from daemon.store.database import Database
from daemon.store.label_counts import Decided, decided, given
from daemon.store.labels import label_of, put_label, undo_label
from daemon.store.sampled import missed_defects
from daemon.store.schema import SAMPLED
from daemon.store.soundness import examine
from daemon.store.spans import Span
from models.taxonomy import Reason

KEPT = """
    SELECT substr(hour, 1, 13), camera, labelled_by, verdict, predicted_class, label, labels
    FROM label_tally WHERE labels <> 0
"""
TRUE = """
    SELECT substr(labelled_at, 1, 13), camera, labelled_by, verdict, coalesce(image.predicted_class, ''),
           label, count(*)
    FROM label JOIN image ON image.id = image_id WHERE undone_at IS NULL GROUP BY 1, 2, 3, 4, 5, 6
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    database = open_store(tmp_path)
    settle(
        database,
        *record(
            database,
            finding(1),
            finding(2, camera="side"),
            finding(3, "unsure", predicted_class="patches"),
            finding(4, "pass", predicted_class="no_defect"),
        ),
    )
    yield database
    database.close()


def give(store: Database, image_id: int, name: str, by: str = "anna", *, hours: int = 0) -> None:
    known = label_of(store, image_id)
    seen = 0 if known is None else known.label_id
    at = NOW.replace(hour=NOW.hour + hours)
    target = Path(f"/labelled/{image_id}-{seen}.jpg")
    put_label(store, image_id, name, by, seen=seen, target=target, now=at)


def take_back(store: Database, image_id: int) -> None:
    known = label_of(store, image_id)
    assert known is not None
    undo_label(store, image_id, seen=known.label_id, target=Path("/to_check/1.jpg"), now=NOW)


def test_what_is_kept_is_what_is_in_force(store: Database) -> None:
    for image_id in (1, 2, 3, 4):
        give(store, image_id, "scratches")
    give(store, 1, "patches", "otto", hours=1)  # in place of anna's
    take_back(store, 2)
    give(store, 2, "scratches", hours=2)
    take_back(store, 3)
    assert sorted(rows(store, KEPT)) == sorted(rows(store, TRUE))
    assert sum(each.labels for each in decided(store, Span())) == 3


def test_counts_that_are_not_those_of_the_labels_are_told(store: Database) -> None:
    give(store, 1, "scratches")
    assert examine(store.path).is_sound
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE label_tally SET label = 'patches'")
    assert examine(store.path).differences == (
        "reports have 2 kept counts of labels that the labels do not bear out",
    )


def test_labels_of_a_span_or_a_camera_can_be_asked_for(store: Database) -> None:
    give(store, 1, "scratches")
    give(store, 2, "scratches", hours=1)
    spans = [
        Span(since="2026-03-01T13:00:00Z"),
        Span(until="2026-03-01T13:00:00Z"),
        Span(camera="side"),
    ]
    asked = [[each.camera for each in given(store, span, by_camera=True)] for span in spans]
    assert asked == [["side"], ["top-1"], ["side"]]
    assert [each.hour[11:13] for each in given(store, Span(), by_camera=False)] == ["12", "13"]


def test_the_view_of_daily_labels_reads_no_image(store: Database) -> None:
    give(store, 4, "crazing")
    assert rows(store, "SELECT * FROM labels_daily") == [
        ("2026-03-01", "top-1", "anna", "pass", "no_defect", "crazing", 1)
    ]
    steps = [row[3] for row in rows(store, "EXPLAIN QUERY PLAN SELECT * FROM labels_daily")]
    assert not any("image" in step for step in steps)


def test_what_passed_wrongly_is_read_from_the_sample_alone(store: Database) -> None:
    assert str(SAMPLED) == f"reason = '{Reason.SAMPLE.value}'"
    statements: list[tuple[str, tuple[object, ...]]] = []
    event.listen(
        store.engine,
        "before_cursor_execute",
        lambda _, __, statement, values, *___: statements.append((statement, values)),
    )
    missed_defects(store, Span(since="2026-03-01T00:00:00Z"), normal_classes=("no_defect",))
    asked = [each for each in statements if str(SAMPLED) in each[0]]
    plans = [
        [row[3] for row in rows(store, f"EXPLAIN QUERY PLAN {statement}", *values)]
        for statement, values in asked
    ]
    assert len(plans) == 2
    assert all(any("image_sampled" in step for step in plan) for plan in plans), plans


def counted(machine: str, person: str, labels: int) -> Decided:
    return Decided(predicted_class=machine, label=person, labels=labels)


def test_kappa_is_agreement_beyond_chance() -> None:
    # Fifty agreed on twenty-and-fifteen of a two by two table: 0.7 observed, 0.5 by chance.
    table = [("a", "a", 20), ("a", "b", 5), ("b", "a", 10), ("b", "b", 15)]
    assert cohens_kappa([counted(*row) for row in table]) == pytest.approx(0.4)
    assert cohens_kappa([counted("a", "a", 5)]) is None
    assert cohens_kappa([]) is None


@given_any(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("ab"), st.integers(1, 99))))
def test_kappa_is_never_above_one_and_there_only_where_all_agree(
    table: list[tuple[str, str, int]],
) -> None:
    kappa = cohens_kappa([counted(*row) for row in table])
    if kappa is not None:
        assert -1.0 <= kappa <= 1.0
        assert (kappa == 1.0) == all(machine == person for machine, person, _ in table)
