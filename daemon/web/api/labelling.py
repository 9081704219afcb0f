"""What waits for a label, and the labels that people give it."""

import re
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException

from daemon.files.shares import Shares, SilentError
from daemon.process.control import RefusedError
from daemon.review.promptly import NotKnownError, PromptLabeller
from daemon.store import labels, queueing, viewing
from daemon.store.database import StoreError
from daemon.store.queueing import Filter
from daemon.web.api.documents import (
    Classes,
    Done,
    Given,
    InReview,
    Inspection,
    Label,
    Labels,
    ManyGiven,
    ManyLabels,
    ManyTakenBack,
    ManyUndos,
    NewLabel,
    Queue,
    Refused,
    SeenImage,
    Trouble,
    Undo,
)
from daemon.web.api.inspections import ImageId, existing, refuse_slip
from daemon.web.desk import Desk
from daemon.web.door.access import Labelling, Looking, TheDesk, TheShares
from daemon.web.door.doorkeeper import Visitor
from daemon.web.words import local_time

router = APIRouter(prefix="/api", tags=["labels"])

Result = TypeVar("Result")
_MOST_COUNTED: Final = 10_000
"""Nobody needs to know more exactly, and to count takes time."""
_CURSOR: Final = re.compile(r"([0-9.e-]{1,25})_([0-9]{1,18})")
_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": Trouble},
    409: {"model": Trouble},
}


@router.get("/queue")
def queue(
    desk: TheDesk,
    shares: TheShares,
    _: Looking,
    camera: Annotated[str | None, Query(max_length=64)] = None,
    class_name: Annotated[str | None, Query(alias="class", max_length=64)] = None,
    day: Annotated[str | None, Query(max_length=10)] = None,
    reason: Annotated[str | None, Query(max_length=64)] = None,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 24,
) -> Queue:
    """Images that wait for a label, most instructive first.

    `class` may be `unknown`; `day` is one of the plant's, in its time zone, such as 2026-01-31.
    """
    since, until = (None, None) if day is None else desk.calendar.span_of_day(_date(day))
    wanted = Filter(camera=camera, class_name=class_name, since=since, until=until, reason=reason)
    refuse_slip(desk, wanted)
    found = queueing.queue(desk.database, wanted, after=_cursor(after), limit=limit)
    return Queue(
        waiting=queueing.count_waiting(desk.database, wanted, most=_MOST_COUNTED),
        images=[each for _, image_id in found if (each := _in_review(desk, shares, image_id))],
        next=f"{found[-1][0]!r}_{found[-1][1]}" if len(found) == limit else None,
    )


@router.get("/classes")
def classes(desk: TheDesk, shares: TheShares, _: Looking) -> Classes:
    """What an image can be labelled, in the order of the number keys. A new name makes a class."""
    return Classes(classes=shares.review.look(desk.labeller.names))


@router.get("/inspections/{image_id}/labels", responses={404: {"model": Trouble}})
def labels_of(desk: TheDesk, _: Looking, image_id: ImageId) -> Labels:
    """Every label that an image has or had."""
    existing(desk, image_id)
    past = [Label.model_validate(each) for each in labels.history(desk.database, image_id)]
    in_force = next((each for each in past if each.undone_at is None), None)
    return Labels(in_force=in_force, history=past)


@router.post("/inspections/{image_id}/label", responses=_REFUSED)
def label(
    desk: TheDesk, shares: TheShares, visitor: Labelling, image_id: ImageId, wanted: NewLabel
) -> Given:
    """Label an image. 409 when somebody else did, since `seen`."""
    existing(desk, image_id)
    return _give(desk, shares, visitor, image_id, wanted)


@router.post("/inspections/{image_id}/undo", responses=_REFUSED)
def undo(
    desk: TheDesk, shares: TheShares, visitor: Labelling, image_id: ImageId, wanted: Undo
) -> Done:
    """Take a label back: the image waits again. 409 when another one is in force by now."""
    existing(desk, image_id)
    labeller = _labeller(desk, shares)
    labeller.undo(image_id, visitor.name, seen=wanted.seen, address=visitor.address)
    return Done()


@router.post("/labels")
def label_many(
    desk: TheDesk, shares: TheShares, visitor: Labelling, wanted: ManyLabels
) -> ManyGiven:
    """Label several images alike. What was refused is told for each; the others are labelled."""

    def give(image: SeenImage) -> Given:
        new = NewLabel(label=wanted.label, seen=image.seen)
        return _give(desk, shares, visitor, image.id, new)

    done, refused = _each(wanted.images, give)
    return ManyGiven(done=done, refused=refused)


@router.post("/labels/undo")
def undo_many(
    desk: TheDesk, shares: TheShares, visitor: Labelling, wanted: ManyUndos
) -> ManyTakenBack:
    """Take several labels back, of each image the one that is `seen`. Otherwise as `/api/labels`."""
    labeller = _labeller(desk, shares)

    def take_back(image: SeenImage) -> int:
        labeller.undo(image.id, visitor.name, seen=image.seen, address=visitor.address)
        return image.id

    done, refused = _each(wanted.images, take_back)
    return ManyTakenBack(done=done, refused=refused)


def _each(
    images: list[SeenImage], change: Callable[[SeenImage], Result]
) -> tuple[list[Result], list[Refused]]:
    """What came of each, one after the other; one that is refused holds up no other."""
    done: list[Result] = []
    refused: list[Refused] = []
    for number, image in enumerate(images):
        try:
            done.append(change(image))
        except (RefusedError, SilentError, NotKnownError) as error:
            refused.append(Refused(id=image.id, detail=str(error)))
        except StoreError as error:  # which the next ones would wait for as long
            refused += [Refused(id=each.id, detail=str(error)) for each in images[number:]]
            break
    return done, refused


def _labeller(desk: Desk, shares: Shares) -> PromptLabeller:
    return PromptLabeller(desk.labeller, database=desk.database, shares=shares)


def _give(desk: Desk, shares: Shares, visitor: Visitor, image_id: int, wanted: NewLabel) -> Given:
    given = _labeller(desk, shares).label(
        image_id, wanted.label, visitor.name, seen=wanted.seen, address=visitor.address
    )
    return Given(id=image_id, label_id=given)


def _in_review(desk: Desk, shares: Shares, image_id: int) -> InReview | None:
    """None: its record was deleted between two reads. Raises SilentError."""
    viewed = viewing.view(desk.database, image_id)
    if viewed is None:
        return None
    return InReview(
        **Inspection.of(viewed).model_dump(),
        seen=0,
        missing=viewed.path is None or shares.is_missing(viewed.path),
        captured_local=local_time(viewed.captured_at, desk.calendar),
    )


def _date(day: str) -> date:
    """Raises HTTPException: it is none."""
    try:
        return date.fromisoformat(day)
    except ValueError as error:
        raise HTTPException(422, "day must be one of the calendar, such as 2026-01-31") from error


def _cursor(after: str | None) -> tuple[float, int] | None:
    """Raises HTTPException: it is no answer's `next`; a program would be led round in a circle."""
    if after is None:
        return None
    found = _CURSOR.fullmatch(after)
    try:
        if found:
            return float(found[1]), int(found[2])
    except ValueError:
        pass
    raise HTTPException(422, "after must be the next of an answer")
