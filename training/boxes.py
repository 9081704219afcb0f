"""Where people boxed defects: the boxes of one image, and of a part as maps that can be augmented."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.preprocessing import decode
from training.manifest import LabelledImage, Manifest, Part
from training.voc import AnnotationError, Box, read_annotation

CELLS: Final = 50
"""Cells of a map along each side."""
_FINE: Final = 4
"""Points to a cell, along each side."""
_ANNOTATIONS: Final = ("annotations", "ANNOTATIONS", "Annotations")


def boxes_of(root: Path, path: str) -> tuple[Box, ...]:
    """An image's boxes that have an area, from the XML of its stem in `annotations` beside `images`.

    Empty without a readable XML.
    """
    above = (root / path).parent
    while above.is_relative_to(root):
        for name in _ANNOTATIONS:
            xml = above / name / f"{Path(path).stem}.xml"
            if not xml.is_file():
                continue
            try:
                return tuple(box for box in read_annotation(xml).boxes if box.has_area)
            except AnnotationError:
                return ()
        above = above.parent
    return ()


def coverage(manifest: Manifest, part: Part) -> NDArray[np.float32] | None:
    """How much of each place of a part's images is boxed; None when no image has a box.

    Returns:
        `(N, 2, CELLS, CELLS)` in 0..1, over the whole of each image. First what boxes of the image's
        own class cover; then that of which nothing is known: where another class is boxed, and all
        of an image without a box of its own class.
    """
    images = manifest.of_part(part)
    maps = np.zeros((len(images), 2, CELLS, CELLS), dtype=np.float32)
    for own_and_unknown, image in zip(maps, images, strict=True):
        own_and_unknown[:] = _covered(manifest.root, image)
    return maps if maps[:, 0].any() else None


def _covered(root: Path, image: LabelledImage) -> NDArray[np.float32]:
    boxes = boxes_of(root, image.path)
    fine = np.zeros((2, CELLS * _FINE, CELLS * _FINE), dtype=np.float32)
    if not any(box.label == image.label for box in boxes):
        fine[1] = 1
    else:
        height, width = decode((root / image.path).read_bytes()).pixels.shape
        for box in boxes:
            across = _points(box.left, box.right, width)
            down = _points(box.top, box.bottom, height)
            fine[int(box.label != image.label), down, across] = 1
        fine[1] *= 1 - fine[0]
    covered: NDArray[np.float32] = fine.reshape(2, CELLS, _FINE, CELLS, _FINE).mean(axis=(2, 4))
    return covered


def _points(low: float, high: float, pixels: int) -> slice:
    first, last = (round(edge * CELLS * _FINE / pixels) for edge in (low, high))
    return slice(max(first, 0), max(last, 0))
