"""What kind of filesystem a folder lies on, and whether it is the one that belongs there."""

import errno
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from config.mounted import Mount, mount_of
from config.settings import Settings
from daemon.files.placing import write_durably
from daemon.names import to_text

DROP_FOLDERS: Final = "drop_folders.json"
"""The file in `state_dir` that remembers the mounts of drop folders, archive and quarantine."""
_SEND_NO_EVENTS: Final = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "afs", "glusterfs", "vboxsf")


def is_network_filesystem(folder: Path) -> bool:
    """Whether the folder is on a share, whose changes from elsewhere cause no inotify event."""
    return mount_of(folder).kind.startswith(_SEND_NO_EVENTS)


class MountMemory:
    """Which mount held each folder when images were last found there, over restarts.

    A share that is not mounted leaves an empty folder behind, which looks like a camera that is idle.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()
        self._mounts: dict[str, list[str]] = {}
        with suppress(OSError, ValueError, TypeError):  # a memory that is lost is made anew
            self._mounts = dict(json.loads(file.read_text()))

    def is_the_same(self, folder: Path, mount: Mount) -> bool:
        with self._lock:
            return self._mounts.get(to_text(folder), list(mount)) == list(mount)

    def remember(self, folder: Path, mount: Mount) -> None:
        with self._lock:
            if self._mounts.get(to_text(folder)) == list(mount):
                return
            self._mounts[to_text(folder)] = list(mount)
            with suppress(OSError):  # remembered until the next start at least
                write_durably(self.file, json.dumps(self._mounts, indent=2) + "\n")


def review_is_there(review: Path) -> bool:
    """Whether the review folder is; an empty one may be where a share belongs that is not mounted."""
    return any((review / part).is_dir() for part in ("to_check", "labelled"))


class ReviewShare:
    """Whether the review folder is there, and not the mount point that its share leaves behind.

    What Millwatch made in it shows that; without these, the mount that held it when an image came there.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.review_folder
        self._mounts = MountMemory(settings.state_dir / "review_folder.json")
        self._is_remembered = False

    def refuse_if_away(self) -> None:
        """Before anything is made there: it would lie below the share once that is back. Raises OSError."""
        if review_is_there(self._folder):
            return
        if not self._mounts.is_the_same(self._folder, mount_of(self._folder)):
            raise OSError(
                errno.ENODEV,
                f"the review folder {to_text(self._folder)} holds neither to_check nor labelled and is "
                "on another filesystem than before; mount its share. If another took its place for "
                f"good, stop Millwatch, remove {to_text(self._mounts.file)}, and start it",
            )

    def remember(self) -> None:
        """An image is there."""
        if not self._is_remembered:
            self._mounts.remember(self._folder, mount_of(self._folder))
            self._is_remembered = True
