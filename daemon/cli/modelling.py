"""`models`: those that there are, bringing one in, and which one serves."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape

from config.settings import Settings
from config.text import as_one_line, counted, percent
from daemon.cli.describing import print_model, print_support
from daemon.cli.options import (
    CommandError,
    ConfigOption,
    JsonOption,
    console_of_answers,
    print_json,
    refuse_unwritable,
    settings_of,
    table_of_answers,
)
from daemon.cli.standing_in import by_daemon_or_alone, user_name
from daemon.clock import now_utc
from daemon.names import to_text
from daemon.process.control import Handlers
from daemon.process.health import Health
from daemon.retraining.promotion import Promoter
from daemon.serving import KnownModel, known_models, policy_of
from daemon.store.database import Database, StoreError
from daemon.store.models import ModelVersion, model_versions
from daemon.store.upgrading import open_existing
from models.checkpoint import CheckpointError, Metadata, load_metadata
from models.decision import Decider
from models.registry import serving_evidence
from models.runtimes.protocol import RuntimeUnavailableError
from models.support import Support

_SECONDS: Final = 300.0
"""A model is loaded and tried before the answer to a promotion."""


class Normalised(StrEnum):
    IMAGENET = "imagenet"
    PICTURE = "picture"
    UNIT = "unit"


models = typer.Typer(
    name="models", no_args_is_help=True, help="The models that there are, and bringing one in."
)


@models.command("list")
def list_models(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Every model at hand, which one serves, and what became of each: what the gate said, and why."""
    settings = settings_of(config)
    recorded = _recorded(settings)
    listed = [_listed(model, recorded) for model in _known(settings)]
    if as_json:
        print_json(listed)
        return
    table = table_of_answers("serves", "version", "status", "named rightly", "where")
    for row in listed:
        table.add_row(
            "yes" if row["serving"] else "",
            escape(row["version"] or f"none: {row['trouble']}"),
            row["status"] or "",
            _named_rightly(row),
            escape(f"{row['folder']} ({row['origin']})"),
        )
    console = console_of_answers()
    console.print(table)
    for row in listed:
        if row["reason"]:
            waits = row["status"] == "needs_a_person"
            remedy = f"; `millwatch models promote {row['version']}` lets it serve" if waits else ""
            told = f"{row['version']}: {row['reason']}{remedy}"
            console.print(as_one_line(told), markup=False, highlight=False)


@models.command()
def show(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="A model folder, or a version that `list` names."),
    ] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """What is known of a model: figures, thresholds under `policy`, what its evidence supports.

    Without MODEL it is the one that the configuration serves.
    """
    settings = settings_of(config)
    folder = _folder_of(model, settings)
    metadata, support = _support(folder, settings)
    if as_json:
        print_json({"folder": to_text(folder), **asdict(metadata), "decision": asdict(support)})
        return
    print_model(folder, metadata)
    print_support(support)


@models.command("import")
def import_model(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.pth", help="A state dict of torchvision's ResNet18."),
    ],
    classes: Annotated[
        str,
        typer.Option(
            metavar="A,B,C",
            help="Its classes in the order of its outputs; torchvision's ImageFolder sorts class "
            "folders by name, capitals first. Nothing in the file says it: a wrong order gives "
            "every defect another's name.",
        ),
    ],
    manifest: Annotated[
        Path,
        typer.Option(
            metavar="MANIFEST",
            help="From `prepare`: images from which its calibration, thresholds, novelty and "
            "figures come. Those that it was trained on make them look better than they are.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The model folder to write.")],
    input_size: Annotated[
        int, typer.Option(min=32, max=2048, help="Side of the pictures it was trained on.")
    ] = 224,
    normalisation: Annotated[
        Normalised,
        typer.Option(
            help="How its pictures were normalised: `imagenet` (0..1, less ImageNet's mean, over "
            "its deviation), `unit` (0..1) or `picture` (each to zero mean and unit variance)."
        ),
    ] = Normalised.IMAGENET,
    config: ConfigOption = None,
) -> None:
    """Make a model folder of a ResNet18 that you trained elsewhere; it serves as it was trained."""
    from training.data.manifest import ManifestError, load_manifest  # noqa: PLC0415
    from training.model_folder import importing as step  # noqa: PLC0415 -- what trains is heavy

    settings = settings_of(config)
    refuse_unwritable(out)
    try:
        images = load_manifest(manifest)
        sys.stderr.write(
            f"judging the {counted(len(images.images), 'image')} of {to_text(manifest)}\n"
        )
        done = step.import_weights(
            file,
            out,
            classes=[name.strip() for name in classes.split(",")],
            manifest=images,
            input_size=input_size,
            normalisation=normalisation.value,
        )
    except (step.ImportRefusedError, ManifestError, CheckpointError, OSError) as error:
        raise CommandError(f"nothing was imported: {error}") from error
    print_model(out, done.metadata)
    print_support(_support(out, settings)[1])
    if done.likely_classes:
        sys.stderr.write(
            "millwatch: most images of each class are called by another's name. Was it trained with "
            f"its classes in the order {','.join(done.likely_classes)}? Then import it again so.\n"
        )
    sys.stdout.write(
        "To serve it, set model.folder in the configuration to that folder and start Millwatch again; where "
        f"a model was promoted before, then also `millwatch models promote {done.metadata.version}`.\n"
    )


