"""What became of an image between the reading of old records and the record of their end."""

from pathlib import Path

import pytest
from records import NOW, finding, record, rows, settle

from daemon.store import expiry, images
from daemon.store.database import Database
from daemon.store.labels import follow, put_label
from daemon.values import Progress
from models.taxonomy import Verdict

STATES = "SELECT id, progress, path FROM image ORDER BY id"


def label(store: Database, image_id: int, target: Path) -> None:
    """By a copy into `labelled/`, which lies there already."""
    put_label(store, image_id, "x", "folder", seen=0, target=target, now=NOW, is_there=True)


@pytest.mark.fault(54)
def test_an_image_that_was_labelled_or_moved_meanwhile_is_not_called_deleted(
    store: Database,
) -> None:
    settle(store, *record(store, *(finding(number, "pass") for number in (1, 2, 3))))
    page = expiry.kept_files(store, Verdict.PASS, after=0, limit=100)
    label(store, 1, Path("/review/labelled/x/1.jpg"))
    follow(store, 2, Path("/review/elsewhere.jpg"))
    expiry.deleted(store, page)
    assert rows(store, STATES) == [
        (1, "moved", "/review/labelled/x/1.jpg"),
        (2, "moved", "/review/elsewhere.jpg"),
        (3, "deleted", None),
    ]


@pytest.mark.fault(58)
def test_a_record_whose_file_came_back_or_was_labelled_meanwhile_is_not_forgotten(
    store: Database,
) -> None:
    intents = record(store, *(finding(number) for number in (1, 2, 3)))
    settle(store, *intents, progress=Progress.GONE)
    page = expiry.ended(store, after=0, limit=100)
    assert len(page) == 3
    assert record(store, finding(1)) == [intents[0]]
    label(store, 2, Path("/review/labelled/x/2.jpg"))
    expiry.forget(store, [old.image_id for old in page])
    assert [row[:2] for row in rows(store, STATES)] == [(1, "pending"), (2, "moved")]
    assert images.pending(store) == [intents[0]]
