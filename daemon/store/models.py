"""The models that have served, and the one that does."""

import json
from datetime import datetime

from sqlalchemy import insert, select, update

from daemon.clock import timestamp
from daemon.store.database import Database
from daemon.store.schema import model
from models.checkpoint import Metadata


def remember_current(database: Database, metadata: Metadata, now: datetime) -> None:
    """Record which model serves from now on; the one before it is retired.

    Raises:
        StoreError: nothing was recorded.
    """
    with database.writing() as connection:
        is_current = model.c.status == "current"
        if connection.scalar(select(model.c.version).where(is_current)) == metadata.version:
            return
        connection.execute(update(model).where(is_current).values(status="retired"))
        seen = select(model.c.version).where(model.c.version == metadata.version)
        if connection.execute(seen).first():
            connection.execute(
                update(model)
                .where(model.c.version == metadata.version)
                .values(status="current", promoted_at=timestamp(now))
            )
            return
        connection.execute(
            insert(model).values(
                version=metadata.version,
                status="current",
                created_at=metadata.created_at,
                promoted_at=timestamp(now),
                trained_on=metadata.manifest_sha256,
                metrics=json.dumps(metadata.metrics),
            )
        )
