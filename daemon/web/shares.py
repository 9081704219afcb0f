"""Folders that the page looks into, which may lie on shares: one that hangs is told, not waited for."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, Final, TypeVar

from config.settings import Settings
from daemon.names import to_text
from daemon.process.lanes import Lane

_ANSWER_SECONDS: Final = 2.0
_AT_ONCE: Final = 8
"""Looks into one folder: a browser asks for six pictures at once."""
Result = TypeVar("Result")
Alive = Callable[[], None]


class SilentError(Exception):
    """A folder does not answer; the message says which."""


class Share:
    """One folder. A look that hangs keeps a thread of its own, and no other begins meanwhile.

    Safe between threads.
    """

    def __init__(self, what: str, folder: Path | None = None) -> None:
        self._what = what if folder is None else f"{what} {to_text(folder)}"
        self._changed = threading.Condition()
        self._running = 0
        self._overdue: set[Future[Any]] = set()

    def look(self, work: Callable[[], Result], *, seconds: float = _ANSWER_SECONDS) -> Result:
        """What comes of a look. Raises SilentError, and what else than OSError the work raises."""
        try:
            return self.follow(lambda _: work(), seconds=seconds)
        except OSError as error:
            raise SilentError(f"{self._what} cannot be looked into: {error.strerror}") from error

    def follow(
        self, work: Callable[[Alive], Result], *, seconds: float = _ANSWER_SECONDS
    ) -> Result:
        """What comes of work that may take long, as long as it says often enough that it goes on.

        Raises:
            SilentError: for so many seconds it said nothing; it ends whenever the folder answers.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._overdue or self._running < _AT_ONCE)
            if self._overdue:
                raise self._silent()
            self._running += 1
        told_at = time.monotonic()

        def alive() -> None:
            nonlocal told_at
            told_at = time.monotonic()

        lane = Lane("page's look into a folder")
        future = lane.submit(lambda: work(alive))
        lane.end()
        future.add_done_callback(self._ended)
        while not future.done() and (left := told_at + seconds - time.monotonic()) > 0:
            wait([future], timeout=left)
        with self._changed:
            if not future.done():
                self._overdue.add(future)
                self._changed.notify_all()
                raise self._silent()
        return future.result()

    def _ended(self, future: "Future[Any]") -> None:
        with self._changed:
            self._running -= 1
            self._overdue.discard(future)
            self._changed.notify_all()

    def _silent(self) -> SilentError:
        return SilentError(
            f"{self._what} does not answer: its share hangs. Look at the network and at the server "
            "of the share; the page shows it again as soon as it answers"
        )


class Shares:
    """The folders of the configuration in which an image may lie."""

    def __init__(self, settings: Settings) -> None:
        self.review = Share("the review folder", settings.review_folder)
        self.labelling = Share("the review folder", settings.review_folder)
        """For what may take long, apart: where that hangs, looks are told of it all the same."""
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
