"""Messages of alarms, until they are delivered or given up; and what each alarm last told."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, func, insert, or_, select, update

from daemon.clock import moment, timestamp
from daemon.store.database import Database
from daemon.store.schema import UNDELIVERED, alarm_message, alarm_told

_KEPT: Final = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an alarm's last message said, by the name of each thing that holds."""

    holds: Mapping[str, str]
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A message on its way to one address.

    Attributes:
        address: the key of a `config.addresses.Address`.
        tries: of its address that failed since it waits.
    """

    id: int
    alarm: str
    address: str
    body: dict[str, Any]
    created_at: datetime
    tries: int


def told(database: Database) -> dict[str, Told]:
    """By the alarm's name. Raises StoreError."""
    with database.reading() as connection:
        return {
            row.alarm: Told(holds=json.loads(row.holds), at=moment(row.told_at))
            for row in connection.execute(select(alarm_told))
        }


def put(
    database: Database,
    alarm: str,
    holds: Mapping[str, str],
    body: Mapping[str, Any],
    addresses: Sequence[str],
    now: datetime,
) -> None:
    """Record a message to each address, and what it says, in one transaction.

    Raises:
        StoreError: nothing was recorded.
    """
    at = timestamp(now)
    with database.writing() as connection:
        connection.execute(delete(alarm_told).where(alarm_told.c.alarm == alarm))
        connection.execute(
            insert(alarm_told).values(alarm=alarm, holds=json.dumps(dict(holds)), told_at=at)
        )
        connection.execute(
            insert(alarm_message),
            [
                {
                    "alarm": alarm,
                    "address": address,
                    "body": json.dumps(dict(body)),
                    "created_at": at,
                    "tries": 0,
                    "state": "waiting",
                }
                for address in addresses
            ],
        )
        over = timestamp(now - _KEPT)
        connection.execute(
            delete(alarm_message).where(
                alarm_message.c.state != "waiting", alarm_message.c.ended_at < over
            )
        )


def first_waiting(database: Database) -> list[Waiting]:
    """The oldest message that waits for each address. Raises StoreError."""
    oldest = (
        select(func.min(alarm_message.c.id)).where(UNDELIVERED).group_by(alarm_message.c.address)
    )
    query = select(alarm_message).where(alarm_message.c.id.in_(oldest))
    with database.reading() as connection:
        return [_waiting(row) for row in connection.execute(query)]


def count_waiting(database: Database) -> dict[str, int]:
    """By alarm, those that have any. Raises StoreError."""
    query = (
        select(alarm_message.c.alarm, func.count())
        .where(UNDELIVERED)
        .group_by(alarm_message.c.alarm)
    )
    with database.reading() as connection:
        return {alarm: int(count) for alarm, count in connection.execute(query)}


def failed(database: Database, address: str, why: str) -> None:
    """Record a try that failed, of all that waits for an address: one alone is tried. Raises StoreError."""
    with database.writing() as connection:
        connection.execute(
            update(alarm_message)
            .where(UNDELIVERED, alarm_message.c.address == address)
            .values(tries=alarm_message.c.tries + 1, error=why)
        )


def end(
    database: Database, message_id: int, state: str, now: datetime, *, why: str | None = None
) -> None:
    """Record that a message is `delivered` or `given_up`. Raises StoreError."""
    values = {"state": state, "ended_at": timestamp(now)} | ({} if why is None else {"error": why})
    with database.writing() as connection:
        connection.execute(
            update(alarm_message).where(alarm_message.c.id == message_id).values(**values)
        )


def give_up(
    database: Database, address: str, until: datetime, now: datetime, *, fewest: int, why: str
) -> int:
    """Record that what waits for an address since then, or longer, is given up: how many messages.

    Not what had fewer tries, however old a clock that was set makes it; but what is of the time to come.

    Raises:
        StoreError: they wait on.
    """
    created_at = alarm_message.c.created_at
    old = or_(created_at <= timestamp(until), created_at > timestamp(now))
    with database.writing() as connection:
        return connection.execute(
            update(alarm_message)
            .where(UNDELIVERED, alarm_message.c.address == address)
            .where(old, alarm_message.c.tries >= fewest)
            .values(state="given_up", ended_at=timestamp(now), error=why)
        ).rowcount


def _waiting(row: Any) -> Waiting:
    return Waiting(
        id=row.id,
        alarm=row.alarm,
        address=row.address,
        body=json.loads(row.body),
        created_at=moment(row.created_at),
        tries=row.tries,
    )
