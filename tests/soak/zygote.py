"""Runs the whole daemon in forked children, each for so long, and ends each with a signal.

torch takes seconds to import and a model a good part of a daemon's short life to load, so both are
done once here. Each line on the standard input, a JSON object, is a child; each line on the
standard output says how it ended. No thread is ever started here: a child would inherit its locks
without it.
"""

import os
import signal
import sys
import traceback

from zygotes import answer, orders

from config.settings import Settings
from daemon.starting import serve
from models.registry import Model

STOP_SECONDS = 30.0
ENDED = {signal.SIGCHLD}


def live(settings: Settings, model: Model) -> None:
    """Never returns."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDED)
    code = 1
    try:
        serve(settings, load=lambda _: (model, None))
        code = 0
    except BaseException:  # noqa: BLE001 -- told in the log, and by the status
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def end(child: int, number: int, *, seconds: float) -> int:
    """Let the child live for so long, then end it. Its exit code, a signal's being negative."""
    if signal.sigtimedwait(ENDED, seconds) is None:
        os.kill(child, number)
        if signal.sigtimedwait(ENDED, STOP_SECONDS) is None:
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDED)
    for order, settings, model in orders():
        child = os.fork()
        if child == 0:
            live(settings, model)
        answer(end(child, order["signal"], seconds=order["seconds"]))


if __name__ == "__main__":
    main()