@models.command()
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="As `models list` names it.")],
    config: ConfigOption = None,
) -> None:
    """Let a model serve from the next batch on, whatever the gate said of it."""
    arguments = {"version": version, "by": user_name()}
    done = _serve(settings_of(config), "models promote", arguments)
    sys.stdout.write(f"model {done} serves\n")


@models.command()
def rollback(config: ConfigOption = None) -> None:
    """Let the model serve again that did before this one."""
    arguments = {"by": user_name()}
    done = _serve(settings_of(config), "models rollback", arguments)
    sys.stdout.write(f"model {done} serves again\n")


def _known(settings: Settings) -> list[KnownModel]:
    try:
        return known_models(settings)
    except OSError as error:
        raise CommandError(
            f"the models in {to_text(Path(error.filename))} cannot be listed: {error.strerror}"
        ) from error


def _folder_of(model: str | None, settings: Settings) -> Path:
    if model is not None and Path(model).is_dir():
        return Path(model)
    known = _known(settings)
    for each in known:
        version = each.metadata.version if each.metadata else each.folder.name
        if each.serving if model is None else version == model:
            return each.folder
    versions = ", ".join(each.metadata.version for each in known if each.metadata)
    raise typer.BadParameter(
        f"{model!r} is neither a folder nor a known version; there are: {versions}",
        param_hint="MODEL",
    )


def _support(folder: Path, settings: Settings) -> tuple[Metadata, Support]:
    try:
        metadata = load_metadata(folder)
        evidence = serving_evidence(folder, metadata, runtime=settings.model.runtime)
    except (CheckpointError, RuntimeUnavailableError) as error:
        raise CommandError(str(error)) from error
    policy = policy_of(settings)
    decider = Decider(classes=metadata.classes, evidence=evidence, policy=policy)
    return metadata, Support.of(decider, evidence, policy)


def _recorded(settings: Settings) -> dict[str, ModelVersion]:
    """What the database tells of each version; nothing where there is none, or it cannot be read."""
    if not settings.database_file.exists():
        return {}
    try:
        with open_existing(settings.database_file) as database:
            return {each.version: each for each in model_versions(database)}
    except (StoreError, OSError) as error:
        sys.stderr.write(f"millwatch: what became of each model cannot be told: {error}\n")
        return {}


def _named_rightly(row: Mapping[str, Any]) -> str:
    """The line's own images say more than those that came with the first model."""
    if line := row["of_line"]:
        return f"{line['right']} of {line['images']} of this line; before {line['right_before']}"
    return "" if row["accuracy"] is None else f"{percent(row['accuracy'])} of {row['images']}"


def _listed(model: KnownModel, recorded: Mapping[str, ModelVersion]) -> dict[str, Any]:
    metadata = model.metadata
    # A folder of the registry that is damaged is known by its name.
    told = recorded.get(metadata.version if metadata else model.folder.name)
    test = metadata.metrics.get("test", {}) if metadata else {}
    accuracy = test.get("accuracy")
    return {
        "version": metadata.version if metadata else None,
        "status": told.status if told else None,
        "reason": told.reason if told else None,
        "created_at": metadata.created_at if metadata else None,
        "classes": list(metadata.classes) if metadata else [],
        "accuracy": accuracy if isinstance(accuracy, int | float) else None,
        "images": test.get("images"),
        "of_line": asdict(told.of_line) if told and told.of_line else None,
        "folder": to_text(model.folder),
        "origin": model.origin,
        "serving": model.serving,
        "trouble": model.trouble or None,
    }


def _serve(settings: Settings, command: str, arguments: dict[str, Any]) -> str:
    """The version that serves."""

    def handlers(database: Database) -> Handlers:
        return Promoter(settings, database=database, health=Health(), clock=now_utc).commands()

    makes = command == "models promote"
    done = by_daemon_or_alone(settings, command, handlers, arguments, makes=makes, seconds=_SECONDS)
    return str(done["version"])
