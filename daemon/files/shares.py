"""Folders that people's requests look into, which may lie on shares: one that hangs is told, not waited for."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from config.mounted import mount_number
from config.settings import Settings
from daemon.files.mounts import review_is_there
from daemon.names import to_text
from daemon.process.lanes import Lane

_ANSWER_SECONDS: Final = 2.0
_AT_ONCE: Final = 8
"""Looks into one folder, and as much again of what may take long there."""
Result = TypeVar("Result")
Alive = Callable[[], None]


class SilentError(Exception):
    """A folder does not answer, or is not there; the message says which."""


class Share:
    """One folder. A look that hangs keeps a thread of its own, and no other begins meanwhile.

    What still hangs in a share that was unmounted says nothing of the one that was mounted in its place,
    unless others wait for it all the same. Safe between threads.

    Args:
        in_turn: each piece of work waits for the one before it, wherever that hangs.
    """

    def __init__(self, what: str, folder: Path | None = None, *, in_turn: bool = False) -> None:
        self._what = what if folder is None else f"{what} {to_text(folder)}"
        self._in_turn = in_turn
        self._place = "" if folder is None else os.fspath(folder)
        self._is_resolved = folder is None
        self._changed = threading.Condition()
        self._short: set[Future[Any]] = set()
        self._long: set[Future[Any]] = set()
        # With the number of the mount that each of them hangs in.
        self._overdue: dict[Future[Any], str] = {}

    def look(self, work: Callable[[], Result], *, seconds: float = _ANSWER_SECONDS) -> Result:
        """What comes of a look. Raises SilentError, and what else than OSError the work raises."""
        try:
            return self._begin(lambda _: work(), seconds, self._short)
        except OSError as error:
            raise SilentError(f"{self._what} cannot be looked into: {error.strerror}") from error

    def follow(self, work: Callable[[Alive], Result]) -> Result:
        """What comes of work that may take long, as long as it says often enough that it goes on.

        Raises:
            SilentError: for too long it said nothing; it ends whenever the folder answers.
        """
        return self._begin(work, _ANSWER_SECONDS, self._long)

    def _begin(
        self, work: Callable[[Alive], Result], seconds: float, among: "set[Future[Any]]"
    ) -> Result:
        told_at = time.monotonic()

        def alive() -> None:
            nonlocal told_at
            told_at = time.monotonic()

        with self._changed:
            self._forget_what_was_unmounted()
            self._changed.wait_for(lambda: self._overdue or len(among) < _AT_ONCE)
            if self._overdue:
                raise self.silent()
            alive()
            lane = Lane("look into a folder")
            future = lane.submit(lambda: self._look(work, alive))
            lane.end()
            among.add(future)
        future.add_done_callback(self._ended)
        while not future.done() and (left := told_at + seconds - time.monotonic()) > 0:
            wait([future], timeout=left)
        if self.is_overdue(future):
            raise self.silent()
        return future.result()

    def refuse_if_silent(self) -> None:
        """Raises SilentError: what was begun there before hangs."""
        with self._changed:
            self._forget_what_was_unmounted()
            if self._overdue:
                raise self.silent()

    def is_overdue(self, future: "Future[Any]") -> bool:
        """Whether work that was waited for long enough still goes on: then no other begins."""
        with self._changed:
            if future.done():
                return False
            self._overdue[future] = mount_number(self._place)
            self._changed.notify_all()
        future.add_done_callback(self._ended)
        return True

    def silent(self) -> SilentError:
        anew = (
            ", or, where it was unmounted and mounted anew meanwhile, once Millwatch is restarted"
        )
        return SilentError(
            f"{self._what} does not answer: its share hangs. Look at the network and at the server of the "
            f"share; it goes on by itself as soon as it answers{anew if self._in_turn else ''}"
        )

    def _look(self, work: Callable[[Alive], Result], alive: Alive) -> Result:
        if not self._is_resolved:  # here, where it may hang: a link may lead to the share
            self._place = os.path.realpath(self._place)
            self._is_resolved = True
        return work(alive)

    def _ended(self, future: "Future[Any]") -> None:
        with self._changed:
            self._forget(future)
            self._changed.notify_all()

    def _forget_what_was_unmounted(self) -> None:
        """Called with the lock held."""
        if self._in_turn or not self._overdue:
            return
        here = mount_number(self._place)
        for future in [each for each, there in self._overdue.items() if there != here]:
            self._forget(future)

    def _forget(self, future: "Future[Any]") -> None:
        """Called with the lock held."""
        self._short.discard(future)
        self._long.discard(future)
        self._overdue.pop(future, None)


class Shares:
    """The folders of the configuration in which an image may lie."""

    def __init__(self, settings: Settings) -> None:
        self._review = settings.review_folder
        self.review = Share("the review folder", settings.review_folder)
        self.labelling = Share("the review folder", settings.review_folder, in_turn=True)
        """For what may take long, apart: where that hangs, looks are told of it all the same."""
        self.pushed = {
            each.name: Share("the drop folder", each.folder) for each in settings.cameras
        }
        """For what is written there, which may take long, by camera."""
        self._elsewhere = Share("the folder of the image")
        self._folders = [
            (settings.review_folder, self.review),
            (settings.archive_folder, Share("the archive", settings.archive_folder)),
            (settings.quarantine_folder, Share("the quarantine", settings.quarantine_folder)),
            *((each.folder, Share("the drop folder", each.folder)) for each in settings.cameras),
        ]

    def of(self, path: Path) -> Share:
        """The one in which a file lies."""
        found = (share for folder, share in self._folders if path.is_relative_to(folder))
        return next(found, self._elsewhere)

    def is_missing(self, path: Path) -> bool:
        """Whether an image's file is not where it was put.

        Raises:
            SilentError: the review folder does not answer, or is not there.
        """
        share = self.of(path)
        try:
            missing = not share.look(path.is_file)
        except SilentError:
            if share is self.review:
                raise
            return False  # it waits in its drop folder; whoever asks for its picture is told
        if missing and share is self.review:
            self.refuse_if_away()
        return missing

    def refuse_if_away(self) -> None:
        """Of an image nothing can be said while the share of the review folder is not mounted.

        Raises:
            SilentError: it does not answer, or is not there.
        """
        if not self.review.look(partial(review_is_there, self._review)):
            raise SilentError(
                f"{to_text(self._review)} holds neither to_check nor labelled: mount its share, or make "
                "them anew if they were deleted (`millwatch run` does as it starts)"
            )
