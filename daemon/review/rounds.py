"""What should lie in the review folder, a part at a time: however much it is, a look costs the same."""

from collections.abc import Iterable
from typing import Final

from daemon.names import to_text
from daemon.review.pacing import unhurried
from daemon.store import queueing, review_files
from daemon.store.database import Database
from daemon.store.queueing import Filter
from daemon.store.review_files import Known, ReviewFile

_PAGE: Final = 500
_AT_A_TIME: Final = 50


class Rounds:
    """Goes through the records, and begins again at the end. One thread calls it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: tuple[float, int] | None = None
        self._labelled = 0
        self._files = ""

    def images(self) -> list[Known]:
        """Some that wait for a label, and some that have one. Raises StoreError."""
        waiting = queueing.queue(self._database, Filter(), after=self._waiting, limit=_PAGE)
        self._waiting = waiting[-1] if len(waiting) == _PAGE else None
        labelled = review_files.labelled_page(self._database, after=self._labelled, limit=_PAGE)
        self._labelled = labelled[-1] if len(labelled) == _PAGE else 0
        ids = [*(image_id for _, image_id in waiting), *labelled]
        return list(known_unhurried(self._database, ids).values())

    def files(self) -> list[ReviewFile]:
        """Some of what is remembered of single files. Raises StoreError."""
        found = review_files.remembered_page(self._database, after=self._files, limit=_PAGE)
        self._files = to_text(found[-1].path) if len(found) == _PAGE else ""
        return found


def known_unhurried(database: Database, ids: Iterable[int]) -> dict[int, Known]:
    """Images by their ids, a few at a time. Raises StoreError."""
    wanted = sorted(set(ids))
    found: dict[int, Known] = {}
    for start in unhurried(range(0, len(wanted), _AT_A_TIME)):
        found |= review_files.known(database, wanted[start : start + _AT_A_TIME])
    return found
