"""What the names of files in the review folder tell: which image each is."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

# `<camera>__<time>__<id>__<class>-<confidence>.<ending>`, as `daemon.journey.routing` writes it. More digits
# are no id of ours, and would use up the numbers.
_NAME: Final = re.compile(r"[^/]+?__\d{8}T\d{6}Z__(\d{1,15})__.+", re.DOTALL)
_CAMERA: Final = re.compile(r"(.+?)__\d{8}T\d{6}Z__\d{1,15}__", re.DOTALL)
_LITTER: Final = ("Thumbs.db", "desktop.ini", "@eaDir", "lost+found")


def id_in_name(name: str) -> int | None:
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])


def camera_in_name(name: str) -> str | None:
    match = _CAMERA.match(name)
    return None if match is None else match[1]


def last_id_in_names(review: Path, alive: Callable[[], None]) -> int:
    """The highest id that a file in review has; 0 where there is none. Says with each that it goes on."""
    last = 0
    for part in ("to_check", "labelled"):
        for entry in files_below(review / part):
            alive()
            last = max(last, id_in_name(entry.name) or 0)
    return last


def files_below(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Every ordinary file below a folder, one at a time; none where there is no folder.

    Hidden ones, and what file managers leave, are passed over.

    Raises:
        OSError: when a folder cannot be read.
    """
    below = [os.fspath(folder)]
    while below:
        try:
            entries = os.scandir(below.pop())
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in _LITTER:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry
