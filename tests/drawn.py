"""Sets of drawn surfaces as files, with their manifests."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from builders import surface_file
from commands import Millwatch

from models.preprocessing import decode
from training.data.manifest import LabelledImage, Manifest, Part, hash_of_pixels


def drawn_manifest(
    root: Path, classes: Sequence[str], seeds: Mapping[Part, Sequence[int]]
) -> Manifest:
    """A picture of each class for each seed, in the part that is named; nothing is saved but them."""
    root.mkdir(parents=True, exist_ok=True)
    images = []
    for part, numbers in seeds.items():
        for label in classes:
            for seed in numbers:
                data = surface_file(label, seed=seed)
                path = root / f"{label}-{seed}.jpg"
                path.write_bytes(data)
                images.append(
                    LabelledImage(
                        path=path.name,
                        label=label,
                        sha256=hashlib.sha256(data).hexdigest(),
                        pixels=hash_of_pixels(decode(data).pixels),
                        part=part,
                    )
                )
    return Manifest(root=root, classes=tuple(classes), images=tuple(images))


def prepared_manifest(
    millwatch: Millwatch, folder: Path, classes: Sequence[str], *, images_of_a_class: int
) -> Path:
    """What `prepare` makes of a set that lies as Kaggle lays out NEU-DET; the manifest's file."""
    for label in classes:
        pictures = folder / "data" / "train" / "images" / label
        pictures.mkdir(parents=True)
        for number in range(images_of_a_class):
            (pictures / f"{label}_{number}.jpg").write_bytes(surface_file(label, seed=number))
    out = folder / "manifest.json"
    done = millwatch("prepare", folder / "data", "--out", out)
    assert done.status == 0, done.err
    return out
