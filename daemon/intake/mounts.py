"""What kind of filesystem a folder lies on."""

import os
import re
from pathlib import Path
from typing import Final

_SEND_NO_EVENTS: Final = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "afs", "glusterfs", "vboxsf")

# Blanks, tabs, newlines and backslashes are written like this; every other character as it is.
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def is_network_filesystem(folder: Path) -> bool:
    """Whether the folder is on a share, whose changes from elsewhere cause no inotify event."""
    return filesystem_of(folder).startswith(_SEND_NO_EVENTS)


def filesystem_of(folder: Path) -> str:
    """The type in `/proc/self/mountinfo` (proc(5)) of the mount with the longest matching path."""
    wanted = os.fspath(folder.resolve())
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        mount, _, source = line.partition(" - ")
        point = _OCTAL.sub(lambda escape: chr(int(escape[1], 8)), mount.split(" ")[4])
        inside = wanted == point or wanted.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, source.split(" ")[0]
    return kind
