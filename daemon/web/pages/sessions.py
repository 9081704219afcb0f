"""Logging in and out, and a password of one's own choice."""

import re
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from daemon.process.control import RefusedError
from daemon.store import users
from daemon.web.desk import Desk
from daemon.web.door.access import (
    Looking,
    NotLoggedInError,
    TheDesk,
    address_of,
    cookie_name,
    doorkeeper_of,
    find_visitor,
    refuse_foreign,
    who_sent,
)
from daemon.web.door.doorkeeper import OPEN_NAME, TooManyAttemptsError
from daemon.web.door.guarding import came_by_tls
from daemon.web.pages.rendering import TheRenderer

router = APIRouter(include_in_schema=False)

_LOST: Final = (
    "You were logged out meanwhile, and what you did last was not done. Log in, and do it again."
)
# Of pages of ours alone: a login must lead nobody elsewhere.
_PLACE: Final = re.compile(
    r"/(queue|line|model|audit|password|images/[0-9]{1,18})(\?[!-~]{0,1000})?"
)


def login_address(request: Request) -> str:
    """Where somebody logs in who asked for a page; and comes back to it."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.method != "GET" or not _PLACE.fullmatch(asked):
        return "/login"
    return "/login?" + urlencode({"next": asked})


@router.get("/login")
def show_login(
    request: Request,
    desk: TheDesk,
    renderer: TheRenderer,
    lost: str | None = None,
    place: Annotated[str, Query(alias="next")] = "",
) -> Response:
    """`lost`: what somebody did last came after the end of the session."""
    if find_visitor(request) is not None:
        return RedirectResponse(_known_place(place), 303)
    return _form(renderer, desk, "" if lost is None else _LOST, place)


@router.post("/login")
def login(
    request: Request,
    desk: TheDesk,
    renderer: TheRenderer,
    name: Annotated[str, Form()],
    password: Annotated[str, Form()],
    place: Annotated[str, Form(alias="next")] = "",
) -> Response:
    """Always a new session: a token that somebody laid into the browser before is worth nothing."""
    refuse_foreign(request)
    try:
        token = doorkeeper_of(request).login(name, password, address_of(request))
    except TooManyAttemptsError as error:
        answer = _form(renderer, desk, f"{error}.".capitalize(), place, name)
        answer.status_code = 429
        answer.headers.update(_retry_after(error))
        return answer
    if token is None:
        answer = _form(renderer, desk, "The name or the password is wrong.", place, name)
        answer.status_code = 401
        return answer
    answer = RedirectResponse(_known_place(place), 303)
    _let_in(answer, request, desk, token)
    return answer


@router.get("/password")
def show_password(visitor: Looking, renderer: TheRenderer, changed: str | None = None) -> Response:
    """`changed`: it just was."""
    if visitor.name == OPEN_NAME:
        return RedirectResponse("/queue", 303)
    return renderer.page("password", visitor, {"problem": "", "changed": changed is not None})


@router.post("/password")
def change_password(
    request: Request,
    desk: TheDesk,
    renderer: TheRenderer,
    token: Annotated[str, Form()],
    old: Annotated[str, Form()],
    new: Annotated[str, Form()],
    again: Annotated[str, Form()],
) -> Response:
    """A user's own. Every other session of that user ends."""
    visitor = who_sent(request, token)
    if visitor.name == OPEN_NAME:
        raise NotLoggedInError
    status, problem, session, headers = 422, "The two new passwords differ.", None, {}
    try:
        if new == again:
            status, problem = 401, "The old password is wrong."
            session = doorkeeper_of(request).change_password(visitor, old, new)
    except RefusedError as error:
        status, problem = 422, f"Your password is as before: {error}."
    except TooManyAttemptsError as error:
        status, problem, headers = 429, f"{error}.".capitalize(), _retry_after(error)
    if session is None:
        answer: Response = renderer.page(
            "password", visitor, {"problem": problem, "changed": False}
        )
        answer.status_code = status
        answer.headers.update(headers)
        return answer
    answer = RedirectResponse("/password?changed=yes", 303)
    _let_in(answer, request, desk, session)
    return answer


@router.post("/logout")
def logout(request: Request, desk: TheDesk, token: Annotated[str, Form()] = "") -> Response:
    visitor = who_sent(request, token)
    session = request.cookies.get(cookie_name(desk))
    if session:
        doorkeeper_of(request).logout(session, visitor)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(cookie_name(desk), secure=desk.settings.web.tls_certificate is not None)
    return answer


def _known_place(place: str) -> str:
    return place if _PLACE.fullmatch(place) else "/queue"


def _let_in(answer: Response, request: Request, desk: Desk, token: str) -> None:
    answer.set_cookie(
        cookie_name(desk),
        token,
        max_age=int(desk.settings.web.session_hours * 3600),
        httponly=True,
        samesite="strict",
        # The origin was held against ours.
        secure=came_by_tls(desk.settings.web, request.headers),
    )


def _retry_after(error: TooManyAttemptsError) -> dict[str, str]:
    return {"retry-after": str(error.seconds)}


def _form(renderer: TheRenderer, desk: Desk, problem: str, place: str, name: str = "") -> Response:
    """`name`: as it was typed; the password alone is to be typed again."""
    first = not users.has_users(desk.database)
    values = {"problem": problem, "first": first, "place": _known_place(place), "name": name}
    return renderer.page("login", None, values)
