"""The people who may use the page, and their sessions."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from daemon.clock import timestamp
from daemon.store.audit import Deed, note
from daemon.store.database import Database
from daemon.store.schema import web_session, web_user


@dataclass(frozen=True, kw_only=True)
class User:
    """Somebody who may log in.

    Attributes:
        role: a `daemon.web.door.users.Role`.
        password_hash: argon2, with its salt and cost.
        added_at: UTC, `YYYY-MM-DDTHH:MM:SSZ`.
    """

    name: str
    role: str
    password_hash: str
    added_at: str


def put_user(database: Database, user: User, deed: Deed, now: datetime) -> None:
    """Add a user, or give one another role and password, whose sessions then end.

    Raises:
        StoreError: nothing was changed.
    """
    with database.writing() as connection:
        connection.execute(delete(web_session).where(web_session.c.user_name == user.name))
        connection.execute(delete(web_user).where(web_user.c.name == user.name))
        connection.execute(
            insert(web_user).values(
                name=user.name,
                role=user.role,
                password_hash=user.password_hash,
                added_at=user.added_at,
            )
        )
        note(connection, deed, now)


def remove_user(database: Database, name: str, deed: Deed, now: datetime) -> bool:
    """Whether there was one. Raises StoreError."""
    with database.writing() as connection:
        connection.execute(delete(web_session).where(web_session.c.user_name == name))
        removed = connection.execute(delete(web_user).where(web_user.c.name == name)).rowcount
        if removed:
            note(connection, deed, now)
    return bool(removed)


def all_users(database: Database) -> list[User]:
    """By name. Raises StoreError."""
    with database.reading() as connection:
        rows = connection.execute(select(web_user).order_by(web_user.c.name))
        return [User(**row._asdict()) for row in rows]


def find_user(database: Database, name: str) -> User | None:
    """Raises StoreError."""
    with database.reading() as connection:
        row = connection.execute(select(web_user).where(web_user.c.name == name)).first()
    return None if row is None else User(**row._asdict())


def has_users(database: Database) -> bool:
    """Raises StoreError."""
    with database.reading() as connection:
        return connection.execute(select(web_user.c.name).limit(1)).first() is not None


def begin_session(
    database: Database, token_sha256: str, deed: Deed, *, now: datetime, ends: datetime
) -> None:
    """Let the one who did `deed` stay until `ends`; sessions that are over are forgotten.

    Raises:
        StoreError: there is no session.
    """
    with database.writing() as connection:
        connection.execute(delete(web_session).where(web_session.c.ends_at <= timestamp(now)))
        _begin(connection, token_sha256, deed, now=now, ends=ends)
        note(connection, deed, now)


def change_password(
    database: Database,
    user: User,
    password_hash: str,
    token_sha256: str,
    deed: Deed,
    *,
    now: datetime,
    ends: datetime,
) -> bool:
    """Give a user another password; a new session takes the place of all others.

    Returns:
        Whether the user was still as given.

    Raises:
        StoreError: nothing was changed.
    """
    as_known = (web_user.c.name == user.name, web_user.c.password_hash == user.password_hash)
    with database.writing() as connection:
        changed = connection.execute(
            update(web_user).where(*as_known).values(password_hash=password_hash)
        ).rowcount
        if changed:
            connection.execute(delete(web_session).where(web_session.c.user_name == user.name))
            _begin(connection, token_sha256, deed, now=now, ends=ends)
            note(connection, deed, now)
    return bool(changed)


def _begin(
    connection: Connection, token_sha256: str, deed: Deed, *, now: datetime, ends: datetime
) -> None:
    connection.execute(
        insert(web_session).values(
            token_sha256=token_sha256,
            user_name=deed.who,
            begun_at=timestamp(now),
            ends_at=timestamp(ends),
        )
    )


def session_user(database: Database, token_sha256: str, now: datetime) -> User | None:
    """Whose session this is, if it is not over. Raises StoreError."""
    query = (
        select(web_user)
        .join(web_session, web_session.c.user_name == web_user.c.name)
        .where(web_session.c.token_sha256 == token_sha256, web_session.c.ends_at > timestamp(now))
    )
    with database.reading() as connection:
        row = connection.execute(query).first()
    return None if row is None else User(**row._asdict())


def end_session(database: Database, token_sha256: str, deed: Deed, now: datetime) -> None:
    """Raises StoreError: the session goes on."""
    with database.writing() as connection:
        connection.execute(delete(web_session).where(web_session.c.token_sha256 == token_sha256))
        note(connection, deed, now)
