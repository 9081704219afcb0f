"""`prepare`, `train` and `evaluate`. What trains is imported when it is asked for: it is heavy."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from daemon.cli.options import CommandError, JsonOption, print_json

if TYPE_CHECKING:
    from training.evaluate import Evaluation
    from training.fit import Epoch


def register(app: typer.Typer) -> None:
    app.command()(prepare)
    app.command()(train)
    app.command()(evaluate)
    app.command()(crossvalidate)


def prepare(
    neu_det: Annotated[Path, typer.Argument(metavar="NEU_DET_DIR", help="As Kaggle lays it out.")],
    out: Annotated[Path, typer.Option("--out", metavar="MANIFEST", help="The manifest to write.")],
    folders: Annotated[
        Path | None,
        typer.Option("--folders", metavar="DIR", help="Also copy the images to class folders."),
    ] = None,
    select_percent: Annotated[
        int, typer.Option(min=0, max=99, help="Share held out to choose the epoch.")
    ] = 15,
    test_percent: Annotated[
        int, typer.Option(min=0, max=99, help="Share held out to report figures from.")
    ] = 15,
) -> None:
    """Turn NEU-DET with its VOC annotations into a manifest, and report what is wrong in the data."""
    from training import neu_det as step  # noqa: PLC0415 -- see the module

    try:
        manifest, report = step.prepare(
            neu_det, select_percent=select_percent, test_percent=test_percent
        )
        manifest.save(out)
        for line in report.lines():
            sys.stdout.write(f"{line}\n")
        sys.stdout.write(f"{out}: manifest {manifest.sha256[:12]}\n")
        if folders is not None:
            count = step.write_class_folders(manifest, folders)
            sys.stdout.write(f"{folders}: {count} images in class folders\n")
    except (step.PreparationError, OSError) as error:
        raise CommandError(str(error)) from error


def train(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="From `prepare`.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The model folder to write.")],
    recipe: Annotated[str, typer.Option(help="`better`, or `original` (Adam at 1e-3).")] = "better",
    weights: Annotated[
        str | None,
        typer.Option(
            help="What to start from: a model folder, a file with torchvision's ImageNet weights, "
            "or `download` for those."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: Annotated[int, typer.Option(help="Makes the run repeatable.")] = 1,
) -> None:
    """Train a network on a manifest and write it, its figures and its curves to a model folder."""
    from dataclasses import replace  # noqa: PLC0415

    from models.checkpoint import CheckpointError  # noqa: PLC0415
    from training import run as step  # noqa: PLC0415 -- see the module
    from training.fit import FitError  # noqa: PLC0415
    from training.manifest import ManifestError, load_manifest  # noqa: PLC0415
    from training.recipe import RECIPES  # noqa: PLC0415

    if recipe not in RECIPES:
        raise typer.BadParameter(
            f"no recipe {recipe!r}; there are {', '.join(RECIPES)}", param_hint="--recipe"
        )
    chosen = RECIPES[recipe] if epochs is None else replace(RECIPES[recipe], epochs=epochs)
    with _EpochDisplay() as display:
        try:
            metadata, evaluation = step.train(
                load_manifest(manifest),
                out,
                recipe=chosen,
                seed=seed,
                weights=_imagenet_weights(weights),
                on_epoch=display.show,
            )
        except (ManifestError, FitError, CheckpointError, ValueError, OSError) as error:
            raise CommandError(str(error)) from error
    sys.stdout.write(f"{out}: model {metadata.version}\n")
    _print_evaluation(evaluation)


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="From `prepare`.")],
    part: Annotated[str, typer.Option(help="`test`, `select` or `fit`.")] = "test",
    *,
    corruptions: Annotated[
        bool, typer.Option("--corruptions", help="Also on spoilt copies of each image.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge a part of a manifest as the model would serve: accuracy, precision, recall, confusion."""
    from dataclasses import asdict  # noqa: PLC0415

    from models.checkpoint import CheckpointError  # noqa: PLC0415
    from training.manifest import ManifestError, Part, load_manifest  # noqa: PLC0415
    from training.serving import evaluate_as_served, evaluate_corrupted  # noqa: PLC0415

    try:
        chosen = Part(part)
    except ValueError as error:
        raise typer.BadParameter(
            f"no part {part!r}; there are {', '.join(Part)}", param_hint="--part"
        ) from error
    try:
        evaluation = evaluate_as_served(model, load_manifest(manifest), chosen)
        spoilt = {}
        if corruptions:
            spoilt = evaluate_corrupted(model, load_manifest(manifest), chosen)
    except (ManifestError, CheckpointError) as error:
        raise CommandError(str(error)) from error
    accuracies = {kind: [each.accuracy for each in of] for kind, of in spoilt.items()}
    if as_json:
        print_json(asdict(evaluation) | ({"corruptions": accuracies} if corruptions else {}))
        return
    _print_evaluation(evaluation)
    if corruptions:
        _print_corruptions(accuracies)


