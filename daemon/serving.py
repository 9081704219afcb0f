"""The model that the configuration asks for, and those that there are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from config.settings import Settings
from models.checkpoint import CheckpointError, Metadata, load_metadata
from models.decision import Policy
from models.registry import PRETRAINED, Model, load_model
from models.runtimes.protocol import RuntimeUnavailableError


class ServingModelError(Exception):
    """The configured model cannot be served; the message says why and what to do."""


def policy_of(settings: Settings) -> Policy:
    return Policy(
        normal_classes=settings.policy.normal_classes,
        max_missed_defect_rate=settings.policy.max_missed_defect_rate,
        min_defect_confidence=settings.policy.min_defect_confidence,
        max_wrong_class_rate=settings.policy.max_wrong_class_rate,
    )


def serving_folder(settings: Settings) -> Path:
    return settings.model.folder or PRETRAINED


def load_serving_model(settings: Settings) -> Model:
    """Raises ServingModelError."""
    try:
        return load_model(
            serving_folder(settings), policy=policy_of(settings), runtime=settings.model.runtime
        )
    except (CheckpointError, RuntimeUnavailableError) as error:
        raise ServingModelError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model folder that is at hand.

    Attributes:
        metadata: None when the folder is no whole model; `trouble` then says why.
        origin: `shipped` with Millwatch, in the `registry`, or only `configured`.
        serving: whether the configuration serves it.
    """

    folder: Path
    metadata: Metadata | None
    origin: Literal["shipped", "registry", "configured"]
    serving: bool
    trouble: str = ""


def registry_folder(settings: Settings) -> Path:
    """Where models are kept that were made on this line: a folder for each, named by its version."""
    return settings.state_dir / "models"


def known_models(settings: Settings) -> list[KnownModel]:
    """The shipped model, those in the registry by name, and the configured one if it is another.

    Raises:
        OSError: if the registry is there and cannot be listed.
    """
    registry = registry_folder(settings)
    kept: list[Path] = []
    if registry.is_dir():
        # Hidden ones are half written.
        kept = sorted(f for f in registry.iterdir() if f.is_dir() and not f.name.startswith("."))
    serving = serving_folder(settings)
    models = [_known(PRETRAINED, "shipped", serving)]
    models += [_known(folder, "registry", serving) for folder in kept]
    if not any(each.serving for each in models):
        models.append(_known(serving, "configured", serving))
    return models


def _known(
    folder: Path, origin: Literal["shipped", "registry", "configured"], serving: Path
) -> KnownModel:
    is_serving = folder.resolve() == serving.resolve()
    try:
        metadata, trouble = load_metadata(folder), ""
    except CheckpointError as error:
        metadata, trouble = None, str(error)
    return KnownModel(
        folder=folder, metadata=metadata, origin=origin, serving=is_serving, trouble=trouble
    )
