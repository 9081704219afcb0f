"""The Unix socket in `state_dir` through which commands reach a running daemon.

One JSON object a line each way. The folder's permissions say who may ask.
"""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

SOCKET: Final = "millwatch.sock"
_MAX_REQUEST: Final = 1 << 16
_TIMEOUT_SECONDS: Final = 5.0

Answer = dict[str, Any]
Arguments = Mapping[str, Any]
Handlers = dict[str, Callable[[Arguments], Answer]]
"""By the command's name, from its arguments (JSON values) to what is answered."""


class RefusedError(Exception):
    """What a command asked for is not done, and nothing was changed; the message says why."""


class NoDaemonError(Exception):
    """No daemon answers on this state folder."""


class NoAnswerError(Exception):
    """What was asked of a daemon was not answered, and may be done or not; the message says more."""


class NotAskedError(NoAnswerError):
    """There is a socket on this state folder, but this user could not ask there: nothing was done."""


class ControlServer:
    """Answers each request in a thread of its own: one who asks slowly keeps nobody waiting."""

    def __init__(self, state_dir: Path, handlers: Handlers) -> None:
        self._handlers = handlers
        self._stopping = threading.Event()
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
        self._stopping.set()
        with suppress(OSError):  # a disk that became read-only; the next start removes it
            self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError as error:  # closed by `stop`, or no file descriptor is left for now
                if not self._stopping.wait(1.0):
                    log.warning("a request could not be taken", error=str(error))
                continue
            answering = threading.Thread(target=self._converse, args=(connection,), daemon=True)
            answering.start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # whoever asked has gone, or says nothing
            connection.settimeout(_TIMEOUT_SECONDS)
            with connection.makefile("rb") as lines:
                request = lines.readline(_MAX_REQUEST)
            connection.sendall(json.dumps(self._answer(request)).encode() + b"\n")

    def _answer(self, request: bytes) -> Answer:
        try:
            asked = json.loads(request)
            handler, arguments = self._handlers[asked["command"]], asked.get("arguments", {})
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return {"error": f"not understood: {error}; this daemon knows {sorted(self._handlers)}"}
        try:
            return handler(arguments)
        except RefusedError as error:
            return {"refused": str(error)}
        except NoAnswerError as error:
            return {"error": str(error)}
        except Exception as error:
            # A question that cannot be answered now must not end the watch on a line.
            log.exception("request failed")
            return {"error": f"{type(error).__name__}: {error}"}


def ask(
    state_dir: Path, command: str, *, seconds: float = _TIMEOUT_SECONDS, **arguments: Any
) -> Answer:
    """Ask the daemon that runs on a state folder.

    Args:
        seconds: how long to wait for the answer.
        arguments: JSON values, for the command's handler.

    Raises:
        RefusedError: when the daemon says that it may not be done.
        NoDaemonError: when none runs there.
        NotAskedError: when one may, but could not be asked.
        NoAnswerError: when one was asked, and is stuck or could not answer.
    """
    try:
        connection = _connected(state_dir, seconds)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise NoDaemonError(f"no daemon runs on {state_dir}") from error
    except OSError as error:
        raise NotAskedError(
            f"the daemon on {state_dir} could not be asked: {error}; see whether this user may "
            "write to that folder"
        ) from error
    try:
        with connection, connection.makefile("rb") as lines:
            request = {"command": command, "arguments": arguments}
            connection.sendall(json.dumps(request).encode() + b"\n")
            told = lines.readline()
            if not told:
                raise ConnectionResetError("it has ended meanwhile")
            answer: Answer = json.loads(told)
    except (OSError, ValueError) as error:
        raise NoAnswerError(
            f"the daemon on {state_dir} gave no answer to {command!r}: {error}; see its log"
        ) from error
    if "refused" in answer:
        raise RefusedError(answer["refused"])
    if "error" in answer:
        raise NoAnswerError(
            f"the daemon on {state_dir} could not answer {command!r}: {answer['error']}"
        )
    return answer


def _connected(state_dir: Path, seconds: float) -> socket.socket:
    """Raises OSError."""
    with _short_path(state_dir) as path:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(seconds)
            connection.connect(path)
        except OSError:
            connection.close()
            raise
    return connection


@contextmanager
def _short_path(state_dir: Path) -> Iterator[str]:
    """The socket's path by way of an open folder: the kernel takes 107 bytes at most."""
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)