def crossvalidate(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="From `prepare`.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where each fold's models go.")],
    recipe: Annotated[
        list[str] | None, typer.Option(help="A phase of training; again for the next phase.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Into how many the images are divided.")] = 5,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipes'.")] = None,
    seed: Annotated[int, typer.Option(help="Makes the run repeatable.")] = 1,
    *,
    corruptions: Annotated[
        bool, typer.Option("--corruptions", help="Also on spoilt copies of each image.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Test a recipe on every image once, each by a model that never saw it. Goes on where it ended."""
    from dataclasses import asdict, replace  # noqa: PLC0415 -- see the module

    from models.checkpoint import CheckpointError  # noqa: PLC0415
    from training import crossvalidate as step  # noqa: PLC0415
    from training.fit import FitError  # noqa: PLC0415
    from training.manifest import ManifestError, load_manifest  # noqa: PLC0415
    from training.recipe import RECIPES  # noqa: PLC0415

    names = recipe or ["better", "sturdy"]
    if unknown := [name for name in names if name not in RECIPES]:
        raise typer.BadParameter(
            f"no recipe {unknown[0]!r}; there are {', '.join(RECIPES)}", param_hint="--recipe"
        )
    chosen = [RECIPES[name] for name in names]
    if epochs is not None:
        chosen = [replace(each, epochs=epochs) for each in chosen]
    with _EpochDisplay() as display:
        try:
            result = step.crossvalidate(
                load_manifest(manifest),
                out,
                recipes=chosen,
                folds=folds,
                seed=seed,
                corruptions=corruptions,
                on_epoch=lambda fold, epoch: display.show(epoch, f"fold {fold + 1}/{folds}  "),
            )
        except (ManifestError, FitError, CheckpointError, OSError) as error:
            raise CommandError(str(error)) from error
    result.save(out / "crossvalidation.json")
    if as_json:
        print_json(asdict(result))
        return
    _print_evaluation(result.pooled)
    for path, true, choice in result.mistakes:
        sys.stdout.write(f"{path}: {true}, taken for {choice}\n")
    sys.stdout.write(f"called unknown: {result.called_unknown:.2%}\n")
    if corruptions:
        _print_corruptions(result.corruptions)


def _imagenet_weights(weights: str | None) -> Path | None:
    if weights is None:
        return None
    if weights != "download":
        return Path(weights)
    from torch.hub import get_dir, load_state_dict_from_url  # noqa: PLC0415
    from torchvision.models import ResNet18_Weights  # noqa: PLC0415

    url = ResNet18_Weights.DEFAULT.url
    try:
        load_state_dict_from_url(url, progress=False)
    except OSError as error:
        raise CommandError(
            f"torchvision's ImageNet weights cannot be fetched ({error}); fetch the file on a "
            "connected machine and name it with --weights, or train from scratch without"
        ) from error
    return Path(get_dir()) / "checkpoints" / Path(url).name


class _EpochDisplay:
    """A bar on a terminal, a plain line an epoch elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task("reading images", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, epoch: "Epoch", where: str = "") -> None:
        text = (
            f"{where}epoch {epoch.number}/{epoch.epochs}  loss {epoch.fit_loss:.3f}  "
            f"held out: loss {epoch.select_loss:.3f}, accuracy {epoch.select_accuracy:.2%}"
            f"{'  kept' if epoch.kept else ''}"
        )
        if self._bar:
            self._bar.update(
                self._task, description=text, total=epoch.epochs, completed=epoch.number
            )
        else:
            self._console.print(text, highlight=False)


def _print_evaluation(evaluation: "Evaluation") -> None:
    low, high = evaluation.accuracy_interval
    console = Console()
    console.print(
        f"accuracy {evaluation.accuracy:.2%} of {evaluation.images} images "
        f"(95 % interval {low:.2%} to {high:.2%}), "
        f"calibration error {evaluation.expected_calibration_error:.3f}",
        highlight=False,
    )
    table = Table("true class", "precision", "recall", *(n[:8] for n in evaluation.classes))
    for (name, figures), counts in zip(
        evaluation.classes.items(), evaluation.confusion, strict=True
    ):
        cells = (f"{figures.precision:.3f}", f"{figures.recall:.3f}", *map(str, counts))
        table.add_row(name, *cells)
    console.print(table)


def _print_corruptions(accuracies: dict[str, list[float]]) -> None:
    table = Table("accuracy on spoilt images", "slightly", "clearly", "badly")
    for kind, by_severity in accuracies.items():
        table.add_row(kind, *(f"{accuracy:.2%}" for accuracy in by_severity))
    every = [accuracy for by_severity in accuracies.values() for accuracy in by_severity]
    Console().print(table)
    Console().print(f"mean over all of them: {sum(every) / len(every):.2%}", highlight=False)
