"""The thread that looks after the review folder: when it looks, and who waits for what it found."""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from daemon.names import to_text
from daemon.process.control import Answer, Arguments
from daemon.process.health import Health
from daemon.review.reconciling import Reconciler

_TIMES_PAUSED: Final = 99.0
"""Of the processor time that a look took: looking takes a hundredth of a core, but for large folders."""
_LONGEST_PAUSE_SECONDS: Final = 10.0
"""An operator who moved a file waits no longer than that."""
_SETTLE_SECONDS: Final = 20.0
_STUCK_SECONDS: Final = 30.0
_HANGS: Final = "review folder hangs"


class ReviewMinder:
    """Has the review folder reconciled with the database, again and again, in a thread of its own."""

    def __init__(self, reconciler: Reconciler, *, review: Path, health: Health) -> None:
        self._reconciler = reconciler
        self._review = review
        self._health = health
        self._processor: int | None = None
        self._used_seconds = 0.0
        self._moved_at: float | None = None
        self._begun = self._ended = 0
        self._stepped = threading.Condition()
        self._woken = threading.Event()

    def run(self, stopping: threading.Event) -> None:
        self._processor = time.pthread_getcpuclockid(threading.get_ident())
        while not stopping.is_set():
            before = time.thread_time()
            if not self.step(now=time.monotonic()):
                self._woken.wait(self._pause_after(time.thread_time() - before))
                self._woken.clear()

    def _pause_after(self, used_seconds: float) -> float:
        """Until the next look: the longer, the more processor time the last one took.

        While a backlog is judged every folder changes all the time, and holds more at each look.
        """
        return max(
            self._reconciler.look_seconds, min(_TIMES_PAUSED * used_seconds, _LONGEST_PAUSE_SECONDS)
        )

    def tell_if_stuck(self, *, now: float) -> None:
        """Tell of a folder that neither answers nor fails. Called from another thread.

        A first look at a hundred thousand files takes minutes; but it takes processor time, too.
        """
        if self._processor is None or self._begun == self._ended:
            self._moved_at = None
            self._health.mended(_HANGS)
            return
        used = time.clock_gettime(self._processor)
        if self._moved_at is None or used != self._used_seconds:
            self._used_seconds, self._moved_at = used, now
        elif now - self._moved_at > _STUCK_SECONDS:
            self._health.trouble(
                _HANGS,
                f"the review folder {to_text(self._review)} does not answer, and labels that are given by "
                "moving files there wait; see whether its share's server is up. Where it was unmounted "
                "and mounted anew, restart Millwatch",
            )

    def placed(self, paths: Iterable[Path]) -> None:
        """The daemon brought these images there just now, and recorded it. From any thread."""
        self._reconciler.placed(paths)

    def wake(self) -> None:
        """Have the folder looked at now, or the end of the service noticed."""
        self._woken.set()

    def wait_until_settled(self) -> bool:
        """From another thread: until all that lies there now is recorded; not for very long."""
        with self._stepped:
            wanted = self._begun + 1  # what goes on now may have passed by what was moved just now
            self.wake()
            return self._stepped.wait_for(
                lambda: self._ended >= wanted and self.is_settled, timeout=_SETTLE_SECONDS
            )

    def settled_before(self, command: Callable[[Arguments], Answer]) -> Callable[..., Answer]:
        """A command that is done when what people moved just before it is recorded."""

        def settled(arguments: Arguments) -> Answer:
            self.wait_until_settled()
            return command(arguments)

        return settled

    def step(self, *, now: float) -> bool:
        """Find what changed, and settle it.

        Args:
            now: of a clock that never jumps, in seconds.

        Returns:
            Whether there is more to do at once.
        """
        with self._stepped:
            self._begun += 1
        try:
            return self._reconciler.step(now=now)
        finally:
            with self._stepped:
                self._ended = self._begun
                self._stepped.notify_all()

    @property
    def is_settled(self) -> bool:
        """Whether all that was found is recorded; what is missing may still come back."""
        return self._reconciler.is_settled
