"""What kind of filesystem a folder lies on."""

import os
from pathlib import Path
from typing import Final

_SEND_NO_EVENTS: Final = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "afs", "glusterfs", "vboxsf")


def is_network_filesystem(folder: Path) -> bool:
    """Whether the folder is on a share, whose changes from elsewhere cause no inotify event."""
    return filesystem_of(folder).startswith(_SEND_NO_EVENTS)


def filesystem_of(folder: Path) -> str:
    """The type in `/proc/self/mountinfo` (proc(5)) of the mount with the longest matching path."""
    wanted = os.fspath(folder.resolve())
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        mount, _, source = line.partition(" - ")
        point = mount.split(" ")[4].encode().decode("unicode_escape")
        inside = wanted == point or wanted.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, source.split(" ")[0]
    return kind
