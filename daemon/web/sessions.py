"""Logging in and out."""

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from daemon.store import users
from daemon.web.access import (
    Looking,
    TheDesk,
    TheRenderer,
    address_of,
    cookie_name,
    doorkeeper_of,
    find_visitor,
    refuse_foreign,
)
from daemon.web.desk import Desk
from daemon.web.doorkeeper import TooManyAttemptsError

router = APIRouter(include_in_schema=False)

_LOST: Final = (
    "You were logged out meanwhile, and what you did last was not done. Log in, and do it again."
)


@router.get("/login")
def show_login(
    request: Request, desk: TheDesk, renderer: TheRenderer, lost: str | None = None
) -> Response:
    """`lost`: what somebody did last came after the end of the session."""
    if find_visitor(request) is not None:
        return RedirectResponse("/queue", 303)
    return _form(renderer, desk, "" if lost is None else _LOST)


@router.post("/login")
def login(
    request: Request,
    desk: TheDesk,
    renderer: TheRenderer,
    name: Annotated[str, Form()],
    password: Annotated[str, Form()],
) -> Response:
    """Always a new session: a token that somebody laid into the browser before is worth nothing."""
    refuse_foreign(request)
    try:
        token = doorkeeper_of(request).login(name, password, address_of(request))
    except TooManyAttemptsError as error:
        answer = _form(renderer, desk, f"{error}.".capitalize())
        answer.status_code = 429
        answer.headers["retry-after"] = str(error.seconds)
        return answer
    if token is None:
        answer = _form(renderer, desk, "The name or the password is wrong.")
        answer.status_code = 401
        return answer
    answer = RedirectResponse("/queue", 303)
    web = desk.settings.web
    # The origin was held against ours: by https it is where a server in front has the certificate.
    by_tls = web.tls_certificate is not None or request.headers.get("origin", "")[:6] == "https:"
    answer.set_cookie(
        cookie_name(desk),
        token,
        max_age=int(web.session_hours * 3600),
        httponly=True,
        samesite="strict",
        secure=by_tls,
    )
    return answer


@router.post("/logout")
def logout(request: Request, desk: TheDesk, visitor: Looking) -> Response:
    token = request.cookies.get(cookie_name(desk))
    if token:
        doorkeeper_of(request).logout(token, visitor)
    answer = Response(status_code=204)
    answer.delete_cookie(cookie_name(desk), secure=desk.settings.web.tls_certificate is not None)
    return answer


def _form(renderer: TheRenderer, desk: Desk, problem: str) -> Response:
    values = {"problem": problem, "first": not users.has_users(desk.database)}
    return renderer.page("login", None, values)
