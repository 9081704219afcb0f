"""A process that forks a child for each order on its standard input, and tells how each ended."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from config.loading import load_settings
from config.logging import configure_logging
from config.settings import Settings


def orders() -> Iterator[tuple[dict[str, Any], Settings]]:
    configure_logging()
    for line in sys.stdin:
        order = json.loads(line)
        yield order, load_settings(Path(order["config"]), {})


def fork(work: Callable[[], object]) -> int:
    """The number of a child that does the work, and ends with 1 when that fails."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 -- told in the log, and by the status
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def answer(child: int) -> None:
    """How the child ended, once it has: its exit code, a signal's being negative."""
    _, status = os.waitpid(child, 0)
    sys.stdout.write(json.dumps({"status": os.waitstatus_to_exitcode(status)}) + "\n")
    sys.stdout.flush()
