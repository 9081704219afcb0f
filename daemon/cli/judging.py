"""`predict` and `explain`: the model on any files, without the daemon."""

import errno
import io
import stat
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from config.settings import Settings
from config.text import as_one_line
from daemon.cli.options import CommandError, ConfigOption, print_json, settings_of
from daemon.intake.names import NameRule
from daemon.intake.scanning import scan
from daemon.names import to_text
from daemon.serving import ServingModelError, load_for_serving, load_serving_model
from models.decision import Decision
from models.heatmap import overlay
from models.preprocessing import Decoded, UnreadableError, UnreadableReason, decode
from models.registry import Model
from models.taxonomy import Verdict

Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH...", help="Image files, or folders of them.")
]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", metavar="M", help="A model folder; else the one that serves."),
]


_STEM_BYTES: Final = 255 - len(".heatmap-9999999.png")


def predict(paths: Paths, model: ModelOption = None, config: ConfigOption = None) -> None:
    """Print one JSON object a line: filename, prediction, confidence, verdict, reason and more.

    A file that is no whole picture has the verdict `unreadable` and its reason. A path that cannot
    be read at all is told on standard error, and the exit status is 1.
    """
    settings = settings_of(config)
    loaded = _load(settings, model)
    troubles = _Troubles()
    files = _files(paths, settings, troubles)
    while chunk := list(islice(files, settings.batching.max_images)):
        pictures: list[Decoded] = []
        lines: list[dict[str, Any]] = []
        for path in chunk:
            try:
                pictures.append(_decode(_read(path, settings), settings, size=loaded.input_size))
                lines.append({"filename": to_text(path)})
            except UnreadableError as error:
                lines.append(_unreadable_line(path, error, loaded))
            except OSError as error:
                troubles.tell(path, error)
        decisions = iter(_judge(loaded, pictures))
        for line in lines:
            print_json(line if "verdict" in line else {**line, **next(decisions)})
    troubles.exit()


def explain(
    paths: Paths,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where overlays are written.")],
    model: ModelOption = None,
    config: ConfigOption = None,
) -> None:
    """Write each picture with a Grad-CAM heatmap laid over it, as PNG, and print where."""
    settings = settings_of(config)
    loaded = _load(settings, model)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"{to_text(out)} cannot be made, for the overlays: {error.strerror}"
        ) from error
    troubles = _Troubles()
    for path in _files(paths, settings, troubles):
        try:
            data = _read(path, settings)
            seen = _decode(data, settings, size=loaded.input_size)
            whole = _decode(data, settings, size=None)
        except (UnreadableError, OSError) as error:
            troubles.tell(path, error)
            continue
        decision, heat = loaded.explain(seen.pixels)
        try:
            target = _write_new(out, to_text(path.name), overlay(whole.pixels, heat))
        except OSError as error:
            raise CommandError(
                f"the overlay of {to_text(path)} cannot be written to {to_text(out)}: "
                f"{error.strerror}"
            ) from error
        line = {"filename": to_text(path), **_judgement(decision, seen, loaded)}
        print_json({**line, "overlay": to_text(target)})
    troubles.exit()


class _Troubles:
    """Paths that could not be judged: told at once, and in the exit status at the end."""

    def __init__(self) -> None:
        self._count = 0

    def tell(self, path: Path | str, error: Exception) -> None:
        why = error.strerror if isinstance(error, OSError) else str(error)
        sys.stderr.write(as_one_line(f"millwatch: {to_text(path)} cannot be judged: {why}") + "\n")
        self._count += 1

    def exit(self) -> None:
        if self._count:
            raise typer.Exit(1)


def _load(settings: Settings, folder: Path | None) -> Model:
    """The model that the option names, else the one that serves."""
    if folder is None:
        return load_serving_model(settings)
    try:
        return load_for_serving(settings, folder)
    except ServingModelError as error:
        raise typer.BadParameter(str(error), param_hint="--model") from error


def _files(paths: list[Path], settings: Settings, troubles: _Troubles) -> Iterator[Path]:
    """The files as given, and the images in folders by name."""
    rule = NameRule.of(settings.intake)

    for path in paths:
        try:
            if not stat.S_ISDIR(path.stat().st_mode):
                yield path
                continue
            found = scan(path, rule, on_error=lambda error: troubles.tell(error.filename, error))
            names = sorted(name for name, status in found if stat.S_ISREG(status.st_mode))
        except OSError as error:
            troubles.tell(path, error)
            continue
        for name in names:
            yield path / name


def _read(path: Path, settings: Settings) -> bytes:
    """The bytes of a regular file; a pipe or a device might never end.

    Raises:
        UnreadableError: when it is larger than `intake.max_bytes`.
        OSError: when it cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is neither a file nor a folder")
    if status.st_size > settings.intake.max_bytes:
        raise UnreadableError(
            UnreadableReason.TOO_MANY_BYTES,
            f"{status.st_size} bytes; intake.max_bytes is {settings.intake.max_bytes}",
        )
    return path.read_bytes()


def _decode(data: bytes, settings: Settings, *, size: int | None) -> Decoded:
    intake = settings.intake
    return decode(
        data, size=size, max_pixels=intake.max_pixels, allow_zero_tail=intake.allow_zero_tail
    )


def _judge(model: Model, pictures: list[Decoded]) -> list[dict[str, Any]]:
    if not pictures:
        return []
    decisions = model.judge(np.stack([picture.pixels for picture in pictures]))
    return [
        _judgement(decision, picture, model)
        for decision, picture in zip(decisions, pictures, strict=True)
    ]


def _judgement(decision: Decision, picture: Decoded, model: Model) -> dict[str, Any]:
    return {
        "prediction": decision.predicted_class,
        "confidence": round(decision.confidence, 6),
        "verdict": decision.verdict.value,
        "reason": decision.reason.value,
        "novelty": round(decision.novelty, 6),
        "unknown": decision.unknown,
        "model_version": model.version,
        "notes": "; ".join(picture.notes) or None,
    }


def _unreadable_line(path: Path, error: UnreadableError, model: Model) -> dict[str, Any]:
    return {
        "filename": to_text(path),
        "prediction": None,
        "confidence": None,
        "verdict": Verdict.UNREADABLE.value,
        "reason": error.reason.value,
        "novelty": None,
        "unknown": False,
        "model_version": model.version,
        "notes": error.detail,
    }


def _write_new(out: Path, name: str, pixels: NDArray[np.uint8]) -> Path:
    """Write an overlay as PNG under a name that nothing has. Raises OSError."""
    picture = io.BytesIO()
    Image.fromarray(pixels).save(picture, "PNG")
    stem = name.encode()[:_STEM_BYTES].decode(errors="ignore")
    number = 0
    while True:
        number += 1
        target = out / f"{stem}.heatmap{'' if number == 1 else f'-{number}'}.png"
        try:
            file = target.open("xb")
        except FileExistsError:
            continue
        try:
            with file:
                file.write(picture.getvalue())
        except OSError:
            target.unlink()  # half a picture
            raise
        return target
