"""Who may do what on the page: names, roles, passwords."""

import re
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from daemon.clock import timestamp
from daemon.process.control import Answer, Arguments, Handlers, RefusedError
from daemon.store import users
from daemon.store.audit import Deed
from daemon.store.database import Database
from daemon.store.users import User

SHORTEST_PASSWORD: Final = 10
LONGEST_PASSWORD: Final = 1000
_NAME: Final = re.compile(r"\w[\w.@-]{0,63}")
_HASH: Final = re.compile(r"\$argon2id\$[^\n]{20,400}")
# 64 MiB and three passes, the library's own choice after RFC 9106: 50 ms on a line PC.
_HASHER: Final = PasswordHasher()
# Of a password that nobody knows: a login with a name that does not exist takes as long as any.
_NOBODY: Final = "$argon2id$v=19$m=65536,t=3,p=4$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"


class Role(StrEnum):
    """What somebody may do; each includes those before it."""

    LOOK = "look"
    LABEL = "label"
    ADMINISTER = "administer"

    def may(self, wanted: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(wanted)


def hash_password(password: str) -> str:
    """Raises RefusedError when the password is too short or too long."""
    if len(password) < SHORTEST_PASSWORD:
        raise RefusedError(
            f"a password needs at least {SHORTEST_PASSWORD} characters; three words that have "
            "nothing to do with each other make a good one"
        )
    if len(password) > LONGEST_PASSWORD:
        raise RefusedError(f"a password has at most {LONGEST_PASSWORD} characters")
    return _HASHER.hash(password)


def is_password(user: User | None, password: str) -> bool:
    """Whether this is the user's password; takes as long when there is no such user."""
    try:
        _HASHER.verify(_NOBODY if user is None else user.password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
    return user is not None


class Users:
    """Adds and removes users. The daemon's, or a command's that holds the instance lock."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def commands(self) -> Handlers:
        """What commands ask of a running daemon."""

        def add(arguments: Arguments) -> Answer:
            return {"role": self.add(**arguments)}

        def remove(arguments: Arguments) -> Answer:
            self.remove(**arguments)
            return {}

        return {"users add": add, "users remove": remove}

    def add(
        self, name: str, *, role: str | None, password_hash: str, by: str, replace: bool = False
    ) -> str:
        """Let somebody log in.

        Args:
            role: None for that which the user has; `label` for who is new.

        Returns:
            The role.

        Raises:
            RefusedError: when the name cannot be one or is taken, or the role is unknown.
            StoreError: nothing was changed.
        """
        name = name.strip().casefold()
        if not _NAME.fullmatch(name):
            raise RefusedError(
                f"{name!r} cannot be a user's name: use letters, digits, '.', '-', '_' and '@', at "
                "most 64"
            )
        if role is not None and role not in list(Role):
            raise RefusedError(f"there is no role {role!r}; there are {', '.join(Role)}")
        if not _HASH.fullmatch(password_hash):
            raise RefusedError("the password was not hashed by argon2")
        known = users.find_user(self._database, name)
        if known is not None and not replace:
            raise RefusedError(
                f"there is a user {name} already; --replace gives it another password and role"
            )
        role = role or (Role.LABEL.value if known is None else known.role)
        now = self._clock()
        user = User(name=name, role=role, password_hash=password_hash, added_at=timestamp(now))
        deed = "user added" if known is None else "user changed"
        users.put_user(self._database, user, _by_command(by, deed, f"{name}: {role}"), now)
        return role

    def remove(self, name: str, *, by: str) -> None:
        """End somebody's sessions, and let them log in no more.

        Raises:
            RefusedError: when there is no such user.
            StoreError: nothing was changed.
        """
        name = name.strip().casefold()
        deed = _by_command(by, "user removed", name)
        if not users.remove_user(self._database, name, deed, self._clock()):
            raise RefusedError(
                f"there is no user {name}; `millwatch users list` shows who there is"
            )


def _by_command(by: str, deed: str, what: str) -> Deed:
    return Deed(who=by, address="command", deed=deed, what=what)
