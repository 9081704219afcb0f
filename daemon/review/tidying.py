"""Days of `to_check` that are over and empty go; after years they were thousands, each looked at every time."""

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from daemon.files.homes import DAY

_REST_SECONDS: Final = 86_400.0
"""A folder that something came to, or went from, a shorter time ago may be wanted again."""


def remove_empty_days(to_check: Path, now: datetime) -> None:
    """Remove `<class>/<day>` where nothing lies and nothing changed for a day.

    What holds anything, a hidden file too, stays: only an empty folder can be removed.
    """
    for of_class in _folders_in(to_check):
        for day in filter(lambda each: DAY.fullmatch(each.name), _folders_in(of_class)):
            with suppress(OSError):  # not empty, most likely
                rested = now.timestamp() - day.stat(follow_symlinks=False).st_mtime
                if rested > _REST_SECONDS:
                    Path(day).rmdir()


def _folders_in(folder: "Path | os.DirEntry[str]") -> Sequence["os.DirEntry[str]"]:
    """None in one that cannot be listed: whoever looks after what lies there tells of that."""
    try:
        with os.scandir(folder) as entries:
            return [each for each in entries if each.is_dir(follow_symlinks=False)]
    except OSError:
        return []
