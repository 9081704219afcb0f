"""Runs the whole daemon in forked children, each for so long, and ends each with a signal.

torch takes seconds to import and a model a good part of a daemon's short life to load, so both are
done once here. Each line on the standard input, a JSON object, is a child; each line on the
standard output says how it ended. No thread is ever started here: a child would inherit its locks
without it.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import numpy as np
import torch

from config.loading import load_settings
from config.logging import configure_logging
from config.settings import Settings
from daemon import service
from daemon.serving import load_serving_model
from models.registry import Model

STOP_SECONDS = 30.0
ENDED = {signal.SIGCHLD}


def live(settings: Settings, model: Model) -> None:
    """Never returns."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDED)
    setattr(service, "load_serving_model", lambda _: model)  # noqa: B010 -- no name it exports
    code = 1
    try:
        service.serve(settings)
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
    torch.set_num_threads(1)
    configure_logging()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDED)
    model: Model | None = None
    for line in sys.stdin:
        order = json.loads(line)
        settings = load_settings(Path(order["config"]), {})
        if model is None:
            model = load_serving_model(settings)
            for images_at_once in (1, 2):  # what torch prepares for a shape, the children inherit
                model.judge(np.zeros((images_at_once, *[model.input_size] * 2), dtype=np.uint8))
        child = os.fork()
        if child == 0:
            live(settings, model)
        status = end(child, order["signal"], seconds=order["seconds"])
        sys.stdout.write(json.dumps({"status": status}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
