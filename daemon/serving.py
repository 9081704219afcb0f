"""The model that serves, those that there are, and the one pointer that says which.

The pointer is a small file in the registry that names a version; it is replaced by rename, so that it
is always one or the other. Without it, what the configuration names serves, or the shipped model.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from config.settings import Settings
from daemon.files.flushing import fsync_folder
from daemon.files.placing import write_durably
from daemon.names import to_text
from models.checkpoint import CheckpointError, Metadata, load_metadata
from models.decision import Policy
from models.registry import PRETRAINED, Model, load_model
from models.runtimes.protocol import RuntimeUnavailableError

_POINTER: Final = "current"


class ServingModelError(Exception):
    """The configured model cannot be served; the message says why and what to do."""


def policy_of(settings: Settings) -> Policy:
    return Policy(
        normal_classes=settings.policy.normal_classes,
        max_missed_defect_rate=settings.policy.max_missed_defect_rate,
        min_defect_confidence=settings.policy.min_defect_confidence,
        max_wrong_class_rate=settings.policy.max_wrong_class_rate,
    )


def start_folder(settings: Settings) -> Path:
    """The model that a line begins with."""
    return settings.model.folder or PRETRAINED


def serving_folder(settings: Settings) -> Path:
    """Where the pointer leads; the start when there is none."""
    version = pointed_version(settings)
    return registry_folder(settings) / version if version else start_folder(settings)


def folder_of(settings: Settings, version: str) -> Path | None:
    """Of a model in the registry, or of the start; None when neither has this version."""
    kept = registry_folder(settings) / version
    if is_version(version) and kept.is_dir():
        return kept
    try:
        metadata = load_metadata(start_folder(settings))
    except CheckpointError:
        return None
    return start_folder(settings) if metadata.version == version else None


def not_at_hand(settings: Settings, version: str) -> str:
    """Why there is no folder of this version to serve from, and what to do."""
    for each in registry_folder(settings).glob("[!.]*/"):
        with suppress(CheckpointError):
            if load_metadata(each).version == version:
                return misnamed(each, version)
    with suppress(CheckpointError):
        if load_metadata(PRETRAINED).version == version:
            return (
                f"model {version} is the shipped one, which serves only where no other is configured: take "
                "model.folder out of the configuration, start Millwatch again, and promote it then"
            )
    return f"there is no model {version!r} here; `millwatch models list` shows which there are"


def misnamed(folder: Path, version: str) -> str:
    """Of a folder that somebody copied to the registry under a name of his own."""
    return f"{to_text(folder)} holds model {version}: rename that folder to {version}, and promote it so"


def is_version(name: str) -> bool:
    """Whether a folder of the registry can have this name."""
    return bool(name) and name[0] != "." and name != _POINTER and not {"/", "\0", "\n"} & {*name}


def pointed_version(settings: Settings) -> str | None:
    """What the pointer names; None when there is none, or it is damaged."""
    return next(iter(pointed_versions(settings)), None)


def pointed_versions(settings: Settings) -> list[str]:
    """The version that is to serve and the one that did before it, as far as there are such."""
    return _pointed(settings)[0]


def _pointed(settings: Settings) -> tuple[list[str], str]:
    """The same, and what is wrong with a pointer that is there and names none; else ""."""
    pointer = registry_folder(settings) / _POINTER
    try:
        names = [name for name in pointer.read_text().splitlines() if is_version(name)]
    except (FileNotFoundError, NotADirectoryError):
        return [], ""
    except (OSError, UnicodeDecodeError) as error:
        return [], f"{to_text(pointer)} cannot be read ({error})"
    return names, "" if names else f"{to_text(pointer)} names no model"


def point_to(settings: Settings, folder: Path, *, before: Path | None = None) -> None:
    """Let a model serve from the next start on: one of the registry, or the start.

    Args:
        before: what serves should that one not load.

    Raises:
        OSError: the pointer is as it was.
    """
    registry = registry_folder(settings)
    pointer = registry / _POINTER
    if folder.parent == registry:
        registry.mkdir(parents=True, exist_ok=True)
        names = [each.name for each in (folder, before) if each and each.parent == registry]
        write_durably(pointer, "\n".join([*names, ""]))
    elif registry.is_dir():
        pointer.unlink(missing_ok=True)
        fsync_folder(registry)


def load_for_serving(settings: Settings, folder: Path) -> Model:
    """Raises ServingModelError."""
    try:
        return load_model(folder, policy=policy_of(settings), runtime=settings.model.runtime)
    except (CheckpointError, RuntimeUnavailableError) as error:
        raise ServingModelError(str(error)) from error


def load_serving_model(settings: Settings) -> Model:
    """Raises ServingModelError."""
    return load_for_serving(settings, serving_folder(settings))


@dataclass(frozen=True, kw_only=True)
class Fallen:
    """Why the model that the pointer names does not serve; the one in `folder` does.

    Attributes:
        version: empty where the pointer does not tell.
    """

    version: str
    folder: Path
    why: str

    @property
    def what(self) -> str:
        return f"{self.version} does not load ({self.why})" if self.version else self.why


REPLACE_IT: Final = "`millwatch models promote` another, or put its folder back from a backup."
"""What to do where a model has fallen."""


def load_first(settings: Settings) -> tuple[Model, Fallen | None]:
    """The model that is to serve; should it not load, the one before it, or else the start.

    Raises:
        ServingModelError: none of them loads.
    """
    names, lost = _pointed(settings)
    folders = [registry_folder(settings) / name for name in names]
    why: ServingModelError | None = None
    for folder in (*folders, start_folder(settings)):
        try:
            model = load_for_serving(settings, folder)
        except ServingModelError as error:
            why = why or error
            continue
        if why is None and not lost:
            return model, None
        version = names[0] if names else ""
        return model, Fallen(version=version, folder=folder, why=lost or str(why))
    raise why or ServingModelError("there is no model")


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
    start = start_folder(settings)
    if not any(each.folder.resolve() == start.resolve() for each in models):
        models.append(_known(start, "configured", serving))
    if not any(each.serving for each in models):
        models.append(_known(serving, "registry", serving))
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
