"""What the buttons of the pages do where no script does it: forms, each answered by its page anew."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from daemon.web.api import labelling, modelling
from daemon.web.api.documents import Undo
from daemon.web.api.inspections import LARGEST_ID, ImageId
from daemon.web.door.access import TheDesk, TheShares, who_sent
from daemon.web.door.users import Role

router = APIRouter(include_in_schema=False)

Token = Annotated[str, Form()]


@router.post("/model/promote")
def promote(
    request: Request, desk: TheDesk, token: Token, version: Annotated[str, Form(max_length=200)]
) -> Response:
    visitor = who_sent(request, token, Role.ADMINISTER)
    modelling.promote(desk, visitor, version)
    return RedirectResponse("/model", 303)


@router.post("/model/rollback")
def rollback(request: Request, desk: TheDesk, token: Token) -> Response:
    visitor = who_sent(request, token, Role.ADMINISTER)
    modelling.rollback(desk, visitor)
    return RedirectResponse("/model", 303)


@router.post("/images/{image_id}/undo")
def take_back(
    request: Request,
    desk: TheDesk,
    shares: TheShares,
    image_id: ImageId,
    token: Token,
    seen: Annotated[int, Form(ge=0, le=LARGEST_ID)],
) -> Response:
    visitor = who_sent(request, token, Role.LABEL)
    labelling.undo(desk, shares, visitor, image_id, Undo(seen=seen))
    return RedirectResponse(f"/images/{image_id}", 303)
