"""The Unix socket in `state_dir` through which commands reach a running daemon.

One JSON object a line each way. The folder's permissions say who may ask.
"""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

SOCKET: Final = "millwatch.sock"
_MAX_REQUEST: Final = 1 << 16
_TIMEOUT_SECONDS: Final = 5.0

Answer = dict[str, Any]
Handlers = dict[str, Callable[[], Answer]]


class NoDaemonError(Exception):
    """No daemon answers on this state folder."""


class ControlServer:
    """Answers one request after the other, in a thread of its own."""

    def __init__(self, state_dir: Path, handlers: Handlers) -> None:
        self._handlers = handlers
        with _short_path(state_dir) as path:
            # Only the holder of the instance lock comes here: a socket that lies there is dead.
            Path(path).unlink(missing_ok=True)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.bind(path)
        self._path = state_dir / SOCKET
        self._path.chmod(0o660)
        self._socket.listen()
        self.thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed by `stop`
                return
            with connection:
                connection.settimeout(_TIMEOUT_SECONDS)
                with suppress(OSError):  # whoever asked has gone
                    connection.sendall(json.dumps(self._answer(connection)).encode() + b"\n")

    def _answer(self, connection: socket.socket) -> Answer:
        try:
            request = json.loads(_line(connection))
            handler = self._handlers[request["command"]]
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"not understood: {error}; this daemon knows {sorted(self._handlers)}"}
        return handler()


def ask(state_dir: Path, command: str) -> Answer:
    """Ask the daemon that runs on a state folder.

    Raises:
        NoDaemonError: when none answers.
    """
    try:
        with _short_path(state_dir) as path, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            connection.connect(path)
            connection.sendall(json.dumps({"command": command}).encode() + b"\n")
            answer: Answer = json.loads(_line(connection))
    except (OSError, ValueError) as error:
        raise NoDaemonError(f"no daemon answers in {state_dir}: {error}") from error
    return answer


def _line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and len(data) < _MAX_REQUEST:
        chunk = connection.recv(4096)
        if not chunk:
            break
        data += chunk
    return data


@contextmanager
def _short_path(state_dir: Path) -> Iterator[str]:
    """The socket's path by way of an open folder: the kernel takes 107 bytes at most."""
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)
