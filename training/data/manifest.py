"""The exact images, labels and parts of a training run, as one JSON file."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.whole import write_whole

FORMAT: Final = 1
NAME: Final = "manifest.json"
"""In a model folder: the manifest of its training run."""


class ManifestError(Exception):
    """A manifest, or an image that it names, cannot be used; the message says what to do."""


class Part(StrEnum):
    FIT = "fit"
    """Weights are learned from it."""
    SELECT = "select"
    """Chooses the epoch, fits calibration and thresholds."""
    TEST = "test"
    """Reported figures come from here alone."""


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """One image of a manifest.

    Attributes:
        path: relative to the manifest's `root`.
        sha256: of the file's bytes.
        pixels: `hash_of_pixels` of the decoded picture.
        group: the pixel hash that decides its part: its own, also when not given, or that of
            another picture which is nearly the same.
    """

    path: str
    label: str
    sha256: str
    pixels: str
    part: Part
    group: str = ""

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.pixels)

    @property
    def is_alone(self) -> bool:
        """Whether its own pixels decide its part."""
        return self.group == self.pixels


@dataclass(frozen=True, kw_only=True)
class Manifest:
    root: Path
    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]

    def of_part(self, part: Part) -> tuple[LabelledImage, ...]:
        return tuple(image for image in self.images if image.part is part)

    def counts(self) -> dict[Part, Counter[str]]:
        """Images of each class in each part."""
        return {part: Counter(image.label for image in self.of_part(part)) for part in Part}

    @property
    def sha256(self) -> str:
        """Of contents, labels, parts and groups; the same wherever the folder lies.

        Groups count only where there are any, so manifests from before them keep their hash.
        """
        rows = sorted((image.sha256, image.label, image.part.value) for image in self.images)
        grouped = sorted((it.sha256, it.group) for it in self.images if not it.is_alone)
        content = [self.classes, rows, *([grouped] if grouped else ())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Whole or not at all. Raises ManifestError."""
        document = {
            "format": FORMAT,
            "root": str(self.root),
            "classes": self.classes,
            "sha256": self.sha256,
            "images": [_without_own_group(image) for image in self.images],
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(document, indent=1) + "\n")
        except OSError as error:
            raise ManifestError(
                f"the manifest cannot be written to {path}: {error.strerror}; name another file"
            ) from error


def _without_own_group(image: LabelledImage) -> dict[str, str]:
    """A manifest without near-duplicates is then byte for byte as before there were groups."""
    row: dict[str, str] = asdict(image)
    if image.is_alone:
        del row["group"]
    return row


def load_manifest(path: Path) -> Manifest:
    """Raises ManifestError when the file is not a whole manifest of this format."""
    try:
        document = json.loads(path.read_text())
        if document["format"] != FORMAT:
            raise ManifestError(
                f"{path} has format {document['format']}, this version reads {FORMAT}; "
                "prepare it again"
            )
        images = tuple(
            LabelledImage(**{**image, "part": Part(image["part"])}) for image in document["images"]
        )
        manifest = Manifest(
            root=Path(document["root"]), classes=tuple(document["classes"]), images=images
        )
        edited = manifest.sha256 != document["sha256"]
    except FileNotFoundError as error:
        raise ManifestError(f"{path} does not exist; write it with `millwatch prepare`") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} is not a manifest ({error}); prepare it again") from error
    if edited:
        raise ManifestError(f"{path} was edited by hand (its SHA-256 differs); prepare it again")
    return manifest


def hash_of_pixels(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of a grey picture at its own size: equal for the same picture stored twice."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def part_of(pixels: str, *, select_percent: int, test_percent: int) -> Part:
    """The part that a picture belongs to for good: it follows from its pixel hash alone.

    Every copy of one picture falls on the same side, and adding images moves none. Of pictures that
    are nearly the same, all follow one hash (see `LabelledImage.group`).
    """
    bucket = int(pixels[:8], 16) % 100
    if bucket < test_percent:
        return Part.TEST
    return Part.SELECT if bucket < test_percent + select_percent else Part.FIT
