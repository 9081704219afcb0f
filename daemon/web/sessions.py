"""Logging in and out, and a password of one's own choice."""

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from daemon.process.control import RefusedError
from daemon.store import users
from daemon.web.access import (
    Looking,
    NotLoggedInError,
    TheDesk,
    TheRenderer,
    address_of,
    cookie_name,
    doorkeeper_of,
    find_visitor,
    refuse_foreign,
    refuse_forged,
)
from daemon.web.desk import Desk
from daemon.web.doorkeeper import OPEN_NAME, TooManyAttemptsError
from daemon.web.guarding import came_by_tls

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
        answer.headers.update(_retry_after(error))
        return answer
    if token is None:
        answer = _form(renderer, desk, "The name or the password is wrong.")
        answer.status_code = 401
        return answer
    answer = RedirectResponse("/queue", 303)
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
    visitor = find_visitor(request)
    if visitor is None or visitor.name == OPEN_NAME:
        raise NotLoggedInError
    refuse_foreign(request)
    refuse_forged(visitor, token)
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
def logout(request: Request, desk: TheDesk, visitor: Looking) -> Response:
    token = request.cookies.get(cookie_name(desk))
    if token:
        doorkeeper_of(request).logout(token, visitor)
    answer = Response(status_code=204)
    answer.delete_cookie(cookie_name(desk), secure=desk.settings.web.tls_certificate is not None)
    return answer


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


def _form(renderer: TheRenderer, desk: Desk, problem: str) -> Response:
    values = {"problem": problem, "first": not users.has_users(desk.database)}
    return renderer.page("login", None, values)
