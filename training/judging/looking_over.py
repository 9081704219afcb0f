"""What a person should look at in the images of a manifest: doubtful labels, pictures alike, defects of two classes."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from config.text import as_one_line
from training.data.boxes import boxes_of
from training.data.manifest import LabelledImage, Manifest, Part
from training.judging.doubting import Doubt, doubtful_labels


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Pictures that are the same, or nearly, by their paths as text to show.

    Attributes: parts: that they fall to; of more than one, figures flatter.
    """

    paths: tuple[str, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """An image, by its path as text to show, with boxes of other classes than its own."""

    path: str
    label: str
    others: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was found in a manifest, all parts of it.

    Attributes:
        images: that it has.
        doubts: labels, the likeliest error first; None where there are too few images to tell.
    """

    images: int
    doubts: tuple[Doubt, ...] | None
    alike: tuple[Alike, ...]
    mixed: tuple[Mixed, ...]

    @property
    def divided(self) -> int:
        """How many groups of pictures alike lie in more than one part."""
        return sum(len(each.parts) > 1 for each in self.alike)


def look_over(manifest: Manifest, model: Path) -> Look:
    """Look at every image of a manifest, whichever part it is in.

    Args:
        model: a model folder, by whose features labels are doubted.

    Raises:
        CheckpointError: for the model folder.
        ManifestError: if an image is missing or has changed.
        PermissionError: for an XML that is closed to this user.
    """
    try:
        doubts: tuple[Doubt, ...] | None = tuple(doubtful_labels(manifest, model))
    except ValueError:  # there are too few to divide into folds
        doubts = None
    return Look(
        images=len(manifest.images), doubts=doubts, alike=_alike(manifest), mixed=_mixed(manifest)
    )


def _alike(manifest: Manifest) -> tuple[Alike, ...]:
    groups: defaultdict[str, list[LabelledImage]] = defaultdict(list)
    for image in manifest.images:
        groups[image.group].append(image)
    return tuple(
        Alike(
            paths=tuple(as_one_line(image.path) for image in group),
            parts=tuple(part for part in Part if any(image.part is part for image in group)),
        )
        for group in groups.values()
        if len(group) > 1
    )


def _mixed(manifest: Manifest) -> tuple[Mixed, ...]:
    found = []
    for part in Part:
        for image, boxed in zip(manifest.of_part(part), boxes_of(manifest, part), strict=True):
            others = {box.label for box in boxed.boxes} - {image.label} if boxed else set()
            if others:
                path = as_one_line(image.path)
                found.append(Mixed(path=path, label=image.label, others=tuple(sorted(others))))
    return tuple(sorted(found, key=lambda each: each.path))
