"""Reads one Pascal VOC annotation: which classes lie where in an image."""

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

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
    """What a file says of an image.

    Attributes:
        filename: of the image, as written there.
        size: its width and height in the pixels that boxes are in; zeros where not given.
    """

    filename: str | None
    size: tuple[int, int]
    boxes: tuple[Box, ...]

    def is_of(self, width: int, height: int) -> bool:
        """Whether boxes are in the pixels of an image of this size, for all that is said."""
        return self.size in ((0, 0), (width, height), (height, width))

    def on(self, width: int, height: int) -> Self:
        """The same on an image of this size, which was made smaller or larger since."""
        if self.is_of(width, height):
            return self
        across, down = width / self.size[0], height / self.size[1]
        boxes = tuple(
            replace(
                box,
                left=box.left * across,
                top=box.top * down,
                right=box.right * across,
                bottom=box.bottom * down,
            )
            for box in self.boxes
        )
        return replace(self, size=(width, height), boxes=boxes)

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
    return Annotation(filename=_text(root, "filename"), size=_size(root), boxes=boxes)


def _size(root: ET.Element) -> tuple[int, int]:
    """Tools that do not know it write 0, or nothing."""
    try:
        width, height = (int(_text(root, f"size/{tag}") or 0) for tag in ("width", "height"))
    except ValueError:
        return 0, 0
    return (width, height) if width > 0 and height > 0 else (0, 0)


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
