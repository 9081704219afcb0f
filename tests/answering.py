"""A daemon of which there is only the socket: it answers what a test lets it, and does nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.process.control import ControlServer, Handlers


@contextmanager
def answering(state_dir: Path, handlers: Handlers) -> Iterator[ControlServer]:
    server = ControlServer(state_dir, handlers)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.thread.join(timeout=10)
        assert not server.thread.is_alive()
