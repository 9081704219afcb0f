"""Where people boxed defects: the boxes of one image, and of a part as maps that can be augmented."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import read_image
from training.data.layout import annotations_under
from training.data.manifest import LabelledImage, Manifest, Part
from training.data.voc import AnnotationError, Box, read_annotation

CELLS: Final = 50
"""Cells of a map along each side."""
_FINE: Final = 4
"""Points to a cell, along each side."""


@dataclass(frozen=True, kw_only=True)
class Boxed:
    """One image of that size in pixels, with its boxes that have an area on it, if any."""

    height: int
    width: int
    boxes: tuple[Box, ...]

    def of(self, label: str) -> tuple[Box, ...]:
        return tuple(box for box in self.boxes if box.label == label)


def boxes_of(manifest: Manifest, part: Part) -> list[Boxed | None]:
    """Of each image of a part, from the XML that `prepare` labelled it by; None without a readable one.

    Raises:
        ManifestError: as `training.data.dataset.load_part`.
        PermissionError: for an XML that is closed to this user.
    """
    xml_of = annotations_under(manifest.root)
    return [_boxed(manifest, it, xml_of.get(it.path)) for it in manifest.of_part(part)]


def coverage(manifest: Manifest, part: Part) -> NDArray[np.float32] | None:
    """How much of each place of a part's images is boxed; None when no image has a box.

    Returns:
        `(N, 2, CELLS, CELLS)` in 0..1, over the whole of each image. First what boxes of the image's
        own class cover; then that of which nothing is known: where another class is boxed, and all
        of an image without a box of its own class.
    """
    images = manifest.of_part(part)
    maps = np.zeros((len(images), 2, CELLS, CELLS), dtype=np.float32)
    for own_and_unknown, image, boxed in zip(maps, images, boxes_of(manifest, part), strict=True):
        own_and_unknown[:] = _covered(boxed, image.label)
    return maps if maps[:, 0].any() else None


def _boxed(manifest: Manifest, image: LabelledImage, xml: Path | None) -> Boxed | None:
    if xml is None:
        return None
    try:
        annotation = read_annotation(xml)
    except AnnotationError as error:
        if isinstance(error.__cause__, PermissionError):
            raise error.__cause__ from None
        return None
    height, width = read_image(manifest, image).shape
    boxes = annotation.on(width, height).boxes
    seen = tuple(box for box in boxes if box.area_inside(width, height))
    return Boxed(height=height, width=width, boxes=seen)


def _covered(boxed: Boxed | None, label: str) -> NDArray[np.float32]:
    fine = np.zeros((2, CELLS * _FINE, CELLS * _FINE), dtype=np.float32)
    if boxed is None or not boxed.of(label):
        fine[1] = 1
    else:
        for box in boxed.boxes:
            across = _points(box.left, box.right, boxed.width)
            down = _points(box.top, box.bottom, boxed.height)
            fine[int(box.label != label), down, across] = 1
        fine[1] *= 1 - fine[0]
    covered: NDArray[np.float32] = fine.reshape(2, CELLS, _FINE, CELLS, _FINE).mean(axis=(2, 4))
    return covered


def _points(low: float, high: float, pixels: int) -> slice:
    first, last = (round(edge * CELLS * _FINE / pixels) for edge in (low, high))
    return slice(max(first, 0), max(last, 0))
