"""The images that wait for a label, most instructive first."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, exists, func, select

from daemon.store.database import Database
from daemon.store.rates import recorded_cameras
from daemon.store.review_files import Problem
from daemon.store.schema import WAITING, image, review_file
from daemon.store.spans import Span
from models.taxonomy import UNKNOWN, Reason

_IN_REVIEW: Final = ("moved", "unseen")
# Nobody can look at it; what people deleted by the thousand would stand before all that is there.
_IS_MISSING: Final = exists().where(
    review_file.c.image_id == image.c.id, review_file.c.problem == Problem.MISSING.value
)


@dataclass(frozen=True, kw_only=True)
class Filter(Span):
    """Which of the waiting images, by when they were taken and more; None for all.

    Attributes:
        class_name: the predicted class, or `unknown`.
    """

    class_name: str | None = None
    reason: str | None = None


def queue(
    database: Database, wanted: Filter, *, after: tuple[float, int] | None = None, limit: int = 24
) -> list[tuple[float, int]]:
    """Images that wait for a label, most instructive first: how instructive, and the id.

    None whose file is told as missing: it waits again once that is back.

    Args:
        after: the last of the images that were had before.

    Raises:
        StoreError: when the database cannot be read.
    """
    with database.reading() as connection:
        rows = connection.execute(queue_statement(wanted, after=after, limit=limit))
        return [(row.instructive, row.id) for row in rows]


def queue_statement(
    wanted: Filter, *, after: tuple[float, int] | None, limit: int
) -> Select[tuple[float, int]]:
    """What `queue` asks. By the index `image_waiting`, however many wait."""
    query = _filtered(select(image.c.instructive, image.c.id), wanted)
    if after is not None:
        worth, image_id = after
        here = image.c.instructive
        query = query.where(here <= worth, (here < worth) | (image.c.id < image_id))
    return query.order_by(image.c.instructive.desc(), image.c.id.desc()).limit(limit)


def count_waiting(database: Database, wanted: Filter, *, most: int) -> int:
    """How many wait for a label; `most` where it is that many or more. Raises StoreError."""
    some = _filtered(select(image.c.id), wanted).limit(most).subquery()
    with database.reading() as connection:
        return int(connection.scalar(select(func.count()).select_from(some)) or 0)


def slip_in(
    database: Database,
    wanted: Filter,
    *,
    configured: Collection[str],
    classes: Collection[str] | None = None,
) -> str | None:
    """What no image can have would be told as an empty queue: in words, what is wrong with it.

    Args:
        configured: names of cameras; those that an image was recorded of are known too.
        classes: that there are; one that an image waits with is known too. None: any is taken.

    Raises:
        StoreError: when the database cannot be read.
    """
    if wanted.camera is not None and wanted.camera not in configured:
        cameras = {*configured, *recorded_cameras(database)}
        if wanted.camera not in cameras:
            there_are = ", ".join(sorted(cameras)) or "none"
            return f"there is no camera {wanted.camera!r}; there are {there_are}"
    if classes is not None and wanted.class_name not in (None, *classes):
        called = Filter(class_name=wanted.class_name)  # by a model that served before, perhaps
        if not count_waiting(database, called, most=1):
            return (
                f"there is no class {wanted.class_name!r}; there are {', '.join(sorted(classes))}"
            )
    reasons = sorted(each.value for each in Reason)
    if wanted.reason is not None and wanted.reason not in reasons:
        return f"no image has the reason {wanted.reason!r}; there are {', '.join(reasons)}"
    return None


def _filtered(query: Select[Any], wanted: Filter) -> Select[Any]:
    query = query.select_from(image).where(WAITING, image.c.progress.in_(_IN_REVIEW))
    query = query.where(~_IS_MISSING, *wanted.holds(image.c.captured_at, image.c.camera))
    if wanted.class_name == UNKNOWN:
        query = query.where(image.c.reason == Reason.UNKNOWN.value)
    elif wanted.class_name is not None:
        query = query.where(image.c.predicted_class == wanted.class_name)
    if wanted.reason is not None:
        query = query.where(image.c.reason == wanted.reason)
    return query
