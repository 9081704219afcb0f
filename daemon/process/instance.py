"""The service as a process: the only one on its folders, ended by signals, with enough descriptors."""

import errno
import os
import resource
import signal
import socket
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
_OTHER_FILES: Final = 1024
_FEWEST_OTHER_FILES: Final = 256
"""Ten times what two cameras and the page need. Where these lack, drop folders and shares seem to be away."""


class AlreadyRunningError(Exception):
    """Another Millwatch holds this state folder."""


class NotAllowedError(PermissionError):
    """This user may not be the Millwatch of a state folder."""


def allow_descriptors(max_images: int, *, batches: int) -> int:
    """Let so many batches be held open, each image of them: the usual limit of 1024 files is a soft one.

    Returns:
        How many images a batch may have: fewer where the hard limit lets no more be open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = batches * max_images + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return max_images
    return max(1, min(max_images, (soft - _FEWEST_OTHER_FILES) // batches))


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


class FolderClaim:
    """Be the only Millwatch of this computer that takes images from a folder, until the process ends.

    Held by a name of the kernel's (an abstract socket), not by a file in the folder or the folder kept
    open: a camera's folder stays as it is, and its share can be unmounted.
    """

    def __init__(self) -> None:
        self._held: socket.socket | None = None
        self._identity: tuple[int, int] | None = None

    def take(self, identity: tuple[int, int]) -> bool:
        """Whether it is ours now. Another folder that we held is let go.

        Args:
            identity: the folder's (st_dev, st_ino).
        """
        if identity == self._identity:
            return True
        self.let_go()
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            held.bind("\0millwatch takes from {} {}".format(*identity))
        except OSError as error:
            held.close()
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        self._held, self._identity = held, identity
        return True

    def let_go(self) -> None:
        if self._held:
            self._held.close()
        self._held = self._identity = None


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
