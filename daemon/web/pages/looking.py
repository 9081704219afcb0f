"""The pages. Those that are live have a part `/now` that the script fetches again and again."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from daemon.store import audit, labels, review_files
from daemon.web.api.documents import Inspection
from daemon.web.api.inspections import LARGEST_ID, ImageId, existing
from daemon.web.api.modelling import model_figures
from daemon.web.door.access import Administering, Looking, TheDesk
from daemon.web.door.users import Role
from daemon.web.pages.figures import all_cameras, choices, line_figures
from daemon.web.pages.rendering import TheRenderer
from models.taxonomy import UNKNOWN, Reason

router = APIRouter(include_in_schema=False)

_AUDIT_ROWS = 200


@router.get("/")
def home() -> Response:
    return RedirectResponse("/queue", 303)


@router.get("/static/{edition}/{name}")
def static(renderer: TheRenderer, edition: str, name: str) -> Response:
    """By a name that we know: no file is opened."""
    found = renderer.static(name)
    if found is None or edition != renderer.edition:
        raise HTTPException(404, "there is no such file")
    return found


@router.get("/queue")
def queue(
    renderer: TheRenderer,
    desk: TheDesk,
    visitor: Looking,
    camera: str | None = None,
    class_name: Annotated[str | None, Query(alias="class")] = None,
    day: str | None = None,
    reason: str | None = None,
) -> Response:
    classes = (*desk.model().metadata.classes, UNKNOWN)
    values = {
        "filters": (
            ("camera", "Camera", choices(all_cameras(desk), camera)),
            ("class", "Class", choices(classes, class_name)),
            ("reason", "Reason", choices([each.value for each in Reason], reason)),
        ),
        "chosen": {"camera": camera, "class": class_name, "day": day, "reason": reason},
        "may_label": visitor.role.may(Role.LABEL),
        "conflicts": review_files.conflicts_in_folder(desk.database),
    }
    return renderer.page("queue", visitor, values)


@router.get("/line")
def line(
    renderer: TheRenderer, desk: TheDesk, visitor: Looking, camera: str | None = None
) -> Response:
    cameras = all_cameras(desk)  # of all the years, so not again and again with what is live
    values = {
        "line": line_figures(desk, camera or None),
        "cameras": choices(cameras, camera),
        "no_such": camera if camera and camera not in cameras else None,
    }
    return renderer.page("line", visitor, values)


@router.get("/line/now")
def line_now(
    renderer: TheRenderer, desk: TheDesk, visitor: Looking, camera: str | None = None
) -> Response:
    return renderer.page("line_now", visitor, {"line": line_figures(desk, camera or None)})


@router.get("/model")
def model(renderer: TheRenderer, desk: TheDesk, visitor: Looking) -> Response:
    return renderer.page("model", visitor, {"figures": model_figures(desk)})


@router.get("/model/now")
def model_now(renderer: TheRenderer, desk: TheDesk, visitor: Looking) -> Response:
    return renderer.page("model_now", visitor, {"figures": model_figures(desk)})


@router.get("/images/{image_id}")
def image(renderer: TheRenderer, desk: TheDesk, visitor: Looking, image_id: ImageId) -> Response:
    viewed = existing(desk, image_id)
    values = {
        "viewed": viewed,
        "found": Inspection.of(viewed),
        "labels": labels.history(desk.database, image_id),
        "may_label": visitor.role.may(Role.LABEL),
    }
    return renderer.page("image", visitor, values)


@router.get("/audit")
def audit_trail(
    renderer: TheRenderer,
    desk: TheDesk,
    visitor: Administering,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
) -> Response:
    deeds = audit.deeds(desk.database, before=before, limit=_AUDIT_ROWS)
    values = {"deeds": deeds, "more": len(deeds) == _AUDIT_ROWS}
    return renderer.page("audit", visitor, values)
