"""`prepare`: from a folder or a zip of pictures to a manifest, and what is wrong in the data."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from config.text import counted, percent
from daemon.cli.options import CommandError, refuse_unwritable
from daemon.cli.showing import ImageDisplay

if TYPE_CHECKING:
    from training.data.manifest import Manifest


def prepare(
    neu_det: Annotated[
        Path,
        typer.Argument(
            metavar="NEU_DET", help="A folder as Kaggle lays it out or flat, or a zip of one."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="MANIFEST", dir_okay=False, help="The manifest to write."),
    ],
    folders: Annotated[
        Path | None,
        typer.Option("--folders", metavar="DIR", help="Also copy the images to class folders."),
    ] = None,
    select_percent: Annotated[
        int,
        typer.Option(
            min=0,
            max=99,
            help="Share held out for temperature, novelty and thresholds (and, with the recipe "
            "`original`, the epoch).",
        ),
    ] = 15,
    test_percent: Annotated[
        int, typer.Option(min=0, max=99, help="Share held out to report figures from.")
    ] = 15,
    *,
    label_errors: Annotated[
        bool, typer.Option("--label-errors", help="Also list labels that may be wrong.")
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Whose features judge the labels; else the one shipped."),
    ] = None,
) -> None:
    """Turn NEU-DET with its VOC annotations into a manifest, and report what is wrong in the data."""
    # What decodes and trains is imported when it is asked for: it is heavy.
    from training.data import neu_det as step  # noqa: PLC0415
    from training.data.class_folders import write_class_folders  # noqa: PLC0415
    from training.data.findings import PreparationError  # noqa: PLC0415
    from training.data.manifest import ManifestError  # noqa: PLC0415

    if model is not None and not label_errors:
        raise typer.BadParameter("only --label-errors uses a model", param_hint="--model")
    refuse_unwritable(out)
    refuse_unwritable(folders)
    try:
        folder = _unpacked(neu_det, out)
        with ImageDisplay() as display:
            manifest, report = step.prepare(
                folder,
                select_percent=select_percent,
                test_percent=test_percent,
                progress=display.show,
            )
        manifest.save(out)
        for line in report.lines():
            sys.stdout.write(f"{line}\n")
        sys.stdout.write(f"{out}: manifest {manifest.sha256[:12]}\n")
        if folders is not None:
            count = write_class_folders(manifest, folders)
            sys.stdout.write(f"{folders}: {counted(count, 'image')} in class folders\n")
    except (PreparationError, ManifestError, OSError) as error:
        raise CommandError(str(error)) from error
    if label_errors:
        _print_label_errors(manifest, model)


def _unpacked(neu_det: Path, out: Path) -> Path:
    """The folder itself, or the one that a zip is unpacked to, beside the manifest."""
    from training.data.archive import unpack  # noqa: PLC0415

    if not neu_det.is_file():
        return neu_det
    folder, again = unpack(neu_det, out.parent)
    done = "unpacked before, used again" if again else "unpacked"
    sys.stdout.write(f"{folder}: {neu_det.name} {done}; training reads the images from here\n")
    return folder


def _print_label_errors(manifest: "Manifest", model: Path | None) -> None:
    from models.checkpoint import CheckpointError  # noqa: PLC0415
    from models.registry import PRETRAINED  # noqa: PLC0415
    from training.data.manifest import ManifestError  # noqa: PLC0415
    from training.judging.doubting import doubtful_labels  # noqa: PLC0415

    try:
        doubts = doubtful_labels(manifest, model or PRETRAINED)
    except (CheckpointError, ManifestError, ValueError, OSError) as error:
        raise CommandError(f"the labels cannot be judged: {error}") from error
    likely = sum(doubt.confident for doubt in doubts)
    sys.stdout.write(f"{counted(len(doubts), 'label')} to look at, {likely} of them likely wrong\n")
    for doubt in doubts:
        sys.stdout.write(
            f"{doubt.path}: labelled {doubt.given}, {'likely' if doubt.confident else 'perhaps'} "
            f"{doubt.likelier} ({percent(doubt.probability, 0)}, margin {doubt.margin:+.2f})\n"
        )
