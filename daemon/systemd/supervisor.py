"""What systemd is told (sd_notify(3), sd_watchdog_enabled(3)); nothing where it did not ask."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

_SHARE: Final = 0.4
"""Of the time within which systemd wants to hear something."""


class Supervisor:
    """The service manager above this process.

    Args:
        environ: `NOTIFY_SOCKET` and `WATCHDOG_USEC` as systemd sets them.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every = _SHARE * int(environ.get("WATCHDOG_USEC", "0")) / 1e6 if ours else 0.0
        self._due = 0.0

    def ready(self, status: str) -> None:
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Until `ready` is told again."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def alive(self, status: str) -> None:
        """Told after each step of the work: if a step hangs, this stops, and systemd restarts us."""
        if self._every and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._every
            self._tell("WATCHDOG=1", f"STATUS={status}")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        name = self._address
        address = "\0" + name[1:] if name.startswith("@") else name
        # A manager that does not listen must not end the watch on a line.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect(address)
            notify.sendall("\n".join(lines).encode())
