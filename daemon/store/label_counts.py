"""How many labels there are of which kind, kept as they are given and taken back."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Connection, func, select

from daemon.store.database import Database, add_up
from daemon.store.schema import image, label, label_tally
from daemon.store.spans import Span

_KEY: Final = (
    func.substr(label.c.labelled_at, 1, 13).concat(":00:00Z").label("hour"),
    image.c.camera,
    label.c.labelled_by,
    image.c.verdict,
    func.coalesce(image.c.predicted_class, "").label("predicted_class"),
    label.c.label,
)


@dataclass(frozen=True, kw_only=True)
class Decided:
    """Labels in force of images that the network put first into one class.

    Attributes:
        predicted_class: "" where it had none.
        label: what people decided.
    """

    predicted_class: str
    label: str
    labels: int


@dataclass(frozen=True, kw_only=True)
class Given:
    """Labels in force that one person gave.

    Attributes:
        hour: in which they were given, `YYYY-MM-DDTHH:00:00Z`; "" where hours are counted together.
        camera: "" where cameras are counted together.
    """

    hour: str
    camera: str
    labelled_by: str
    labels: int


def count_label(connection: Connection, label_id: int, step: int) -> None:
    """Count a label in (1) or out (-1), in the transaction that gives or ends it."""
    query = select(*_KEY).join(image, image.c.id == label.c.image_id).where(label.c.id == label_id)
    row = connection.execute(query).mappings().first()
    rows = [] if row is None else [{**row, "labels": step}]
    add_up(connection, label_tally, rows, ["labels"])


def decided(database: Database, span: Span) -> list[Decided]:
    """What people decided of which class. Raises StoreError."""
    names = (label_tally.c.predicted_class, label_tally.c.label)
    return [
        Decided(predicted_class=predicted, label=name, labels=labels)
        for predicted, name, labels in _sums(database, names, span)
    ]


def given(database: Database, span: Span, *, by_camera: bool) -> list[Given]:
    """Who gave how many, by the hour or by the camera. Raises StoreError."""
    what = label_tally.c.camera if by_camera else label_tally.c.hour
    return [
        Given(
            hour="" if by_camera else which,
            camera=which if by_camera else "",
            labelled_by=person,
            labels=labels,
        )
        for which, person, labels in _sums(database, (what, label_tally.c.labelled_by), span)
    ]


def _sums(
    database: Database, by: tuple[Column[str], Column[str]], span: Span
) -> list[tuple[str, str, int]]:
    total = func.sum(label_tally.c.labels)
    query = select(*by, total).group_by(*by).having(total > 0).order_by(*by)
    query = query.where(*span.holds(label_tally.c.hour, label_tally.c.camera))
    with database.reading() as connection:
        return [(one, other, int(labels)) for one, other, labels in connection.execute(query)]
