"""Who comes in: logins, sessions, and programs that bring their password along."""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from config.web import Web
from daemon.store import users
from daemon.store.audit import Deed, record_deed
from daemon.store.database import Database
from daemon.store.users import User
from daemon.web.door.attempts import Attempts
from daemon.web.door.users import LONGEST_PASSWORD, Role, hash_password, is_password

log = structlog.get_logger(__name__)

OPEN_NAME: Final = "this computer"
"""Who labels where everybody at this computer may."""
_REMEMBER_SECONDS: Final = 60.0
_SECRET_BYTES: Final = 32


class TooManyAttemptsError(Exception):
    """Logins with this name, or from this address, failed too often."""

    def __init__(self, seconds: float) -> None:
        self.seconds = int(seconds) + 1
        minutes = -(-self.seconds // 60)
        super().__init__(f"too many logins have failed; try again in {minutes} min")


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Somebody who is let in.

    Attributes:
        token: what a browser must send with whatever changes something; None for a program that
            sends its password each time.
    """

    name: str
    role: Role
    address: str
    token: str | None


class Doorkeeper:
    """Safe between threads.

    Args:
        key: the file that keeps what the pages' tokens are made of where no session is.
    """

    def __init__(
        self, web: Web, database: Database, clock: Callable[[], datetime], *, key: Path
    ) -> None:
        self._web = web
        self._database = database
        self._clock = clock
        self._attempts = Attempts()
        # One at a time: each takes 64 MiB and four threads, which the line may need.
        self._verifying = threading.Lock()
        self._secret = secrets.token_bytes(_SECRET_BYTES)
        self._open_token = _page_token(_kept(key)) if web.open_on_loopback else None
        # One entry a user, put whole: threads need no lock for it.
        self._remembered: dict[str, tuple[bytes, float]] = {}

    def login(self, name: str, password: str, address: str) -> str | None:
        """The token of a new session; None when name and password do not fit.

        Raises:
            TooManyAttemptsError, StoreError
        """
        user = self._verified(name, password, address)
        if user is None:
            return None
        token, now, ends = self._new_session()
        deed = Deed(who=user.name, address=address, deed="login")
        users.begin_session(self._database, _digest(token), deed, now=now, ends=ends)
        return token

    def change_password(self, visitor: Visitor, old: str, new: str) -> str | None:
        """The token of a new session, in place of all that the user had; None when `old` is wrong.

        Raises:
            RefusedError: `new` cannot be a password.
            TooManyAttemptsError, StoreError
        """
        user = self._verified(visitor.name, old, visitor.address)
        if user is None:
            return None
        with self._verifying:
            hashed = hash_password(new)
        token, now, ends = self._new_session()
        deed = Deed(who=user.name, address=visitor.address, deed="password changed")
        changed = users.change_password(
            self._database, user, hashed, _digest(token), deed, now=now, ends=ends
        )
        return token if changed else None

    def _new_session(self) -> tuple[str, datetime, datetime]:
        now = self._clock()
        return secrets.token_urlsafe(32), now, now + timedelta(hours=self._web.session_hours)

    def visitor(self, token: str | None, address: str) -> Visitor | None:
        """Who holds this session; anybody, where the page is open. Raises StoreError."""
        if self._web.open_on_loopback:
            return Visitor(
                name=OPEN_NAME,
                role=Role.ADMINISTER,
                address=address,
                token=self._open_token,
            )
        if not token:
            return None
        user = users.session_user(self._database, _digest(token), self._clock())
        return None if user is None else _visitor(user, address, _page_token(_bytes(token)))

    def program(self, authorization: str, address: str) -> Visitor | None:
        """Who sends this `Authorization: Basic` header.

        Raises:
            TooManyAttemptsError, StoreError
        """
        name, password = _basic(authorization)
        user = users.find_user(self._database, _known_name(name))
        proof = self._proof(user, password)
        known, ends = self._remembered.get(user.name if user else "", (b"", 0.0))
        if not hmac.compare_digest(known, proof) or ends < time.monotonic():
            user = self._verified(name, password, address)
            if user is not None:
                # A camera that pushes cannot pay argon2 for each image.
                self._remembered[user.name] = proof, time.monotonic() + _REMEMBER_SECONDS
        return None if user is None else _visitor(user, address, None)

    def logout(self, token: str, visitor: Visitor) -> None:
        """Raises StoreError: the session goes on."""
        deed = Deed(who=visitor.name, address=visitor.address, deed="logout")
        users.end_session(self._database, _digest(token), deed, self._clock())

    def _verified(self, name: str, password: str, address: str) -> User | None:
        name = _known_name(name)
        keys = (f"user {name}", f"address {address}")
        user = users.find_user(self._database, name)
        with self._verifying:
            # Within the lock: of many tries at once, only the first few are looked at.
            wait = self._attempts.wait_seconds(keys, now=time.monotonic())
            if wait > 0:
                raise TooManyAttemptsError(wait)
            if len(password) <= LONGEST_PASSWORD and is_password(user, password):
                self._attempts.succeeded(keys[:1])
                return user
            self._attempts.failed(keys, now=time.monotonic())
        log.warning("login refused", name=name, address=address)
        deed = Deed(who=name, address=address, deed="login refused")
        record_deed(self._database, deed, self._clock())
        return None

    def _proof(self, user: User | None, password: str) -> bytes:
        stored = user.password_hash if user else ""
        text = f"{stored}\0{password}".encode("utf-8", "backslashreplace")
        return hmac.digest(self._secret, text, "sha256")


def _page_token(secret: bytes) -> str:
    """What no page of another origin can know. Made of what is kept: a restart makes no open page stale."""
    return hmac.new(secret, b"page", hashlib.sha256).hexdigest()


def _kept(key: Path) -> bytes:
    """The secret in this file; made where there is none. Where none can be written, one until the next start."""
    with suppress(OSError):
        secret = key.read_bytes()
        if len(secret) == _SECRET_BYTES:
            return secret
    secret = secrets.token_bytes(_SECRET_BYTES)
    with suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(key, flags, 0o600), "wb") as file:
            file.write(secret)
    return secret


def _visitor(user: User, address: str, token: str | None) -> Visitor:
    return Visitor(name=user.name, role=Role(user.role), address=address, token=token)


def _known_name(name: str) -> str:
    """As names are kept; what no name can be becomes text that the database can hold."""
    text = name.strip().casefold()[:100]
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        text = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, ValueError):
        return "", ""
    name, _, password = text.partition(":")
    return name, password


def _digest(token: str) -> str:
    return hashlib.sha256(_bytes(token)).hexdigest()


def _bytes(token: str) -> bytes:
    return token.encode("utf-8", "backslashreplace")
