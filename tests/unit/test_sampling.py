"""The sample of what passed: drawn by chance, the same again, and counted with an exact interval."""

from dataclasses import replace
from pathlib import Path

import pytest
from records import NOW, finding, record, settle

from daemon.journey.routing import Folders
from daemon.journey.sampling import is_sampled
from daemon.store import labels, queueing
from daemon.store.database import Database
from daemon.store.queueing import Filter
from daemon.store.sampled import missed_defects
from daemon.store.spans import Span
from models.binomial import interval


def passed(store: Database, *numbers: int, reason: str = "sample", **fields: str) -> list[int]:
    found = [
        replace(
            finding(number, "pass", predicted_class="no_defect", **fields),
            reason=reason,
            confidence=0.9 + number / 1000,
        )
        for number in numbers
    ]
    intents = record(store, *found)
    settle(store, *intents)
    return [intent.image_id for intent in intents]


def label(store: Database, image_id: int, name: str) -> int:
    target = Path(f"/review/labelled/{name}/{image_id}.jpg")
    put = labels.put_label(store, image_id, name, "anna", seen=0, target=target, now=NOW)
    return put.label_id


def test_about_the_share_is_drawn_and_the_same_images_when_asked_again() -> None:
    deliveries = [finding(number) for number in range(5000)]
    drawn = [is_sampled(each.delivery, each.sha256, 0.1) for each in deliveries]
    assert 420 < sum(drawn) < 580
    assert drawn == [is_sampled(each.delivery, each.sha256, 0.1) for each in deliveries]
    assert not any(is_sampled(each.delivery, each.sha256, 0.0) for each in deliveries)
    assert all(is_sampled(each.delivery, each.sha256, 1.0) for each in deliveries)


def test_a_camera_that_delivers_one_picture_again_and_again_is_drawn_no_more_often() -> None:
    one = finding(1)
    frames = [replace(one.delivery, filename=f"{number}.jpg") for number in range(2000)]
    assert 120 < sum(is_sampled(frame, one.sha256, 0.1) for frame in frames) < 280


def test_what_is_drawn_goes_to_review_and_still_counts_as_passed(tmp_path: Path) -> None:
    folders = Folders(
        review=tmp_path / "review",
        archive=tmp_path / "archive",
        quarantine=tmp_path / "quarantine",
        on_pass="delete",  # noqa: S106 -- no password
    )
    drawn = replace(finding(7, "pass", predicted_class="no_defect"), reason="sample")
    target = folders.plan(7, drawn, lambda _: False).target
    assert target is not None
    assert target.relative_to(folders.review).parts[:2] == ("to_check", "no_defect")


def test_which_of_the_sample_is_labelled_does_not_depend_on_how_sure_the_model_is(
    store: Database,
) -> None:
    first, second, third = passed(store, 1, 2, 3)
    assert [image_id for _, image_id in queueing.queue(store, Filter())] == [third, second, first]


def test_missed_defects_are_counted_among_the_labelled_of_the_sample_alone(store: Database) -> None:
    drawn = passed(store, *range(1, 21))
    other = passed(store, *range(21, 41), reason="confident")
    for image_id in drawn[:9]:
        label(store, image_id, "no_defect")
    label(store, drawn[9], "patches")
    mistaken = label(store, drawn[10], "scratches")
    labels.undo_label(store, drawn[10], seen=mistaken, target=Path("/review/1.jpg"), now=NOW)
    label(store, other[0], "patches")  # looked for, not drawn: it says nothing of the others
    found = missed_defects(store, Span(), normal_classes=("no_defect",))
    assert (found.passed, found.sampled, found.labelled, found.missed) == (40, 20, 10, 1)
    assert found.rate == pytest.approx(0.1)
    assert (found.low, found.high) == interval(1, 10)
    assert (found.low, found.high) == pytest.approx((0.0025, 0.4450), abs=1e-4)  # the textbook's


def test_missed_defects_are_told_for_a_time_and_a_camera(store: Database) -> None:
    (early,) = passed(store, 1)
    (other,) = passed(store, 2, camera="side")
    label(store, early, "patches")
    label(store, other, "no_defect")
    normal = ("no_defect",)
    assert missed_defects(store, Span(camera="top-1"), normal_classes=normal).missed == 1
    assert missed_defects(store, Span(camera="side"), normal_classes=normal).missed == 0
    assert missed_defects(store, Span(), normal_classes=("no_defect", "patches")).missed == 0
    none = missed_defects(store, Span(since="2026-03-01T11:00:00Z"), normal_classes=normal)
    assert (none.passed, none.labelled, none.rate, none.low, none.high) == (0, 0, None, 0.0, 1.0)
    assert (
        missed_defects(store, Span(until="2026-03-01T11:00:00Z"), normal_classes=normal).passed == 2
    )
