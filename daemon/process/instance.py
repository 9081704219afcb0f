"""The service as a process: the only one on its state folder, ended by signals, with enough descriptors."""

import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from filelock import FileLock, Timeout
from threadpoolctl import threadpool_limits

LOCK: Final = "millwatch.lock"


class AlreadyRunningError(Exception):
    """Another Millwatch holds this state folder."""


class NotAllowedError(PermissionError):
    """This user may not be the Millwatch of a state folder."""


def allow_descriptors(images: int) -> None:
    """So many images are held open at a time; the usual limit of 1024 is a soft one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = images + 1024
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextmanager
def one_thread_a_product() -> Iterator[None]:
    """Let numpy multiply matrices in the thread that asks for it, until the block ends.

    OpenBLAS has threads of its own, one for each core, that wait for their next work spinning: beside a
    network that keeps every core busy they took a tenth of the processor, for products of a millisecond.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@contextmanager
def instance_lock(state_dir: Path) -> Iterator[None]:
    """Be the only Millwatch on a state folder. Raises AlreadyRunningError, NotAllowedError."""
    lock = FileLock(state_dir / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise AlreadyRunningError(
            f"another Millwatch is running on {state_dir}; stop it first, or give this one a "
            "state_dir of its own"
        ) from error
    except PermissionError as error:
        raise NotAllowedError(
            f"{state_dir / LOCK} may not be written by this user; run it as the user that Millwatch "
            "runs as"
        ) from error
    try:
        yield
    finally:
        lock.release()


def end_beside_threads() -> None:
    """End this process, whose work is done, at once with the status 0 where a thread of it is left.

    One within the code of a runtime, where a model is loaded say, that the interpreter's end takes its
    feet from brings the process down as if it had crashed (SIGABRT).
    """
    if threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def stop_on_signals(stopping: threading.Event) -> None:
    """A first SIGTERM or SIGINT stops in good order; a second ends the process at once."""

    def handle(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
