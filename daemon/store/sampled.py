"""What people found among the passed images that were drawn to be looked at: the defects missed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from daemon.store.database import Database
from daemon.store.review_files import torn_images
from daemon.store.schema import IN_FORCE, SAMPLED, WAITING, image, label, tally
from daemon.store.spans import Span
from models.binomial import interval
from models.taxonomy import Verdict


@dataclass(frozen=True, kw_only=True)
class MissedDefects:
    """How many of the images that passed are defects, as far as the sample tells.

    Attributes:
        passed: images that passed, drawn or not.
        sampled: those of them that were drawn, and are labelled or wait for it.
        labelled: those that people labelled, without contradicting themselves.
        missed: labelled as something that may not pass.
        rate: missed / labelled; None before the first label.
        low, high: the two-sided 95 % interval of that rate (Clopper and Pearson); 0 and 1 before
            the first label. It holds for what passed, as chance drew the sample.
    """

    passed: int
    sampled: int
    labelled: int
    missed: int
    rate: float | None
    low: float
    high: float


def missed_defects(
    database: Database, span: Span, *, normal_classes: Sequence[str]
) -> MissedDefects:
    """The share of passed images that are defects, with its exact interval.

    Args:
        span: in which the images were taken, of whole hours.
        normal_classes: the labels of images that pass rightly (`policy.normal_classes`).

    Raises:
        StoreError: when the database cannot be read.
    """
    bounds = span.holds(image.c.captured_at, image.c.camera)
    given = (
        select(image.c.id, label.c.label)
        .select_from(image)
        .join(label, label.c.image_id == image.c.id)
        .where(IN_FORCE, SAMPLED, *bounds)
    )
    waiting = select(func.count()).select_from(image).where(WAITING, SAMPLED, *bounds)
    passing = select(func.sum(tally.c.images)).where(
        tally.c.verdict == Verdict.PASS.value, *span.holds(tally.c.hour, tally.c.camera)
    )
    # A label stands also where its file was cleared away since: most are of what is sound.
    torn = torn_images(database)
    with database.reading() as connection:
        rows = connection.execute(given)
        labels = Counter(name for image_id, name in rows if image_id not in torn)
        still_waiting = int(connection.scalar(waiting) or 0)
        passed = int(connection.scalar(passing) or 0)
    labelled = labels.total()
    missed = sum(images for name, images in labels.items() if name not in normal_classes)
    low, high = interval(missed, labelled)
    return MissedDefects(
        passed=passed,
        sampled=labelled + still_waiting,
        labelled=labelled,
        missed=missed,
        rate=missed / labelled if labelled else None,
        low=low,
        high=high,
    )
