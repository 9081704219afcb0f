"""`POST /api/inspections`: an image that is pushed, judged and answered for."""

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from config.mounted import mount_of
from daemon.files.mounts import DROP_FOLDERS, MountMemory
from daemon.files.shares import Shares
from daemon.names import to_text
from daemon.store import viewing
from daemon.web.api.documents import Inspection, Trouble, Waiting
from daemon.web.api.uploads import UnsureError, camera_named, deliver, delivered_name
from daemon.web.desk import Desk
from daemon.web.door.access import Labelling, Looking, TheDesk, TheShares

router = APIRouter(prefix="/api", tags=["inspections"])

_LOOK_AGAIN_SECONDS: Final = 0.05
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The picture file itself.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_CameraName = Annotated[str, Query(description="As the configuration names it.")]
_Filename = Annotated[str, Query(min_length=1, max_length=255)]


@router.post(
    "/inspections",
    status_code=201,
    response_model=Inspection,
    openapi_extra=_BODY,
    responses={
        202: {"model": Waiting},
        408: {"model": Trouble},
        409: {"model": Trouble},
        413: {"model": Trouble},
        503: {"model": Trouble},
        507: {"model": Trouble},
    },
)
async def inspect(
    request: Request,
    desk: TheDesk,
    shares: TheShares,
    _: Labelling,
    camera: _CameraName,
    filename: Annotated[_Filename, Query(description="Ends as intake.extensions has it.")],
    wait_seconds: Annotated[float, Query(ge=0, le=30)] = 10.0,
) -> Response:
    """Judge an image as if the camera had dropped it into its folder.

    It is in that folder, whole and on the disk, before anything is answered. 201 is its record; 202
    says where to ask for it later. A file that is no whole picture is recorded as `unreadable`.
    """
    settings = desk.settings
    folder = camera_named(settings, camera).folder
    name = delivered_name(settings, filename)
    _refuse_declared(request, settings.intake.max_bytes)
    if (away := desk.health.troubles().get(f"mount {camera}")) is not None:
        raise HTTPException(507, f"the image is not taken: {away}")
    after = await run_in_threadpool(viewing.newest_id, desk.database)
    query = urlencode({"camera": camera, "filename": name, "after": after})
    location = f"/api/deliveries?{query}"
    await _deliver(request, desk, shares, camera, folder / name, location)
    deadline = time.monotonic() + wait_seconds
    while True:
        found = await run_in_threadpool(
            viewing.find_delivered, desk.database, camera, name, after=after
        )
        if found is not None:
            headers = {"location": f"/api/inspections/{found.id}"}
            return JSONResponse(Inspection.of(found).model_dump(), 201, headers)
        if time.monotonic() >= deadline:
            return JSONResponse({"location": location}, 202, {"location": location})
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _deliver(
    request: Request, desk: Desk, shares: Shares, camera: str, target: Path, location: str
) -> None:
    """Raises TooLargeError, StalledError, SilentError, HTTPException."""
    intake, folder = desk.settings.intake, target.parent
    try:
        # A share that hangs is found out by this look, which ends in time.
        there = await run_in_threadpool(shares.of(folder).follow, lambda _: _is_there(desk, folder))
        if not there:
            raise HTTPException(
                507,
                f"the image is not taken: the drop folder {to_text(folder)} is on another filesystem than "
                "before; see whether its share is still mounted",
            )
        await deliver(
            shares.pushed[camera],
            target,
            request.stream(),
            most_bytes=intake.max_bytes,
            marker_suffix=intake.marker_suffix,
        )
    except OSError as error:
        raise HTTPException(
            507, f"the image cannot be written to the folder of {camera}: {error.strerror}"
        ) from error
    except UnsureError as error:
        told = (
            f"it is not known yet whether the image is taken: {error}. Ask for {location} once the folder "
            "of the camera answers, before you push the image again"
        )
        raise HTTPException(503, told, {"location": location}) from error


@router.get("/deliveries", responses={404: {"model": Trouble}})
def delivered(
    desk: TheDesk,
    _: Looking,
    camera: _CameraName,
    filename: _Filename,
    after: Annotated[int, Query(ge=0, lt=1 << 63)],
) -> Inspection:
    """The record of an upload that was answered with 202; 404 until there is one."""
    found = viewing.find_delivered(desk.database, camera, filename, after=after)
    if found is None:
        raise HTTPException(404, "not judged yet")
    return Inspection.of(found)


def _is_there(desk: Desk, folder: Path) -> bool:
    """Whether the camera's share is: its images would lie below it, on the mount point. Raises OSError."""
    folder.stat()
    remembered = MountMemory(desk.settings.state_dir / DROP_FOLDERS)
    return remembered.is_the_same(folder, mount_of(folder))


def _refuse_declared(request: Request, most_bytes: int) -> None:
    """Before anything is written."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes:
        raise HTTPException(
            413, f"the image has more than {most_bytes} bytes, the limit of intake.max_bytes"
        )
