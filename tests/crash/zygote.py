"""Runs the journey in forked children that kill themselves at a chosen step.

torch takes seconds to import, so it is done once here: each line on the standard input, a JSON
object, is a child; each line on the standard output says how it ended. The steps are the calls
that change something on a disk; they are counted here, and product code knows nothing of it.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from composed import by_hand
from filesystems import full, obeying_permissions
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from zygotes import answer, orders

from config.settings import Settings
from daemon.store import images
from models.registry import Model

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


def live(order: dict[str, Any], settings: Settings, model: Model) -> None:
    """Scan and judge until nothing is left to do, or as often as the order says."""
    permissions = obeying_permissions() if order.get("obey_permissions") else nullcontext()
    with permissions, by_hand(settings, model=model) as line:
        kill = None
        if order["trace"] is not None:
            kill = Kill(
                order["kill_at"],
                Path(order["trace"]),
                kind=order.get("kind"),
                fill=order.get("fill", ()),
                fill_at=order.get("fill_at"),
            )
            kill.arm()
        if order.get("rounds") is None:
            line.work_until(
                lambda: (
                    not any(line.room.backlog().values())
                    and not images.count_pending(line.database)
                )
            )
        else:
            for _ in range(order["rounds"]):
                line.scan()
                line.work()
                if not any(line.room.backlog().values()):
                    break
                line.pipeline.wait(0.2)
        if kill is not None:
            kill.step("end")


def main() -> None:
    for order, settings, model in orders():
        child = os.fork()
        if child == 0:
            code = 1
            try:
                live(order, settings, model)
                code = 0
            except BaseException:  # noqa: BLE001 -- told in the log, and by the status
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        answer(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
