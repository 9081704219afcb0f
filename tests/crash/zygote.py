"""Runs the journey in forked children that kill themselves at a chosen step.

torch takes seconds to import, so it is done once here: each line on the standard input, a JSON
object, is a child; each line on the standard output says how it ended. The steps are the calls
that change something on a disk; `crash.kills` counts them.
"""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from composed import by_hand
from crash.kills import Kill
from filesystems import obeying_permissions
from forking import answer, fork
from zygotes import orders_with_model

from config.settings import Settings
from daemon.store import images
from models.registry import Model


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
    for order, settings, model in orders_with_model():
        answer(fork(partial(live, order, settings, model)))


if __name__ == "__main__":
    main()
