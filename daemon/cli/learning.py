"""`train`, `evaluate` and `export`. What trains is imported when it is asked for: it is heavy."""

import sys
from dataclasses import asdict
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from config.text import counted, percent
from daemon.cli.options import CommandError, JsonOption, print_json, refuse_unwritable
from daemon.cli.recipes import RecipesOption, SeedOption, chosen_recipes
from daemon.cli.showing import EpochDisplay, print_corruptions, print_evaluation

if TYPE_CHECKING:
    from training.judging.assessment import Assessment


def train(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="From `prepare`.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The model folder to write.")],
    recipe: RecipesOption = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="What to start from: a model folder, a file with torchvision's ImageNet weights, "
            "or `download` for those."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipes'.")] = None,
    seed: SeedOption = 1,
) -> None:
    """Train a network on a manifest and write it, its figures and a report to a model folder.

    What was interrupted goes on where it ended when the same command is given again.
    """
    from models.checkpoint import CheckpointError  # noqa: PLC0415
    from training import run as step  # noqa: PLC0415 -- see the module
    from training.data.manifest import ManifestError, load_manifest  # noqa: PLC0415
    from training.fitting.fit import FitError  # noqa: PLC0415
    from training.fitting.resuming import ResumeError  # noqa: PLC0415

    chosen = chosen_recipes(recipe, epochs)
    refuse_unwritable(out)
    with EpochDisplay() as display:
        try:
            metadata, evaluation = step.train_in_phases(
                load_manifest(manifest),
                out,
                recipes=chosen,
                seed=seed,
                weights=_imagenet_weights(weights),
                on_epoch=display.show,
            )
        except (
            ManifestError,
            FitError,
            ResumeError,
            CheckpointError,
            ValueError,
            OSError,
        ) as error:
            raise CommandError(str(error)) from error
    sys.stdout.write(f"{out}: model {metadata.version}\n")
    print_evaluation(evaluation)


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="From `prepare`.")],
    part: Annotated[str, typer.Option(help="`test`, `select` or `fit`.")] = "test",
    *,
    corruptions: Annotated[
        bool, typer.Option("--corruptions", help="Also on spoilt copies of each image.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            dir_okay=False,
            help="Also write all that can be measured, spoilt copies too, as one HTML page.",
        ),
    ] = None,
    novel: Annotated[
        Path | None,
        typer.Option(
            "--novel",
            metavar="DIR",
            help="For the report: pictures of other things, which should be called unknown.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a part of a manifest by the network as it was trained, in PyTorch: accuracy, recall, confusion."""
    from models.checkpoint import CheckpointError  # noqa: PLC0415
    from training.data.manifest import ManifestError, Part, load_manifest  # noqa: PLC0415
    from training.judging.assessment import assess  # noqa: PLC0415
    from training.judging.serving import Served, caution  # noqa: PLC0415

    try:
        chosen = Part(part)
    except ValueError as error:
        raise typer.BadParameter(
            f"no part {part!r}; there are {', '.join(Part)}", param_hint="--part"
        ) from error
    if novel is not None and report is None:
        raise typer.BadParameter("goes into a report; name its file too", param_hint="--novel")
    refuse_unwritable(report)
    try:
        images = load_manifest(manifest)
        if report is None:
            served = Served.open(model, images)
            data = served.images(images, chosen)
            evaluation = served.judge(data)
            spoilt = served.judge_spoilt(data) if corruptions else {}
            doubt = caution(served.model.metadata, images.sha256, chosen)
        else:
            assessment = assess(model, images, chosen, foreign=novel)
            evaluation, spoilt = assessment.evaluation, assessment.spoilt
            doubt = assessment.caution
    except (ManifestError, CheckpointError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{model} cannot be evaluated on {manifest}: {error}") from error
    if report is not None:
        _write(assessment, report)
    if doubt:
        sys.stderr.write(f"millwatch: {doubt}\n")
    accuracies = {kind: [each.accuracy for each in of] for kind, of in spoilt.items()}
    if as_json:
        print_json(asdict(evaluation) | ({"corruptions": accuracies} if corruptions else {}))
        return
    print_evaluation(evaluation)
    if corruptions:
        print_corruptions(accuracies)


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
    refuse_unwritable(model / "openvino.json")
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
        f"On {counted(done.int8.images, 'held-out image')}: {counted(done.int8.classes_changed, 'class')} and "
        f"{counted(done.int8.verdicts_changed, 'verdict')} differ; accuracy {percent(before)} trained, "
        f"{percent(after)} INT8\n"
        f"The model folder has {done.folder_bytes / 1e6:.1f} MB\n"
    )


def _write(assessment: "Assessment", report: Path) -> None:
    from training.report import page  # noqa: PLC0415

    try:
        page.write(assessment, report)
    except OSError as error:
        raise CommandError(f"the report {report} cannot be written: {error.strerror}") from error


def _imagenet_weights(weights: str | None) -> Path | None:
    if weights is None:
        return None
    if weights != "download":
        if not Path(weights).exists():
            raise typer.BadParameter(
                f"there is no {weights}: name a model folder, a file with torchvision's ImageNet "
                "weights, or `download`",
                param_hint="--weights",
            )
        return Path(weights)
    from torch.hub import get_dir  # noqa: PLC0415
    from torchvision.models import ResNet18_Weights  # noqa: PLC0415

    return fetched(ResNet18_Weights.DEFAULT.url, Path(get_dir()) / "checkpoints")


def fetched(url: str, folder: Path) -> Path:
    """The file there, fetched unless it is there whole: its name ends in how its SHA-256 begins.

    It is not opened here: torch's own function would run what it unpickles.

    Raises:
        CommandError: when it cannot be fetched, or is another.
    """
    from torch.hub import download_url_to_file  # noqa: PLC0415

    file = folder / Path(url).name
    digest = file.stem.rpartition("-")[2]
    try:
        if not (file.exists() and sha256(file.read_bytes()).hexdigest().startswith(digest)):
            folder.mkdir(parents=True, exist_ok=True)
            sys.stderr.write(f"fetching {url} to {file}\n")
            download_url_to_file(url, str(file), hash_prefix=digest, progress=False)
    except (OSError, HTTPException, RuntimeError) as error:  # the last for another SHA-256
        raise CommandError(
            f"torchvision's ImageNet weights cannot be fetched ({error}); fetch the file on a "
            "connected machine and name it with --weights, or train from scratch without"
        ) from error
    return file
