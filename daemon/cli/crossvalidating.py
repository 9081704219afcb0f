"""`crossvalidate`: how good a recipe is, not one lucky split."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from config.text import counted, percent
from daemon.cli.options import (
    CommandError,
    JsonOption,
    console_of_answers,
    print_json,
    refuse_unwritable,
    table_of_answers,
)
from daemon.cli.recipes import RecipesOption, SeedOption, chosen_recipes
from daemon.cli.showing import EpochDisplay, print_corruptions, print_evaluation, print_pointing

if TYPE_CHECKING:
    from training.crossvalidate import Crossvalidation
    from training.leaveout import LeftOut


def crossvalidate(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="From `prepare`.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where each fold's model goes.")
    ],
    recipe: RecipesOption = None,
    folds: Annotated[int, typer.Option(min=2, help="Into how many the images are divided.")] = 5,
    fold: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, help="Only this of the folds; can be given again."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipes'.")] = None,
    seed: SeedOption = 1,
    *,
    corruptions: Annotated[
        bool, typer.Option("--corruptions", help="Also on spoilt copies of each image.")
    ] = False,
    novel: Annotated[
        Path | None,
        typer.Option(
            "--novel", metavar="DIR", help="Pictures of other things, which should be unknown."
        ),
    ] = None,
    leave_out: Annotated[
        bool,
        typer.Option(
            "--leave-out",
            help="Instead of folds, leave each class out in turn and see whether it is called "
            "unknown.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Test a recipe on every image once, each by a model that never saw it. Goes on where it ended."""
    from models.checkpoint import CheckpointError  # noqa: PLC0415 -- see `daemon.cli.learning`
    from training import crossvalidate as step  # noqa: PLC0415
    from training.data.manifest import ManifestError, load_manifest  # noqa: PLC0415
    from training.fitting.fit import FitError  # noqa: PLC0415
    from training.fitting.resuming import ResumeError  # noqa: PLC0415
    from training.leaveout import leave_out as leave_each_out  # noqa: PLC0415

    if leave_out and (corruptions or novel is not None or fold):
        raise typer.BadParameter(
            "--corruptions, --novel and --fold are of folds", param_hint="--leave-out"
        )
    chosen = chosen_recipes(recipe, epochs)
    refuse_unwritable(out / "fold-1")
    try:
        images = load_manifest(manifest)
        with EpochDisplay() as display:
            if leave_out:
                left = leave_each_out(
                    images,
                    out,
                    recipes=chosen,
                    seed=seed,
                    on_epoch=lambda name, epoch: display.show(epoch, f"without {name}  "),
                )
            else:
                result = step.crossvalidate(
                    images,
                    out,
                    recipes=chosen,
                    folds=folds,
                    only=fold or None,
                    seed=seed,
                    corruptions=corruptions,
                    foreign=novel,
                    on_epoch=lambda at, epoch: display.show(epoch, f"fold {at + 1}/{folds}  "),
                )
                result.save(out / "crossvalidation.json")
    except (ManifestError, FitError, ResumeError, CheckpointError, OSError) as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json({n: asdict(of) for n, of in left.items()} if leave_out else asdict(result))
    elif leave_out:
        _print_left_out(left)
    else:
        _print_folds(result)


def _print_folds(result: "Crossvalidation") -> None:
    print_evaluation(result.pooled)
    for path, true, choice in result.mistakes:
        sys.stdout.write(f"{path}: {true}, taken for {choice}\n")
    folds = zip(result.numbers, result.folds, strict=True)
    told = ", ".join(f"{right.count} of {right.of} in fold {number}" for number, right in folds)
    sys.stdout.write(f"right: {told}\n")
    unknown = result.called_unknown
    sys.stdout.write(
        f"called unknown: {unknown.count} of {unknown.of} ({percent(unknown.share)})\n"
    )
    if result.corruptions:
        print_corruptions(result.corruptions)
    if result.pointing:
        print_pointing(result.pointing)
    # For each fold, or for none when they were not asked for.
    for number, seen in zip(result.numbers, result.foreign, strict=False):
        sys.stdout.write(
            f"fold {number}: {percent(seen.called_unknown.share, 1)} of {counted(seen.called_unknown.of, 'picture')} in "
            f"{seen.name} called unknown, AUROC {seen.auroc:.3f}\n"
        )


def _print_left_out(left: "dict[str, LeftOut]") -> None:
    table = table_of_answers("never shown", "AUROC", "called unknown", "known called unknown")
    for name, of in left.items():
        cells = (percent(of.called_unknown, 1), percent(of.known_called_unknown, 1))
        table.add_row(escape(name), f"{of.auroc:.3f}", *cells)
    console = console_of_answers()
    console.print(table)
    mean = sum(of.auroc for of in left.values()) / len(left)
    console.print(f"mean AUROC: {mean:.3f}", highlight=False)
