"""`predict` and `explain`: the model on any files, without the daemon."""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from config.settings import Settings
from daemon.cli.options import CommandError, ConfigOption, print_json, settings_of
from daemon.intake.names import NameRule
from daemon.intake.scanning import scan
from daemon.names import to_text
from daemon.serving import load_serving_model
from models.decision import Decision
from models.heatmap import overlay
from models.preprocessing import UnreadableError, decode
from models.registry import Model
from models.taxonomy import Verdict

Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH...", help="Image files, or folders of them.")
]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", metavar="M", help="A model folder; else what the configuration names."),
]


def register(app: typer.Typer) -> None:
    app.command()(predict)
    app.command()(explain)


def predict(paths: Paths, model: ModelOption = None, config: ConfigOption = None) -> None:
    """Print one JSON object a line: filename, prediction, confidence, verdict, reason and more.

    A file that is no whole picture has the verdict `unreadable` and its reason. A path that cannot
    be read at all is told on standard error, and the exit status is 1.
    """
    settings = _with_model(settings_of(config), model)
    loaded = load_serving_model(settings)
    failed = 0
    files = _files(paths, settings)
    while chunk := list(islice(files, settings.batching.max_images)):
        readable: list[tuple[Path, NDArray[np.uint8]]] = []
        lines: dict[Path, dict[str, Any]] = {}
        for path in chunk:
            try:
                readable.append((path, _decode(path, settings, size=loaded.input_size)))
            except UnreadableError as error:
                lines[path] = _unreadable_line(path, error, loaded)
            except OSError as error:
                failed += _tell(path, error)
        if readable:
            decisions = loaded.judge(np.stack([pixels for _, pixels in readable]))
            for (path, _), decision in zip(readable, decisions, strict=True):
                lines[path] = _line(path, decision, loaded)
        for path in chunk:
            if path in lines:
                print_json(lines[path])
    if failed:
        raise typer.Exit(1)


def explain(
    paths: Paths,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where overlays are written.")],
    model: ModelOption = None,
    config: ConfigOption = None,
) -> None:
    """Write each picture with a Grad-CAM heatmap laid over it, as PNG, and print where."""
    settings = _with_model(settings_of(config), model)
    loaded = load_serving_model(settings)
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in _files(paths, settings):
        try:
            seen = _decode(path, settings, size=loaded.input_size)
            whole = _decode(path, settings, size=None)
        except (UnreadableError, OSError) as error:
            failed += _tell(path, error)
            continue
        decision, heat = loaded.explain(seen)
        target = _free_name(out, to_text(path.name))
        Image.fromarray(overlay(whole, heat)).save(target)
        print_json({**_line(path, decision, loaded), "overlay": str(target)})
    if failed:
        raise typer.Exit(1)


def _with_model(settings: Settings, model: Path | None) -> Settings:
    if model is None:
        return settings
    chosen = settings.model.model_copy(update={"folder": model})
    return settings.model_copy(update={"model": chosen})


def _files(paths: list[Path], settings: Settings) -> Iterator[Path]:
    """The files as given, and those in folders by name."""
    rule = NameRule(extensions=settings.intake.extensions, ignore=settings.intake.ignore)

    def refuse(error: OSError) -> None:
        raise CommandError(f"{error.filename} cannot be read: {error.strerror}") from error

    for path in paths:
        if path.is_dir():
            yield from sorted(path / filename for filename, _ in scan(path, rule, on_error=refuse))
        else:
            yield path


def _decode(path: Path, settings: Settings, *, size: int | None) -> NDArray[np.uint8]:
    intake = settings.intake
    return decode(
        path.read_bytes(),
        size=size,
        max_pixels=intake.max_pixels,
        allow_zero_tail=intake.allow_zero_tail,
    ).pixels


def _line(path: Path, decision: Decision, model: Model) -> dict[str, Any]:
    return {
        "filename": to_text(path),
        "prediction": decision.predicted_class,
        "confidence": round(decision.confidence, 6),
        "verdict": decision.verdict.value,
        "reason": decision.reason.value,
        "novelty": round(decision.novelty, 6),
        "unknown": decision.unknown,
        "model_version": model.version,
    }


def _unreadable_line(path: Path, error: UnreadableError, model: Model) -> dict[str, Any]:
    return {
        "filename": to_text(path),
        "prediction": None,
        "confidence": None,
        "verdict": Verdict.UNREADABLE.value,
        "reason": str(error),
        "novelty": None,
        "unknown": False,
        "model_version": model.version,
    }


def _tell(path: Path, error: Exception) -> int:
    why = error.strerror if isinstance(error, OSError) else str(error)
    sys.stderr.write(f"millwatch: {to_text(path)} cannot be judged: {why}\n")
    return 1


def _free_name(out: Path, name: str) -> Path:
    """A PNG name for an overlay that overwrites nothing."""
    target = out / f"{name}.heatmap.png"
    number = 2
    while target.exists():
        target = out / f"{name}.heatmap-{number}.png"
        number += 1
    return target
