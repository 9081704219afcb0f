"""The folder is the truth: what lies in it, found without any event."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from daemon.intake.names import NameRule


def scan(
    folder: Path, rule: NameRule, *, on_error: Callable[[OSError], None]
) -> Iterator[tuple[str, os.stat_result]]:
    """Every image below a drop folder, as its path inside it and its status.

    Memory does not grow with the number of files. Links are never followed. A subfolder that
    cannot be read is told to `on_error` and passed over; what vanishes meanwhile is not there.

    Raises:
        OSError: when the drop folder itself cannot be read.
    """
    below = [""]
    while below:
        inside = below.pop()
        try:
            entries = os.scandir(folder / inside)
        except OSError as error:
            if not inside:
                raise
            if not isinstance(error, FileNotFoundError):
                on_error(error)
            continue
        with entries:
            for entry in entries:
                if rule.ignores(entry.name):
                    continue
                filename = os.path.join(inside, entry.name)  # noqa: PTH118 -- 100,000 times
                if entry.is_dir(follow_symlinks=False):
                    below.append(filename)
                elif rule.is_image(entry.name):
                    with suppress(FileNotFoundError):
                        yield filename, entry.stat(follow_symlinks=False)
