"""One thread for each camera's files: a share that hangs holds up no other camera."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, Final, TypeVar

ANSWER_SECONDS: Final = 5.0
"""How long a camera's files may take before the other cameras go on without it."""
Result = TypeVar("Result")


class Lanes:
    """Works on the files of several cameras at once, and on those of one camera in turn.

    Whatever opens, reads, moves or closes a file of a camera does it here: on a share whose server
    is away each of these may take minutes, or for ever. Called from one thread.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._overdue: dict[str, Future[Any]] = {}

    def run(
        self,
        work: Mapping[str, Callable[[], Result]],
        *,
        seconds: float,
        late: Callable[[Result], None],
    ) -> dict[str, Result]:
        """Do the work of each camera, and wait for all of it, but no longer than `seconds`.

        Args:
            work: by camera; that of a camera which is overdue is left.
            late: given what came later, in the thread of that lane.

        Returns:
            The results that came in time.
        """
        overdue = self.overdue()
        futures = {
            camera: self._lane(camera).submit(job)
            for camera, job in work.items()
            if camera not in overdue
        }
        wait(futures.values(), timeout=seconds)
        results: dict[str, Result] = {}
        for camera, future in futures.items():
            if future.done():
                results[camera] = future.result()
            else:
                self._overdue[camera] = future
                future.add_done_callback(lambda done: late(done.result()))
        return results

    def afterwards(self, camera: str, work: Callable[[], None]) -> None:
        """Have something done once the camera's lane has come to the end of what it does."""
        self._lane(camera).submit(work)

    def overdue(self) -> set[str]:
        """The cameras that still owe what was waited for in vain."""
        self._overdue = {
            camera: future for camera, future in self._overdue.items() if not future.done()
        }
        return set(self._overdue)

    def close(self, *, seconds: float) -> None:
        """End the threads that can end; one that hangs ends with the process."""
        deadline = time.monotonic() + seconds
        for lane in self._lanes.values():
            lane.end()
        for lane in self._lanes.values():
            lane.thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def _lane(self, camera: str) -> "_Lane":
        if camera not in self._lanes:
            self._lanes[camera] = _Lane(camera)
        return self._lanes[camera]


class _Lane:
    def __init__(self, camera: str) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=f"files of {camera}", daemon=True)
        self.thread.start()

    def submit(self, job: Callable[[], Result]) -> "Future[Result]":
        future: Future[Result] = Future()
        self._jobs.put((future, job))
        return future

    def end(self) -> None:
        self._jobs.put(None)

    def _work(self) -> None:
        while (next_job := self._jobs.get()) is not None:
            future, job = next_job
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 -- raised again where it is waited for
                future.set_exception(error)
