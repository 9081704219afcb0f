"""The JSON API: what is recorded, what is going on, and the pictures."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from daemon.store import queueing, viewing
from daemon.store.queueing import Filter
from daemon.store.viewing import Viewed
from daemon.web.api.documents import Inspection, Trouble
from daemon.web.api.pictures import Picture, Pictures, ThePictures
from daemon.web.desk import Desk
from daemon.web.door.access import Looking, TheDesk

router = APIRouter(prefix="/api", responses={401: {"model": Trouble}, 403: {"model": Trouble}})

LARGEST_ID = (1 << 63) - 1
ImageId = Annotated[int, Path(ge=1, le=LARGEST_ID)]
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {}}, "description": "The picture."},
    304: {"description": "The browser has it."},
    404: {"model": Trouble},
}


@router.get("/status", tags=["line"])
def status(desk: TheDesk, _: Looking) -> dict[str, Any]:
    """What the daemon is doing: cameras, backlog, latency, troubles. As `millwatch status --json`."""
    return desk.status()


@router.get("/inspections", tags=["inspections"])
def inspections(
    desk: TheDesk,
    _: Looking,
    camera: str | None = None,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[Inspection]:
    """Images, latest recorded first; `before` an id goes on where a list ended."""
    refuse_slip(desk, Filter(camera=camera))
    found = viewing.latest(desk.database, before=before, camera=camera, limit=limit)
    return [Inspection.of(each) for each in found]


@router.get("/inspections/{image_id}", tags=["inspections"], responses={404: {"model": Trouble}})
def inspection(desk: TheDesk, _: Looking, image_id: ImageId) -> Inspection:
    return Inspection.of(existing(desk, image_id))


@router.get("/inspections/{image_id}/picture", tags=["inspections"], responses=_PICTURE)
async def picture(
    request: Request, desk: TheDesk, pictures: ThePictures, _: Looking, image_id: ImageId
) -> Response:
    """The image as it was delivered; TIFF, BMP and PGM as PNG."""
    viewed = await run_in_threadpool(existing, desk, image_id)
    return await _answer(request, viewed.sha256, pictures, lambda: pictures.whole(viewed))


@router.get("/inspections/{image_id}/thumbnail", tags=["inspections"], responses=_PICTURE)
async def thumbnail(
    request: Request, desk: TheDesk, pictures: ThePictures, _: Looking, image_id: ImageId
) -> Response:
    """The image within 320 by 320 pixels, in grey."""
    viewed = await run_in_threadpool(existing, desk, image_id)
    return await _answer(request, viewed.sha256, pictures, lambda: pictures.thumbnail(viewed, 320))


@router.get("/inspections/{image_id}/heatmap", tags=["inspections"], responses=_PICTURE)
async def heatmap(
    request: Request, desk: TheDesk, pictures: ThePictures, _: Looking, image_id: ImageId
) -> Response:
    """The image with what the model that serves now saw of its class."""
    viewed = await run_in_threadpool(existing, desk, image_id)
    edition = f"{viewed.sha256}-{desk.model().version}"
    return await _answer(request, edition, pictures, lambda: pictures.heatmap(viewed))


def existing(desk: Desk, image_id: int) -> Viewed:
    """Raises HTTPException: there is no such image."""
    viewed = viewing.view(desk.database, image_id)
    if viewed is None:
        raise HTTPException(404, f"there is no image {image_id}")
    return viewed


def refuse_slip(desk: Desk, wanted: Filter) -> None:
    """Raises HTTPException: no image can be like this."""
    configured = {camera.name for camera in desk.settings.cameras}
    if slip := queueing.slip_in(desk.database, wanted, configured=configured):
        raise HTTPException(422, slip)


async def _answer(
    request: Request, edition: str, pictures: Pictures, make: Callable[[], Picture]
) -> Response:
    headers = {"etag": f'"{edition}"', "cache-control": "private, max-age=600"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    async with pictures.places:
        made = await run_in_threadpool(make)
    return Response(made.data, media_type=made.media_type, headers=headers)
