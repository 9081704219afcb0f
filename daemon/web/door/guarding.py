"""What holds for every request: its host, its size, and the headers of its answer."""

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.web import Web

UPLOADS: Final = "/api/inspections"
"""The one address that takes more than a little."""
_MOST_BYTES: Final = 1 << 16
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not "no-referrer": a browser then says that the login form comes from nowhere ("Origin: null").
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def came_by_tls(web: Web, headers: Headers) -> bool:
    """Whether a browser asked by TLS: us, or a server in front that has the certificate.

    Of that one the browser's own word tells, in what changes something; it counts for names of ours alone.
    """
    host = headers.get("host", "")
    is_ours = without_port(host) in web.host_names
    return web.tls_certificate is not None or (
        is_ours and headers.get("origin") == f"https://{host}"
    )


class Guard:
    """Stands before the application."""

    def __init__(self, app: ASGIApp, web: Web) -> None:
        self._app = app
        self._web = web
        names = set(web.host_names)
        # A page of elsewhere can let its name mean 127.0.0.1 (DNS rebinding): then it would be the
        # origin that reads this one. Beyond loopback there is always a login, whose cookie it lacks.
        self._names = names | _LOOPBACK_NAMES if web.on_loopback or names else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        asked = Headers(scope=scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                if came_by_tls(self._web, asked):
                    seconds = int(self._web.hsts_days * 24 * 3600)
                    headers["strict-transport-security"] = f"max-age={seconds}"
            await send(message)

        refusal = self._refusal(asked, scope["path"])
        if refusal is not None:
            await refusal(scope, receive, send_guarded)
            return
        small = scope["path"] != UPLOADS
        await self._app(scope, _bounded(receive) if small else receive, send_guarded)

    def _refusal(self, headers: Headers, path: str) -> JSONResponse | None:
        host = headers.get("host", "")
        if self._names is not None and without_port(host) not in self._names:
            detail = "the page is not served under this name; web.host_names may list it"
            return JSONResponse({"detail": detail}, 421)
        length = headers.get("content-length", "0")
        if path != UPLOADS and length.isdecimal() and int(length) > _MOST_BYTES:
            return JSONResponse({"detail": _TOO_LARGE}, 413)
        return None


_TOO_LARGE: Final = f"a request has at most {_MOST_BYTES} bytes"


def without_port(host: str) -> str:
    """The name that a `Host` header asks for."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()


def _bounded(receive: Receive) -> Receive:
    """Of a request that does not say how long it is."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > _MOST_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return bounded
