"""Runs the whole daemon in forked children, each for so long, and ends each with a signal.

torch takes seconds to import and a model a good part of a daemon's short life to load, so both are
done once here. Each line on the standard input, a JSON object, is a child; each line on the
standard output says how it ended. No thread is ever started here: a child would inherit its locks
without it.
"""

import os
import signal
from functools import partial

from forking import answer, fork
from zygotes import orders_with_model

from config.settings import Settings
from daemon.starting import serve
from models.registry import Model

STOP_SECONDS = 30.0
ENDED = {signal.SIGCHLD}


def live(settings: Settings, model: Model) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDED)
    serve(settings, load=lambda _: (model, None))


def end(child: int, number: int, *, seconds: float) -> None:
    """Let the child live for so long, then end it."""
    if signal.sigtimedwait(ENDED, seconds) is None:
        os.kill(child, number)
        if signal.sigtimedwait(ENDED, STOP_SECONDS) is None:
            os.kill(child, signal.SIGKILL)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDED)
    for order, settings, model in orders_with_model():
        child = fork(partial(live, settings, model))
        end(child, order["signal"], seconds=order["seconds"])
        answer(child)


if __name__ == "__main__":
    main()
