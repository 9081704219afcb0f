"""Exported models for tests: a small model, its pictures as files, and their manifest."""

import json
from dataclasses import dataclass
from pathlib import Path

from builders import write_model
from drawn import drawn_manifest

from models.checkpoint import METADATA, load_metadata
from training.data.manifest import Manifest, Part
from training.model_folder.export import export

TELLS_APART = 6
"""A random network that tells two classes apart so well that INT8 agrees on any processor."""


def write_manifest(folder: Path, classes: tuple[str, ...], *, fitted: int = 20) -> Manifest:
    """The pictures that `builders.write_model` fits, or fewer, and holds out, as files."""
    seeds = {Part.FIT: range(fitted), Part.SELECT: range(100, 110)}
    return drawn_manifest(folder, classes, seeds)


def write_model_of(manifest: Manifest, folder: Path) -> Path:
    """A small model that says it was trained on the manifest."""
    write_model(folder, manifest.classes, seed=TELLS_APART)
    metadata = json.loads((folder / METADATA).read_text())
    metadata["manifest_sha256"] = manifest.sha256
    (folder / METADATA).write_text(json.dumps(metadata))
    assert load_metadata(folder).manifest_sha256 == manifest.sha256
    return folder


@dataclass(frozen=True)
class Exported:
    """A model that was exported, below a folder of its own."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "model"

    @property
    def manifest_file(self) -> Path:
        return self.root / "manifest.json"


def write_exported(root: Path) -> None:
    """Two classes that a random network tells apart, so that its INT8 agrees with it."""
    exported = Exported(root)
    manifest = write_manifest(root / "data", ("inclusion", "scratches"))
    manifest.save(exported.manifest_file)
    done = export(write_model_of(manifest, exported.folder), manifest)
    assert done.serves == "int8", done.reason
