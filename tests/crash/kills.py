"""Ends a process without a word at a chosen step that changes a disk; product code knows nothing of it."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filesystems import full
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

OPERATIONS = ("link", "unlink", "rename", "replace", "fsync", "pread")


class Kill:
    """Counts the steps, and ends the process without a word before the one it was given.

    Nothing changes a disk between two steps, so before one is after the one before it. Before
    another one, perhaps, it fills the filesystems of some folders to the last byte.

    Args:
        kind: where given, `at` counts the steps of this name only.
    """

    def __init__(
        self,
        at: int | None,
        trace: Path,
        *,
        kind: str | None = None,
        fill: Sequence[str] = (),
        fill_at: int | None = None,
    ) -> None:
        self._at, self._kind = at, kind
        self._fill, self._fill_at = fill, fill_at
        self._filled = ExitStack()  # never closed: whoever gave the order frees the space
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._count = self._of_kind = 0
        self._lock = threading.Lock()

    def step(self, what: str) -> None:
        with self._lock:
            self._count += 1
            counts = self._kind in (None, what.split(maxsplit=1)[0])
            self._of_kind += counts
            os.write(self._trace, f"{what}\n".encode(errors="surrogateescape"))
            if self._count == self._fill_at:
                for folder in self._fill:
                    self._filled.enter_context(full(Path(folder)))
            if counts and self._of_kind == self._at:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.step(describe(name, arguments))
            return call(*arguments, **options)

        return wrapped

    def arm(self) -> None:
        for name in OPERATIONS:
            setattr(os, name, self.around(name, getattr(os, name)))
        dialect: Any = SQLiteDialect_pysqlite
        dialect.do_commit = self.around("commit", dialect.do_commit)


def describe(name: str, arguments: tuple[Any, ...]) -> str:
    """The call and the paths that it is about, those of open files too."""
    of = arguments[:2] if name in ("link", "rename", "replace") else arguments[:1]
    if name == "commit":
        of = ()
    paths = (Path(f"/proc/self/fd/{one}").readlink() if isinstance(one, int) else one for one in of)
    return " ".join([name, *map(os.fspath, paths)])
