"""A manifest's images as folders of classes, for tools that want them so."""

import hashlib
import shutil
from pathlib import Path

from training.data.findings import PreparationError
from training.data.labelling import is_usable_label
from training.data.manifest import Manifest, Part


def write_class_folders(manifest: Manifest, out: Path) -> int:
    """Copy the manifest's images to `out/<train|validation>/<class>/`; return how many.

    Fit and select are the train folder, test is the validation folder. Names are kept; where two
    images of a class have one name, the later becomes `name_2`.

    Raises:
        PreparationError: if `out` holds anything, or an image is not as the manifest has it. Nothing is
            left of what was copied.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PreparationError(f"{out} is not an empty folder; name a new one, nothing was written")
    is_new = not out.exists()
    try:
        _write(manifest, out)
    except BaseException:
        for half in out.glob("*"):
            shutil.rmtree(half, ignore_errors=True)
        if is_new:
            shutil.rmtree(out, ignore_errors=True)
        raise
    return len(manifest.images)


def _write(manifest: Manifest, out: Path) -> None:
    for image in manifest.images:
        if not is_usable_label(image.label):
            raise PreparationError(f"{image.path}: {image.label!r} cannot be the name of a folder")
        source = manifest.root / image.path
        try:
            data = source.read_bytes()
        except OSError as error:
            raise PreparationError(f"cannot copy {source}: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise PreparationError(f"{source} changed since it was prepared; prepare it again")
        half = "validation" if image.part is Part.TEST else "train"
        _write_new(out / half / image.label, source.name, data)


def _write_new(folder: Path, name: str, data: bytes) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target, number = folder / name, 1
        while target.exists():
            number += 1
            target = folder / f"{Path(name).stem}_{number}{Path(name).suffix}"
        with target.open("xb") as file:
            file.write(data)
    except OSError as error:
        raise PreparationError(f"cannot write into {folder}: {error.strerror}") from error
