"""Models: the versions there are, promotion, rollback, and how far a training has come."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from daemon.serving import known_models
from daemon.store.models import ModelVersion, model_versions
from daemon.web.api.documents import Done, ModelDocument, Progress, Trouble
from daemon.web.desk import Desk
from daemon.web.door.access import Administering, Looking, TheDesk
from daemon.web.door.doorkeeper import Visitor

router = APIRouter(prefix="/api/models", tags=["models"], responses={409: {"model": Trouble}})


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """What the model page shows.

    Attributes:
        progress: of a training that is going on.
        may_roll_back: whether a model served before.
    """

    status: dict[str, Any]
    versions: list[ModelVersion]
    progress: Progress | None
    may_roll_back: bool


def model_figures(desk: Desk) -> ModelFigures:
    """Raises StoreError."""
    versions, status = _versions(desk), desk.status()
    return ModelFigures(
        status=status,
        versions=versions,
        progress=_progress(status),
        may_roll_back=any(each.status == "retired" for each in versions),
    )


@router.get("")
def models(desk: TheDesk, _: Looking) -> list[ModelDocument]:
    """Every model, latest made first, with what the gate decided, in `metrics.gate`, and what became of it."""
    return [ModelDocument.model_validate(each) for each in _versions(desk)]


@router.get("/progress")
def progress(desk: TheDesk, _: Looking) -> Progress | None:
    """How far the training has come that goes on now."""
    return _progress(desk.status())


@router.post("/{version}/promote")
def promote(
    desk: TheDesk, visitor: Administering, version: Annotated[str, Path(max_length=200)]
) -> Done:
    """Let this model serve from the next batch on, whatever the gate said."""
    if all(each.version != version for each in _versions(desk)):
        raise HTTPException(404, f"there is no model {version!r}")
    return _command(desk, visitor, "models promote", version=version)


@router.post("/rollback")
def rollback(desk: TheDesk, visitor: Administering) -> Done:
    """Let the model serve that did before this one."""
    return _command(desk, visitor, "models rollback")


def _command(desk: Desk, visitor: Visitor, name: str, **arguments: str) -> Done:
    """As the command does it, and recorded under the visitor's name."""
    try:
        desk.commands[name]({**arguments, "by": visitor.name, "address": visitor.address})
    except OSError as error:
        raise HTTPException(507, f"the choice cannot be written down: {error}") from error
    return Done()


def _versions(desk: Desk) -> list[ModelVersion]:
    """Those that the database knows, and those that only lie here, shipped or in the registry."""
    versions = model_versions(desk.database)
    recorded = {each.version for each in versions}
    for each in known_models(desk.settings):
        known = each.metadata
        if known is not None and known.version not in recorded:
            versions.append(
                ModelVersion(
                    version=known.version,
                    status="candidate",
                    created_at=known.created_at,
                    promoted_at=None,
                    trained_on=known.manifest_sha256,
                    metrics=known.metrics,
                    reason=None,
                )
            )
    return sorted(versions, key=lambda each: (each.created_at, each.version), reverse=True)


def _progress(status: dict[str, Any]) -> Progress | None:
    """Of the retraining that goes on, once it has told any."""
    known = status["retraining"] or {}
    with suppress(ValidationError):
        return Progress.model_validate(
            {**(known.get("progress") or {}), "run": known.get("running")}
        )
    return None
