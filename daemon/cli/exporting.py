"""`export`: a model in the form that serves fastest. What exports is imported when asked for."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import CommandError, JsonOption, print_json


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder.")],
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            metavar="M",
            help="Of the model's training run; else the one that `train` left in the model folder.",
        ),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Add OpenVINO INT8 to a model folder, if it agrees with the trained network.

    INT8 is calibrated on the fitted images and held against the network on the select part. Where
    it disagrees, the folder is served in FP32; that is said, and is no failure.
    """
    from models.checkpoint import CheckpointError  # noqa: PLC0415
    from models.runtimes.protocol import RuntimeUnavailableError  # noqa: PLC0415
    from training.data.manifest import NAME, ManifestError, load_manifest  # noqa: PLC0415

    named = manifest or model / NAME
    if manifest is None and not named.is_file():
        raise typer.BadParameter(
            f"{named} does not exist; INT8 is calibrated and checked on the images of the "
            "model's training run: name its manifest",
            param_hint="--manifest",
        )
    try:
        from training.model_folder.export import export as export_model  # noqa: PLC0415

        done = export_model(model, load_manifest(named))
    except ModuleNotFoundError as error:
        raise CommandError(
            f"{model} cannot be exported: {error.name} is not installed; install Millwatch with "
            'its extra "training", which a machine that only serves does not need'
        ) from error
    except (CheckpointError, ManifestError, RuntimeUnavailableError, OSError) as error:
        raise CommandError(f"{model} was not exported: {error}") from error
    if as_json:
        print_json(asdict(done))
        return
    before, after = done.int8.accuracies
    sys.stdout.write(
        f"{model}: OpenVINO serves {done.serves.upper()}: {done.reason}\n"
        f"On {done.int8.images} held-out images: {done.int8.classes_changed} classes and "
        f"{done.int8.verdicts_changed} verdicts differ; accuracy {before:.2%} trained, "
        f"{after:.2%} INT8\n"
        f"The model folder has {done.folder_bytes / 1e6:.1f} MB\n"
    )
