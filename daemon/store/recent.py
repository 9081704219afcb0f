"""What was recorded last, and in the last minutes."""

from datetime import datetime

from sqlalchemy import func, select

from daemon.clock import moment
from daemon.store.database import Database
from daemon.store.schema import ANY_IMAGE, image
from models.taxonomy import Verdict


def recent_defects(
    database: Database, *, since: str, defect_class: str = "", camera: str = ""
) -> dict[str, int]:
    """Images with the verdict `defect` that were recorded since then, by camera.

    Only what was recorded since then is read, however many images there are: ids grow with time.

    Args:
        since: `YYYY-MM-DDTHH:MM:SSZ`.
        defect_class: of one class alone; of any when empty.
        camera: one alone; all when empty.

    Raises:
        StoreError: when the database cannot be read.
    """
    last_before = (
        select(image.c.id).where(image.c.recorded_at < since).order_by(image.c.id.desc()).limit(1)
    )
    query = (
        select(image.c.camera, func.count())
        .where(image.c.id > func.coalesce(last_before.scalar_subquery(), 0))
        .where(image.c.verdict == Verdict.DEFECT.value)
        .group_by(image.c.camera)
    )
    if defect_class:
        query = query.where(image.c.predicted_class == defect_class)
    if camera:
        query = query.where(image.c.camera == camera)
    with database.reading() as connection:
        return {name: int(count) for name, count in connection.execute(query)}


def latest_looks(database: Database, camera: str, count: int) -> list[tuple[str, float]]:
    """Content hash and brightness of so many latest images of a camera that could be read, the oldest first.

    Raises:
        StoreError: when the database cannot be read.
    """
    query = (
        select(image.c.sha256, image.c.brightness)
        .where(image.c.camera == camera, image.c.brightness.is_not(None), ANY_IMAGE)
        .order_by(image.c.id.desc())
        .limit(count)
    )
    with database.reading() as connection:
        return [(str(row.sha256), float(row.brightness)) for row in connection.execute(query)][::-1]


def last_recorded(database: Database, camera: str) -> datetime | None:
    """When the latest image of a camera was recorded; None where there is none.

    Raises:
        StoreError: when the database cannot be read.
    """
    query = select(image.c.recorded_at).where(image.c.camera == camera, ANY_IMAGE)
    with database.reading() as connection:
        at = connection.scalar(query.order_by(image.c.id.desc()).limit(1))
    return None if at is None else moment(at)
