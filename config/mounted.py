"""On which filesystem a folder lies, and where in it."""

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

# Blanks, tabs, newlines and backslashes are written like this; every other character as it is.
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A folder as its filesystem sees it, and of what type that is.

    Not where it is mounted: systemd mounts what a service may write on itself, sometimes more of it
    and sometimes less, and the share is still the same.
    """

    path: str
    kind: str


def mount_of(folder: Path) -> Mount:
    """By the line of `/proc/self/mountinfo` (proc(5)) with the longest matching path."""
    wanted = os.fspath(folder.resolve())
    found = _innermost(wanted)
    beyond = wanted.removeprefix(found.point.rstrip("/"))
    return Mount((found.root.rstrip("/") + beyond) or "/", found.kind)


def mount_number(path: str) -> str:
    """Which mount a path lies below, by its letters alone: a share that hangs is not looked at.

    No other has this number as long as anything is open, or hangs, in it.
    """
    return _innermost(path).number


def is_read_only_to_all(folder: Path) -> bool:
    """Whether its disk or share is, after an error say, and may be mended; not only to this service.

    What the unit does not let it write is read-only to it alone (`ProtectSystem=` of systemd.exec(5)):
    only the options of the filesystem itself, behind the " - " of proc(5), tell the two apart.
    """
    try:
        device = folder.stat().st_dev
        mounts = _mounts()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts:
        mount, _, filesystem = line.partition(" - ")
        if mount.split(" ")[2] == number:
            return "ro" in filesystem.split(" ")[2].split(",")
    return False


class _Line(NamedTuple):
    number: str
    root: str
    point: str
    kind: str


def _innermost(path: str) -> _Line:
    best = _Line("", "", "", "")
    for line in _mounts():
        mount, _, source = line.partition(" - ")
        number, _, _, root, point = (_unescaped(field) for field in mount.split(" ")[:5])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best.point):
            best = _Line(number, root, point, source.split(" ")[0])
    return best


def _mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()


def _unescaped(field: str) -> str:
    return _OCTAL.sub(lambda escape: chr(int(escape[1], 8)), field)
