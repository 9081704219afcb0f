"""The application: what is asked for where, and how a refusal is told."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse, Response

from daemon.files.disks import Rooms
from daemon.files.shares import Shares, SilentError
from daemon.process.control import RefusedError
from daemon.review.promptly import NotKnownError
from daemon.store.database import StoreError
from daemon.web.api import inspections, labelling, metrics, modelling, uploading
from daemon.web.api.pictures import NoPictureError, Pictures
from daemon.web.api.uploads import StalledError, TooLargeError
from daemon.web.desk import Desk
from daemon.web.door.access import Looking, MayNotError, NotLoggedInError, is_for_programs
from daemon.web.door.doorkeeper import Doorkeeper, TooManyAttemptsError
from daemon.web.door.guarding import Guard
from daemon.web.pages import deeds, looking, sessions
from daemon.web.pages.rendering import Renderer
from daemon.web.words import not_understood

log = structlog.get_logger(__name__)

_STATUS: Final[dict[type[Exception], HTTPStatus]] = {
    MayNotError: HTTPStatus.FORBIDDEN,
    NoPictureError: HTTPStatus.NOT_FOUND,
    NotKnownError: HTTPStatus.SERVICE_UNAVAILABLE,
    RefusedError: HTTPStatus.CONFLICT,
    SilentError: HTTPStatus.SERVICE_UNAVAILABLE,
    StalledError: HTTPStatus.REQUEST_TIMEOUT,
    StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}

_OF_ADDRESSES: Final = {
    "Not Found": "there is nothing at this address",
    "Method Not Allowed": "that cannot be done at this address",
}
"""What is said in place of the framework's words."""


def create_app(desk: Desk, rooms: Rooms | None = None) -> Guard:
    """The page and the API, as one ASGI application; whoever gives `rooms` closes them."""
    app = FastAPI(
        title="Millwatch",
        summary="Judges images beside a steel line; people look, label and promote models.",
        version="1",
        openapi_url="/api/openapi.json",
        docs_url=None,  # they load from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.desk = desk
    app.state.doorkeeper = Doorkeeper(
        desk.settings.web,
        desk.database,
        desk.clock,
        key=desk.settings.state_dir / "page.key",
    )
    app.state.shares = Shares(desk.settings)
    app.state.pictures = Pictures(desk, app.state.shares)
    app.state.renderer = Renderer(desk)
    app.state.rooms = rooms or Rooms(desk.settings)
    for module in (inspections, uploading, labelling, modelling):
        app.include_router(module.router, dependencies=[Depends(_known_keys)])
    for module in (sessions, looking, deeds, metrics):
        app.include_router(module.router)
    for kind, status in _STATUS.items():
        app.add_exception_handler(kind, _tell(status))
    app.add_exception_handler(NotLoggedInError, _not_logged_in)
    app.add_exception_handler(TooManyAttemptsError, _too_many)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(ClientDisconnect, _broken_off)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _failed)
    return Guard(app, desk.settings.web)


def _known_keys(request: Request, _: Looking) -> None:
    """Raises RequestValidationError: a key that is misspelt would let through all that it should keep out."""
    known = {each.alias for each in request.scope["route"].dependant.query_params}
    found = [
        {"type": "extra_forbidden", "loc": ("query", key)}
        for key in request.query_params
        if key not in known
    ]
    if found:
        raise RequestValidationError(found)


def _answer(
    request: Request, status: int, detail: str, headers: dict[str, str] | None = None
) -> Response:
    """JSON for programs, a page for people."""
    if not _is_for_people(request):
        return JSONResponse({"detail": detail}, status, headers)
    renderer: Renderer = request.app.state.renderer
    return renderer.refusal(status, detail, headers)


def _is_for_people(request: Request) -> bool:
    """Whether a browser shows the answer: to an address that was gone to, or to a form."""
    form = "text/html" in request.headers.get("accept", "")
    return not is_for_programs(request) and (request.method in ("GET", "HEAD") or form)


Handler = Callable[[Request, Exception], Awaitable[Response]]


def _tell(status: HTTPStatus) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        return _answer(request, status, str(error))

    return handle


async def _not_logged_in(request: Request, _: Exception) -> Response:
    if not _is_for_people(request):
        return JSONResponse({"detail": "log in first"}, HTTPStatus.UNAUTHORIZED)
    return RedirectResponse(sessions.login_address(request), HTTPStatus.SEE_OTHER)


async def _too_many(request: Request, error: Exception) -> Response:
    seconds = error.seconds if isinstance(error, TooManyAttemptsError) else 1
    return _answer(request, HTTPStatus.TOO_MANY_REQUESTS, str(error), {"retry-after": str(seconds)})


async def _not_understood(request: Request, error: Exception) -> Response:
    # Without what was sent: it may be a password, or text that no JSON can hold.
    found = error.errors() if isinstance(error, RequestValidationError) else []
    text = not_understood(found).encode("utf-8", "backslashreplace").decode()
    return _answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, text)


async def _broken_off(request: Request, _: Exception) -> Response:
    log.warning("a request was broken off", path=request.url.path)
    return Response(status_code=HTTPStatus.BAD_REQUEST)  # which nobody hears


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    detail = _OF_ADDRESSES.get(str(error.detail), str(error.detail))
    return _answer(request, error.status_code, detail, headers)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, error=repr(error), exc_info=error)
    return _answer(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "this failed in a way that nobody foresaw; the log says more",
    )
