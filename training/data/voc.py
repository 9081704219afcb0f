"""Reads one Pascal VOC annotation: which classes lie where in an image."""

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.taxonomy import known_name

MAX_BYTES: Final = 1_000_000


class AnnotationError(Exception):
    """This file cannot be used as an annotation; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """One object. Corners in pixels, from the left and the top of the image.

    Attributes: label: as Millwatch spells it where it knows the class.
    """

    label: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def has_area(self) -> bool:
        return self.right > self.left and self.bottom > self.top

    def reaches_outside(self, width: int, height: int) -> bool:
        across, down = (self.left, self.right), (self.top, self.bottom)
        return min(*across, *down) < 0 or max(across) > width or max(down) > height

    def area_inside(self, width: int, height: int) -> float:
        """Square pixels of the box that lie on an image of this size."""
        across = min(self.right, width) - max(self.left, 0)
        down = min(self.bottom, height) - max(self.top, 0)
        return max(across, 0.0) * max(down, 0.0)


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Attributes: filename: the image that the file says it describes, as written there."""

    filename: str | None
    boxes: tuple[Box, ...]

    def area_of_each_class(self, width: int, height: int) -> dict[str, float]:
        """Square pixels on an image of this size; a class without any is in it with 0."""
        areas: dict[str, float] = {}
        for box in self.boxes:
            areas[box.label] = areas.get(box.label, 0.0) + box.area_inside(width, height)
        return areas


def read_annotation(path: Path) -> Annotation:
    """Raises AnnotationError for a file that is not a Pascal VOC annotation or not safe to parse."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise AnnotationError(f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise AnnotationError(f"larger than {MAX_BYTES} bytes")
    # Entities can only be declared in a DOCTYPE, and no annotation has one. Without its zero bytes
    # UTF-16 reads as ASCII; no other encoding that expat accepts can spell the word differently.
    if b"<!DOCTYPE" in data.replace(b"\0", b""):
        raise AnnotationError("has a DOCTYPE, which could expand without limit")
    try:
        root = ET.fromstring(data)  # noqa: S314 -- short and without entities, as made sure above
    except (ET.ParseError, LookupError, ValueError) as error:
        raise AnnotationError(f"malformed: {error}") from error
    if root.tag != "annotation":
        raise AnnotationError(f"begins with <{root.tag}>, expected <annotation>")
    boxes = tuple(_box(number, found) for number, found in enumerate(root.findall("object"), 1))
    return Annotation(filename=_text(root, "filename"), boxes=boxes)


def _text(parent: ET.Element, tag: str) -> str | None:
    return (parent.findtext(tag) or "").strip() or None


def _box(number: int, found: ET.Element) -> Box:
    label = _text(found, "name")
    if label is None:
        raise AnnotationError(f"object {number} has no <name>")

    def corner(tag: str) -> float:
        text = _text(found, f"bndbox/{tag}")
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise AnnotationError(f"object {number} ({label}) has <{tag}> {text!r}, not a number")
        return value

    return Box(
        label=known_name(label),
        left=corner("xmin"),
        top=corner("ymin"),
        right=corner("xmax"),
        bottom=corner("ymax"),
    )
