"""`python -m daemon.retraining.lowly RUN_DIR MEMORY_BYTES`: training that gives way to everything else."""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
_IDLE_CLASS: Final = 3 << 13


def main(run_folder: str, memory_bytes: str) -> None:
    """Take the lowest priorities and a bound on memory, and become the training."""
    libc = ctypes.CDLL(None, use_errno=True)
    # It must not outlive a daemon that is killed: the next one would start another beside it.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(19)
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        libc.syscall(number, 1, 0, _IDLE_CLASS)
    with suppress(ValueError, OSError):  # a lower bound is set already
        resource.setrlimit(resource.RLIMIT_DATA, (int(memory_bytes), int(memory_bytes)))
    os.execv(sys.executable, [sys.executable, "-m", "training", run_folder])  # noqa: S606 -- ourselves


if __name__ == "__main__":
    main(*sys.argv[1:])
