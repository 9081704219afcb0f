"""A label, or its undoing, waited for no longer than a person waits; what became of it is then told."""

import threading
from collections.abc import Callable
from typing import Final, TypeVar

from daemon.files.shares import Shares, SilentError
from daemon.process.control import RefusedError
from daemon.review.labelling import Labeller
from daemon.store import labels
from daemon.store.database import Database

_CHANGE_SECONDS: Final = 30.0
"""A label may wait for others, and its file be copied."""
Result = TypeVar("Result")


class NotKnownError(Exception):
    """Whether an image is labelled cannot be said yet; the message says what to do."""


class PromptLabeller:
    """Labels for whoever waits: the page, and commands. Safe between threads."""

    def __init__(
        self,
        labeller: Labeller,
        *,
        database: Database,
        shares: Shares,
        seconds: float = _CHANGE_SECONDS,
    ) -> None:
        self._labeller = labeller
        self._database = database
        self._shares = shares
        self._seconds = seconds

    def label(
        self, image_id: int, label: str, by: str, *, seen: int | None, address: str = "command"
    ) -> int:
        """As of `Labeller`. Once it is recorded it is given, wherever the move of its file hangs.

        Raises:
            ChangedSinceError, RefusedError, StoreError: as there.
            SilentError: the review folder does not answer, or is not there; nothing was changed.
            NotKnownError: it does not answer, and this label may yet be recorded.
        """
        before = self._labeller.in_force(image_id)

        def give(begin: Callable[[], None]) -> int:
            return self._labeller.label(
                image_id, label, by, seen=seen, address=address, begin=begin
            )

        given = self._in_time(image_id, give)
        if given is not None:
            return given
        now = labels.label_of(self._database, image_id)
        if now is None or now.label_id <= before or (now.label, now.labelled_by) != (label, by):
            raise self._not_known(image_id)
        return now.label_id

    def undo(self, image_id: int, by: str, *, seen: int | None, address: str = "command") -> None:
        """Take a label back. Arguments and errors as of `label`."""
        before = self._labeller.in_force(image_id)

        def take_back(begin: Callable[[], None]) -> bool:
            self._labeller.undo(image_id, by, seen=seen, address=address, begin=begin)
            return True

        if (
            self._in_time(image_id, take_back) is None
            and self._labeller.in_force(image_id) == before
        ):
            raise self._not_known(image_id)

    def _in_time(
        self, image_id: int, change: Callable[[Callable[[], None]], Result]
    ) -> Result | None:
        """None where it was begun, and has not come to its end in time."""
        self._shares.refuse_if_away()
        wanted = _Wanted(image_id)
        try:
            return self._shares.labelling.look(lambda: change(wanted.begin), seconds=self._seconds)
        except SilentError as error:
            if wanted.give_up():
                raise SilentError(f"nothing was changed: {error}") from error
            return None

    def _not_known(self, image_id: int) -> NotKnownError:
        return NotKnownError(
            f"it is not known yet whether the label of image {image_id} is changed: "
            f"{self._shares.labelling.silent()}. Then look at the image again before you label it anew"
        )


class _Wanted:
    """Whether a change is still waited for; once it is begun it is not given up."""

    def __init__(self, image_id: int) -> None:
        self._image_id = image_id
        self._lock = threading.Lock()
        self._begun = self._given_up = False

    def begin(self) -> None:
        """Raises RefusedError: it was given up, and whoever waited was told so."""
        with self._lock:
            if self._given_up:
                raise RefusedError(
                    f"nobody waits any more for image {self._image_id} to be changed"
                )
            self._begun = True

    def give_up(self) -> bool:
        """Whether nothing will be changed any more."""
        with self._lock:
            self._given_up = not self._begun
            return self._given_up
