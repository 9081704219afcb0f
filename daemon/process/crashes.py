"""The image that the decoder dies on, so that it does not end the service again and again.

A decoder is C code, and a file may end it and the process with it. What is being decoded is noted;
after a crash what was noted is first decoded in a process that may die.
"""

import faulthandler
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from daemon.names import to_text
from daemon.values import Delivery

log = structlog.get_logger(__name__)

TRACE: Final = "crash.txt"
_NOTES: Final = "decoding"
_TRIAL_SECONDS: Final = 60.0
_TRIAL: Final = """
import pathlib, sys
from models.preprocessing import UnreadableError, decode
path, max_pixels = pathlib.Path(sys.argv[1]), int(sys.argv[2])
try:
    decode(path.read_bytes(), size=64, max_pixels=max_pixels)
except (UnreadableError, OSError):
    pass
"""


def trace_crashes(state_dir: Path) -> None:
    """Have Python write down where the process dies, should it crash."""
    state_dir.mkdir(parents=True, exist_ok=True)
    # Never closed: it is written to when nothing else works any more.
    descriptor = os.open(state_dir / TRACE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    faulthandler.enable(descriptor)


class CrashGuard:
    """Remembers what is being decoded, and what was when the process before this one crashed."""

    def __init__(self, state_dir: Path, *, max_pixels: int) -> None:
        self._folder = state_dir / _NOTES
        self._notes: dict[str, int] = {}
        self._max_pixels = max_pixels
        trace = state_dir / TRACE
        self._suspects: set[str] = set()
        if trace.exists() and (text := trace.read_text(errors="replace")):
            self._suspects = self._noted()
            log.error("the service crashed", suspects=len(self._suspects), trace=text)
            os.truncate(trace, 0)

    def note(self, delivery: Delivery, *, by: str) -> None:
        """This is decoded next, by the thread of this name, which tells by `rest` when no more follows."""
        note = f"{_identity(delivery)}\n".encode()
        with suppress(OSError):  # a full disk; judging goes on without
            file = self._notes.get(by)
            if file is None:
                self._folder.mkdir(exist_ok=True)
                file = os.open(self._folder / by, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
                self._notes[by] = file
            # Over the note before it. Cut to nothing first, ext4 would bring each one to the disk as
            # it is closed, which took ten times as long as to decode the image (measured).
            os.pwrite(file, note, 0)

    def rest(self, *, by: str) -> None:
        """Nothing is decoded next by this thread. Its note stays, and is open no longer."""
        file = self._notes.pop(by, None)
        if file is not None:
            os.close(file)

    def crashes(self, delivery: Delivery) -> bool:
        """Whether the process dies that decodes it. Tried only for what may have ended the service."""
        if not self._suspects or (identity := _identity(delivery)) not in self._suspects:
            return False
        command = [sys.executable, "-P", "-c", _TRIAL, str(delivery.path), str(self._max_pixels)]
        try:
            ended = subprocess.run(  # noqa: S603 -- ourselves
                command, capture_output=True, timeout=_TRIAL_SECONDS, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return True
        if ended >= 0:
            self._suspects.discard(identity)
        return ended < 0

    def close(self) -> None:
        """Nothing is decoded any more."""
        for by in list(self._notes):
            self.rest(by=by)
        with suppress(OSError):
            shutil.rmtree(self._folder)

    def _noted(self) -> set[str]:
        if not self._folder.is_dir():
            return set()
        notes = [path.read_text(errors="replace") for path in self._folder.iterdir()]
        return {note.partition("\n")[0] for note in notes}  # behind it, the end of a longer one


def _identity(delivery: Delivery) -> str:
    """Of one line, whatever the name, and read alike whatever letters the locale writes."""
    parts = (to_text(delivery.filename), delivery.inode, delivery.size, delivery.mtime_ns)
    return ascii((delivery.camera, *parts))
