"""The thread that serves the page. Whatever becomes of it, the line is judged."""

import logging
import socket
import threading
from typing import TYPE_CHECKING, Final

import structlog

from config.document import bytes_of
from daemon.files.disks import Rooms
from daemon.web.desk import Desk

if TYPE_CHECKING:
    import uvicorn

log = structlog.get_logger(__name__)

_RETRY_SECONDS: Final = 2.0
_MOST_CONNECTIONS: Final = 512
_STOP_SECONDS: Final = 2
_SILENT_SECONDS: Final = 60
"""Then the other end is asked whether it is there, thrice: a tablet that left the network says no goodbye."""


class WebServer:
    """Serves the page until it is stopped; a port in use is a trouble, and is tried again."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._stopping = threading.Event()
        self._rooms = Rooms(desk.settings)
        self._server: uvicorn.Server | None = None
        self.thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True

    def _run(self) -> None:
        if not self._desk.settings.web.enabled:
            self._stopping.wait()
        while not self._stopping.is_set():
            try:
                self._serve()
            except (OSError, ValueError) as error:
                self._trouble(
                    f"{error}; see web.host, web.port, web.tls_certificate and web.tls_key"
                )
            except Exception as error:  # no page is a trouble; it must not end the watch on a line
                log.exception("page failed")
                self._trouble(f"{error!r}; see the log")
            self._stopping.wait(_RETRY_SECONDS)
        self._rooms.close(seconds=0.0)

    def _trouble(self, why: str) -> None:
        web = self._desk.settings.web
        self._desk.health.trouble(
            "page",
            f"the page cannot be served on {web.host} port {web.port}: {why}. Images are judged as "
            "ever; it is tried again",
        )

    def _serve(self) -> None:
        """Until it is stopped. Raises OSError, ValueError when the port or the certificate cannot be had."""
        web = self._desk.settings.web
        # Before all else: whoever comes meanwhile waits for the page, and is not turned away.
        with _listening(web.host, web.port) as listener:
            self._server = server = self._made()
            self._desk.health.mended("page")
            log.info("page", host=web.host, port=web.port, tls=web.tls_certificate is not None)
            if not self._stopping.is_set():
                server.run(sockets=[listener])

    def _made(self) -> "uvicorn.Server":
        # Imported here: it takes half a second and 20 MB, which judging need not wait for.
        import uvicorn  # noqa: PLC0415

        from daemon.web.app import create_app  # noqa: PLC0415

        web = self._desk.settings.web
        for file in filter(None, (web.tls_certificate, web.tls_key)):
            bytes_of(file)  # of a pipe OpenSSL would wait for a writer for ever
        config = uvicorn.Config(
            create_app(self._desk, self._rooms),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,  # an address that a client only claims would pass the limit of logins
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_STOP_SECONDS,
            ssl_certfile=web.tls_certificate,
            ssl_keyfile=web.tls_key,
        )
        config.load()
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        return uvicorn.Server(config)


def _listening(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    listener = socket.create_server((bare, port), family=family, backlog=128)
    # Those that it accepts have it from this one (socket(7), tcp(7)).
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, _SILENT_SECONDS),
        (socket.TCP_KEEPINTVL, _SILENT_SECONDS // 3),
        (socket.TCP_KEEPCNT, 3),
    ):
        listener.setsockopt(socket.IPPROTO_TCP, option, value)
    return listener
