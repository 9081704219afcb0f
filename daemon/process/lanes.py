"""Threads that work: a lane for each camera's files, so that a share that hangs holds up no other."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

ANSWER_SECONDS: Final = 5.0
"""How long a camera's files may take before the other cameras go on without it."""
Result = TypeVar("Result")
Item = TypeVar("Item")


class Lanes:
    """Works on the files of several cameras at once, and on those of one camera in turn.

    Whatever opens, reads, moves or closes a file of a camera does it here: on a share whose server
    is away each of these may take minutes, or for ever. All but `afterwards` is called from one thread.

    Args:
        named: how the names of its threads begin.
    """

    def __init__(self, named: str = "files of") -> None:
        self._named = named
        self._lanes: dict[str, Lane] = {}
        self._making = threading.Lock()
        self._overdue: dict[str, threading.Event] = {}

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
                told = self._overdue[camera] = threading.Event()
                future.add_done_callback(partial(_tell, late, told))
        return results

    def afterwards(self, camera: str, work: Callable[[], None]) -> None:
        """Have something done once the camera's lane has come to the end of what it does."""
        self._lane(camera).submit(work)

    def overdue(self) -> set[str]:
        """The cameras that still owe what was waited for in vain: `late` has not had it."""
        self._overdue = {
            camera: told for camera, told in self._overdue.items() if not told.is_set()
        }
        return set(self._overdue)

    def close(self, *, seconds: float) -> None:
        """End the threads that can end; one that hangs ends with the process."""
        end_all(list(self._lanes.values()), seconds=seconds)

    def _lane(self, camera: str) -> "Lane":
        with self._making:
            if camera not in self._lanes:
                self._lanes[camera] = Lane(f"{self._named} {camera}")
            return self._lanes[camera]


def _tell(late: Callable[[Result], None], told: threading.Event, done: "Future[Result]") -> None:
    try:
        late(done.result())
    finally:
        told.set()


class Helpers:
    """Threads that take work off others' hands when they have none; no work ever waits for them."""

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[Lane] = SimpleQueue()
        self._lanes = [Lane(f"helper {number}") for number in range(1, count + 1)]
        for lane in self._lanes:
            self._free.put(lane)

    def take(self, job: Callable[[], Result]) -> "Future[Result] | None":
        """Have a helper do it; None when none is free. From any thread."""
        try:
            lane = self._free.get_nowait()
        except Empty:
            return None
        future = lane.submit(job)
        future.add_done_callback(lambda _: self._free.put(lane))
        return future

    def close(self, *, seconds: float) -> None:
        end_all(self._lanes, seconds=seconds)


class Lane:
    """A thread that does one job after the other. What it still does ends with the process."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()

    def submit(self, job: Callable[[], Result]) -> "Future[Result]":
        future: Future[Result] = Future()
        self._jobs.put((future, job))
        return future

    def end(self) -> None:
        """Once it has done what it was given."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (next_job := self._jobs.get()) is not None:
            future, job = next_job
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 -- raised again where it is waited for
                future.set_exception(error)
            # Else the last job, and what came of it, would live until the next one comes.
            del future, job, next_job


def end_all(lanes: Sequence[Lane], *, seconds: float) -> None:
    """End the threads that can end in that time."""
    deadline = time.monotonic() + seconds
    for lane in lanes:
        lane.end()
    for lane in lanes:
        lane.thread.join(timeout=max(0.0, deadline - time.monotonic()))


def by_camera(items: Iterable[Item], camera_of: Callable[[Item], str]) -> dict[str, list[Item]]:
    """What is to be done in each camera's lane, in its order."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[camera_of(item)].append(item)
    return groups
