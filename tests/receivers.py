"""What alarms are sent to, on loopback: a web server, a mail server with TLS, an MQTT broker."""

import base64
import io
import json
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


class WebServer(ThreadingHTTPServer):
    """Keeps what was posted. Answers the statuses in `answers` first, then 204.

    A `hold` that is set before a post keeps its answer back until it is released.
    """

    daemon_threads = True

    def __init__(
        self, port: int = 0, *, answers: Sequence[tuple[int, dict[str, str]]] = ()
    ) -> None:
        super().__init__(("127.0.0.1", port), _Poster)
        self.posts: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.tokens: list[str | None] = []
        self.answers = list(answers)
        self.hold = threading.Event()
        self.hold.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Poster(BaseHTTPRequestHandler):
    server: WebServer

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"] or 0)
        self.server.posts.append(json.loads(self.rfile.read(length) or b"{}"))
        self.server.paths.append(self.path)
        self.server.tokens.append(self.headers["Authorization"])
        self.server.hold.wait(60)
        status, headers = self.server.answers.pop(0) if self.server.answers else (204, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


class MailServer(socketserver.ThreadingTCPServer):
    """As much of RFC 5321, 3207 and 4954 as a client of ours speaks."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, context: ssl.SSLContext | None = None, password: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Clerk)
        self.context = context
        self.password = password
        self.letters: list[str] = []
        self.heard: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Clerk(socketserver.StreamRequestHandler):
    server: MailServer

    def say(self, *lines: str) -> None:
        for number, line in enumerate(lines, start=1):
            mark = " " if number == len(lines) else "-"
            self.wfile.write(f"{line[:3]}{mark}{line[4:]}\r\n".encode())
        self.wfile.flush()

    def handle(self) -> None:
        self.encrypted = False
        self.say("220 mail.plant")
        with suppress(OSError):  # whoever does not trust it hangs up
            while line := self.rfile.readline().decode("utf-8", "replace").strip():
                self.server.heard.append(line)
                verb = line.split()[0].upper()
                if not self.obey(verb, line):
                    break
        if self.encrypted:
            self.rfile.close()
            self.wfile.close()
            self.connection.close()
            self.rfile, self.wfile = io.BytesIO(), io.BytesIO()  # type: ignore[assignment]

    def obey(self, verb: str, line: str) -> bool:
        if verb in ("EHLO", "HELO"):
            offers = [] if self.server.context is None or self.encrypted else ["250 STARTTLS"]
            self.say("250 mail.plant", *offers, "250 AUTH PLAIN")
        elif verb == "STARTTLS" and self.server.context is not None:
            self.say("220 go ahead")
            wrapped = self.server.context.wrap_socket(self.connection, server_side=True)
            self.connection = wrapped
            self.rfile, self.wfile = wrapped.makefile("rb"), wrapped.makefile("wb")  # type: ignore[assignment]
            self.encrypted = True
        elif verb == "AUTH":
            given = base64.b64decode(line.split()[2]).decode().split("\0")[2]
            self.say("235 welcome" if given == self.server.password else "535 no")
        elif verb == "DATA":
            self.say("354 go on")
            text = b""
            while (part := self.rfile.readline()) != b".\r\n":
                text += part
            self.server.letters.append(text.decode())
            self.say("250 taken")
        elif verb == "RCPT" and "nobody@" in line:
            self.say("550 no such user here")
        elif verb == "QUIT":
            self.say("221 bye")
            return False
        else:
            self.say("250 ok")
        return True


class Dripping(socketserver.ThreadingTCPServer):
    """Sends a letter now and then, for three seconds; with a context, encrypted."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Drip)
        self.context = context

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Drip(socketserver.BaseRequestHandler):
    server: Dripping

    def handle(self) -> None:
        pause, context = threading.Event(), self.server.context
        with suppress(OSError):
            drip = context.wrap_socket(self.request, server_side=True) if context else self.request
            with drip:
                for _ in range(150):
                    drip.sendall(b"2")
                    pause.wait(0.02)


class HangingUp(socketserver.ThreadingTCPServer):
    """Resets each connection at its first byte, as what expects another protocol does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _HangUp)


class _HangUp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()


class Broker(socketserver.ThreadingTCPServer):
    """CONNECT, PUBLISH with QoS 1, DISCONNECT of MQTT 3.1.1. `refusal` is the code of CONNACK."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, refusal: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.refusal = refusal
        self.published: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.server_address[1]}"


class _Session(socketserver.StreamRequestHandler):
    server: Broker

    def handle(self) -> None:
        while head := self.rfile.read(1):
            size, shift = 0, 0
            while True:
                (digit,) = self.rfile.read(1)
                size |= (digit & 127) << shift
                shift += 7
                if digit < 128:
                    break
            packet = self.rfile.read(size)
            kind = head[0] >> 4
            if kind == 1:
                self.wfile.write(bytes([0x20, 2, 0, self.server.refusal]))
            elif kind == 3:
                length = int.from_bytes(packet[:2], "big")
                topic, rest = packet[2 : 2 + length].decode(), packet[2 + length :]
                self.server.published.append((topic, json.loads(rest[2:])))
                self.wfile.write(bytes([0x40, 2]) + rest[:2])
            elif kind == 14:
                return


@contextmanager
def listening(server: socketserver.TCPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def certificate_of(folder: Path, *, name: str = "localhost", days: int = 2) -> Path:
    """A certificate with its key, in one file; one of less than no days has expired."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with (Debian: apt install openssl)")
    file, key, made = folder / "both.pem", str(folder / "key"), str(folder / "certificate")
    request = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        f"-subj /CN={name} -addext subjectAltName=DNS:{name}"
    )
    signing = f"openssl x509 -days {days}"  # the one above takes no days that are over
    for command in (
        [*request.split(), "-keyout", key, "-out", made],
        [*signing.split(), "-in", made, "-signkey", key, "-out", made],
    ):
        subprocess.run(command, check=True, capture_output=True)
    file.write_bytes(Path(key).read_bytes() + Path(made).read_bytes())
    return file
