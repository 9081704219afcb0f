"""Who may ask for what: each address of the page and the API names the role that it needs."""

import hmac
from typing import Annotated, Final

from fastapi import Depends, Request

from daemon.files.shares import Shares
from daemon.web.desk import Desk
from daemon.web.door.doorkeeper import Doorkeeper, Visitor
from daemon.web.door.guarding import without_port
from daemon.web.door.users import Role

TOKEN_HEADER: Final = "x-millwatch-token"  # noqa: S105 -- a header's name
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_OF_OURS: Final = frozenset({"same-origin", "none"})


class NotLoggedInError(Exception):
    """Nobody known asks."""


class MayNotError(Exception):
    """Whoever asks may not do this; the message says why."""


def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def shares_of(request: Request) -> Shares:
    shares: Shares = request.app.state.shares
    return shares


def doorkeeper_of(request: Request) -> Doorkeeper:
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    return doorkeeper


def cookie_name(desk: Desk) -> str:
    """With TLS, one that only this host can set, and only over TLS (RFC 6265bis, 4.1.3.2)."""
    return "__Host-millwatch" if desk.settings.web.tls_certificate else "millwatch"


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


def is_for_programs(request: Request) -> bool:
    """Whether programs ask for it, with their password in each request."""
    return request.url.path.startswith("/api/") or request.url.path == "/metrics"


def find_visitor(request: Request) -> Visitor | None:
    """Raises TooManyAttemptsError, StoreError."""
    doorkeeper, address = doorkeeper_of(request), address_of(request)
    token = request.cookies.get(cookie_name(desk_of(request)))
    visitor = doorkeeper.visitor(token, address)
    authorization = request.headers.get("authorization")
    if visitor is None and authorization and is_for_programs(request):
        visitor = doorkeeper.program(authorization, address)
    return visitor


def refuse_foreign(request: Request) -> None:
    """Refuse what a page of another origin makes a browser send.

    Raises:
        MayNotError
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    ours = {f"{request.url.scheme}://{host}"}
    if without_port(host) in desk_of(request).settings.web.host_names:
        ours.add(f"https://{host}")  # a server in front that has the certificate asks us by http
    if (site is not None and site not in _OF_OURS) or (origin is not None and origin not in ours):
        raise MayNotError("a page of another address asked for this")


class Needs:
    """That whoever asks has a role; and meant it, if it changes something."""

    def __init__(self, role: Role) -> None:
        self._role = role

    def __call__(self, request: Request) -> Visitor:
        """Raises NotLoggedInError, MayNotError."""
        visitor = find_visitor(request)
        if visitor is None:
            raise NotLoggedInError
        if request.method not in _SAFE_METHODS:
            refuse_foreign(request)
            _refuse_without_token(request, visitor)
        _refuse_below(self._role, visitor)
        return visitor


def who_sent(request: Request, token: str, role: Role = Role.LOOK) -> Visitor:
    """Whose form it is, which brings the page's token.

    Raises:
        NotLoggedInError, MayNotError
    """
    visitor = find_visitor(request)
    if visitor is None:
        raise NotLoggedInError
    refuse_foreign(request)
    _refuse_forged(visitor, token)
    _refuse_below(role, visitor)
    return visitor


def _refuse_below(role: Role, visitor: Visitor) -> None:
    if not visitor.role.may(role):
        raise MayNotError(
            f"{visitor.name} has the role {visitor.role}; this needs {role}. "
            "`millwatch users add --replace` gives another"
        )


def _refuse_without_token(request: Request, visitor: Visitor) -> None:
    sent = request.headers.get(TOKEN_HEADER)
    from_browser = "origin" in request.headers or "sec-fetch-site" in request.headers
    by_cookie = cookie_name(desk_of(request)) in request.cookies
    if visitor.token is None or (sent is None and not from_browser and not by_cookie):
        return  # a program: it has no cookie that a browser would send by itself
    _refuse_forged(visitor, sent or "")


def _refuse_forged(visitor: Visitor, sent: str) -> None:
    """Refuse what does not come with the token that our page alone knows."""
    known = (visitor.token or "").encode()
    if not known or not hmac.compare_digest(sent.encode("utf-8", "backslashreplace"), known):
        raise MayNotError("the page is out of date; load it again")


Looking = Annotated[Visitor, Depends(Needs(Role.LOOK))]
Labelling = Annotated[Visitor, Depends(Needs(Role.LABEL))]
Administering = Annotated[Visitor, Depends(Needs(Role.ADMINISTER))]
TheDesk = Annotated[Desk, Depends(desk_of)]
TheShares = Annotated[Shares, Depends(shares_of)]
