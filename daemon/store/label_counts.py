"""How many labels there are of which kind, kept as they are given and taken back."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from daemon.store.database import Database
from daemon.store.schema import image, label, label_tally

_KEY: Final = (
    func.substr(label.c.labelled_at, 1, 13).concat(":00:00Z").label("hour"),
    image.c.camera,
    label.c.labelled_by,
    image.c.verdict,
    func.coalesce(image.c.predicted_class, "").label("predicted_class"),
    label.c.label,
)


@dataclass(frozen=True, kw_only=True)
class LabelCount:
    """Labels in force of one kind.

    Attributes:
        hour: in which they were given, `YYYY-MM-DDTHH:00:00Z`.
        predicted_class: the network's first choice; "" where it had none.
        label: what the person decided.
    """

    hour: str
    camera: str
    labelled_by: str
    verdict: str
    predicted_class: str
    label: str
    labels: int


def count_label(connection: Connection, label_id: int, step: int) -> None:
    """Count a label in (1) or out (-1), in the transaction that gives or ends it."""
    query = select(*_KEY).join(image, image.c.id == label.c.image_id).where(label.c.id == label_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        return
    dialect_insert = postgresql_insert if connection.dialect.name == "postgresql" else sqlite_insert
    statement = dialect_insert(label_tally).values(**row, labels=step)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(label_tally.primary_key),
            set_={"labels": label_tally.c.labels + statement.excluded.labels},
        )
    )


def label_counts(
    database: Database,
    *,
    since: str | None = None,
    until: str | None = None,
    camera: str | None = None,
) -> list[LabelCount]:
    """Labels in force, oldest first.

    Args:
        since: first hour that counts, `YYYY-MM-DDTHH:00:00Z`.
        until: hours that begin then or later count no more.

    Raises:
        StoreError: when the database cannot be read.
    """
    query = select(label_tally).where(label_tally.c.labels > 0).order_by(label_tally.c.hour)
    if since is not None:
        query = query.where(label_tally.c.hour >= since)
    if until is not None:
        query = query.where(label_tally.c.hour < until)
    if camera is not None:
        query = query.where(label_tally.c.camera == camera)
    with database.reading() as connection:
        return [LabelCount(**row) for row in connection.execute(query).mappings()]
