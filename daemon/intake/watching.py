"""inotify on one drop folder, as hints: which file to look at, and whether its writer is done."""

import errno
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import DEFAULT_OBSERVER_TIMEOUT, BaseObserver
from watchdog.observers.inotify import InotifyFullEmitter, InotifyObserver
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)

from daemon.names import LEAVING, to_text

Hint = Callable[[str, bool], None]
"""Called with a path inside the drop folder and whether its writer is done with it."""

_REMEDIES = {
    errno.ENOSPC: "raise fs.inotify.max_user_watches (sysctl)",
    errno.EMFILE: "raise fs.inotify.max_user_instances (sysctl)",
}
_LEAVING = os.fsencode(LEAVING)
_EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileMovedEvent,
    FileCreatedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]

# A subfolder that is made while the watch is armed is found twice, which is as good as once.
warnings.filterwarnings("ignore", message="Callback with id", module="watchdog")


class WatchError(Exception):
    """A folder cannot be watched by inotify; the message says what to set."""


class FolderWatch:
    """A recursive watch on the folder that lies at a path now, whatever comes there later."""

    def __init__(
        self, folder: Path, hint: Hint, overflowed: Callable[[], None] = lambda: None
    ) -> None:
        """Raises WatchError when inotify cannot watch all of the folder, OSError when it is not there."""
        status = folder.stat()
        self.identity = (status.st_dev, status.st_ino)
        # A drop folder may be a link: the kernel would watch that, and tell of nothing behind it.
        real = os.path.realpath(folder)
        handler = _Handler(real, hint)
        try:
            self._observer = _Observer(overflowed)
        except OSError as error:
            raise _explained(folder, error) from error
        try:
            self._observer.schedule(handler, real, recursive=True, event_filter=_EVENTS)
            self._observer.start()
            if refused := self._observer.refused():
                raise refused
        except OSError as error:
            self._observer.stop()  # its reader runs since it was made
            if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                raise  # the folder went away, not inotify
            raise _explained(folder, error) from error

    def is_alive(self) -> bool:
        """Whether every thread between the kernel and the hint still runs, and all folders are watched."""
        observer = self._observer
        return (
            observer.is_alive()
            and observer.refused() is None
            and observer.reader_is_alive()
            and all(emitter.is_alive() for emitter in observer.emitters)
        )

    def stop(self) -> None:
        self._observer.stop()
        self._observer.join(timeout=5.0)


def _explained(folder: Path, error: OSError) -> WatchError:
    remedy = _REMEDIES.get(error.errno or 0, 'set watch = "polling" for this camera')
    return WatchError(f"inotify cannot watch {to_text(folder)}: {error}; {remedy}")


class _Reader(InotifyFD):
    """Reads from the kernel, and tells of events that it lost: watchdog only logs that.

    Nor does watchdog say which folder it got no watch for, if another above it has one.

    That a file was renamed is told by where it is now. Of where it was watchdog makes a pair with that, for
    which it keeps back all that comes behind by half a second, though the other half be there: and the
    mover renames each file before it takes it out of the folder. Nor is anybody told of that new name.
    """

    def __init__(self, overflowed: Callable[[], None]) -> None:
        super().__init__()
        self._overflowed = overflowed
        self.refused: OSError | None = None

    def add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        try:
            return super().add_callback(path, mask, callback, id_)
        except OSError as error:
            if error.errno == errno.ENOSPC:  # else it went away
                self.refused = error
            raise

    def handle_event(self, event: InotifyEvent) -> None:
        if event.is_queue_overflow:
            self._overflowed()
        ours = event.is_moved_from or (event.is_moved_to and event.name.endswith(_LEAVING))
        if event.is_directory or not ours:
            super().handle_event(event)


class _Observer(InotifyObserver):
    def __init__(self, overflowed: Callable[[], None]) -> None:
        # As InotifyObserver does it, with a reader of our own.
        self._inotify_fd = self._reader = _Reader(overflowed)
        self._inotify_fd.start()
        BaseObserver.__init__(
            self,
            InotifyFullEmitter,
            timeout=DEFAULT_OBSERVER_TIMEOUT,
            inotify_fd=self._inotify_fd,
        )

    def reader_is_alive(self) -> bool:
        """Whether the thread runs that reads from the kernel. When it dies, watchdog says nothing."""
        return self._inotify_fd.is_alive()

    def refused(self) -> OSError | None:
        """Why a folder in it is not watched, now or when it was made."""
        return self._reader.refused


class _Handler(FileSystemEventHandler):
    def __init__(self, root: str, hint: Hint) -> None:
        self._root = root
        self._hint = hint

    def on_created(self, event: FileSystemEvent) -> None:
        # A file that is being written, or a hard link: its writer is not known to be done.
        if not event.is_directory:
            self._say(event.src_path, done=False)

    def on_closed(self, event: FileSystemEvent) -> None:
        self._say(event.src_path, done=True)

    def on_moved(self, event: FileSystemEvent) -> None:
        # Out of the folder has no destination. A folder moved in is walked by the observer, which
        # reports its files as created.
        if not event.is_directory and event.dest_path:
            self._say(event.dest_path, done=True)

    def _say(self, path: bytes | str, *, done: bool) -> None:
        self._hint(os.path.relpath(os.fsdecode(path), self._root), done)
