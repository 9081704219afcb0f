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


def label(store: Database, image_id: int, target: Path, *, is_there: bool = True) -> None:
    """By a copy into `labelled/`, which lies there already; or on the page, and the file is to follow."""
    put_label(store, image_id, "x", "folder", seen=0, target=target, now=NOW, is_there=is_there)


@pytest.mark.fault(54)
def test_an_image_that_was_labelled_or_moved_meanwhile_is_not_called_deleted(
    store: Database,
) -> None:
    intents = record(store, *(finding(number, "pass") for number in (1, 2, 3, 4)))
    settle(store, *intents)
    page = expiry.kept_files(store, Verdict.PASS, below=Path("/review"), after=0, limit=100)
    label(store, 1, Path("/review/labelled/x/1.jpg"))
    follow(store, 2, Path("/review/elsewhere.jpg"))
    label(store, 4, Path("/review/labelled/x/4.jpg"), is_there=False)
    expiry.deleted(store, page)
    assert rows(store, STATES) == [
        (1, "moved", "/review/labelled/x/1.jpg"),
        (2, "moved", "/review/elsewhere.jpg"),
        (3, "deleted", None),
        (4, "moved", str(intents[3].plan.target)),
    ]


@pytest.mark.fault(58)
def test_a_record_whose_file_came_back_or_was_labelled_meanwhile_is_not_forgotten(
    store: Database,
) -> None:
    intents = record(store, *(finding(number) for number in (1, 2, 3, 4)))
    settle(store, *intents[:3], progress=Progress.GONE)
    settle(store, intents[3], progress=Progress.LEFT)
    page = expiry.ended(store, after=0, limit=100)
    assert len(page) == 4
    assert record(store, finding(1)) == [intents[0]]
    label(store, 2, Path("/review/labelled/x/2.jpg"))
    label(store, 4, Path("/review/labelled/x/4.jpg"), is_there=False)
    expiry.forget(store, [old.image_id for old in page])
    assert [row[:2] for row in rows(store, STATES)] == [
        (1, "pending"),
        (2, "moved"),
        (4, "left"),
    ]
    assert images.pending(store) == [intents[0]]
