"""Which class a picture is of, by its XML and by where it lies, and what is odd about either.

A picture's label is what its folder says where the XML names that class, else the class with the
most box area in the XML; without a usable XML it is what the folder says. In a flat layout the
beginning of the file's name speaks for the folder.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.preprocessing import UnreadableError, UnreadableReason, decode
from models.taxonomy import NAMED_CLASSES, UNKNOWN
from training.data.duplicates import fingerprint
from training.data.findings import Finding, Kind
from training.data.layout import PICTURE_SUFFIXES, Picture
from training.data.manifest import hash_of_pixels
from training.data.voc import Annotation, AnnotationError, read_annotation

_LONGEST_LABEL: Final = 64


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A picture that can be learned from; the attributes as in `LabelledImage`."""

    picture: Picture
    label: str
    sha256: str
    pixels: str
    fingerprint: NDArray[np.float16]


def label_picture(
    picture: Picture, xml: Path | None, *, shared: bool
) -> tuple[Labelled | None, tuple[Finding, ...]]:
    """None for a picture that has to be left out; a finding says why.

    Args:
        shared: whether other pictures of its name have the same XML, which is of one of them only.
    """
    try:
        data = picture.file.read_bytes()
        decoded = decode(data)
    except (OSError, UnreadableError) as error:
        detail = "unreadable, left out"
        finding = _finding(picture, Kind.UNREADABLE, detail, because=_why_unreadable(error))
        return None, (finding,)
    label, findings = _label(picture, xml, decoded.width, decoded.height, shared=shared)
    if label is None:
        return None, findings
    labelled = Labelled(
        picture=picture,
        label=label,
        sha256=hashlib.sha256(data).hexdigest(),
        pixels=hash_of_pixels(decoded.pixels),
        fingerprint=fingerprint(decoded.pixels),
    )
    return labelled, findings


def _why_unreadable(error: OSError | UnreadableError) -> str:
    if isinstance(error, UnreadableError) and error.reason is UnreadableReason.ZERO_TAIL:
        # A camera's setting, which the error names, is none of a data set's.
        return "it ends in zeros, as if not fully written; if it ends in black, store it as PNG"
    return str(error)


def is_usable_label(label: str) -> bool:
    """Whether it can name a class, as a line takes labels, and so a folder of any file system."""
    return (
        label != UNKNOWN
        and label.isprintable()
        and len(label) <= _LONGEST_LABEL
        and len(label.encode()) <= 3 * _LONGEST_LABEL
        and not label.startswith(".")
        and not set(label) & {"/", "\\", ":"}
        and label.strip() == label != ""
    )


def _label(
    picture: Picture, xml: Path | None, width: int, height: int, *, shared: bool
) -> tuple[str | None, tuple[Finding, ...]]:
    if xml is None:
        return _label_by_place(picture, Kind.NO_XML, "no XML")
    try:
        annotation = read_annotation(xml)
    except AnnotationError as error:
        reason = "its XML cannot be used"
        return _label_by_place(picture, Kind.XML_UNUSABLE, reason, because=str(error))
    odd = tuple(_odd_in_annotation(picture, annotation, width, height))
    annotation = annotation.on(width, height)
    areas = annotation.area_of_each_class(width, height)
    most = max(areas.values(), default=0.0)
    if not areas or not most:
        kind = Kind.BOX_WITHOUT_AREA if areas else Kind.XML_EMPTY
        reason = f"its XML has no {'box with area on the image' if areas else 'object'}"
        label, found = _label_by_place(picture, kind, reason)
        return label, odd + found
    if shared and picture.said in NAMED_CLASSES and picture.said not in areas:
        return _label_by_place(picture, Kind.NO_XML, "the XML of its name is another image's")
    # Among the classes of the XML the folder decides: a scratch is thin, and loses by area to what lies beside it.
    largest = [label for label, area in areas.items() if area == most]
    label = picture.said if picture.said in areas else min(largest)
    return _weigh_label(picture, label, areas, odd)


def _weigh_label(
    picture: Picture, label: str, areas: Iterable[str], odd: tuple[Finding, ...]
) -> tuple[str | None, tuple[Finding, ...]]:
    """Accept the label of a picture's XML, or leave the picture out."""
    findings = list(odd)
    if not is_usable_label(label):
        detail = f"its XML says {label!r}, which cannot be a class; left out"
        return None, (*odd, _finding(picture, Kind.LABEL_UNUSABLE, detail))
    others = sorted(set(areas) - {label})
    if others:
        detail = f"labelled {label}, also has boxes of {' and '.join(others)}"
        classes = tuple(sorted((label, *others)))
        findings.append(_finding(picture, Kind.SECOND_CLASS, detail, classes=classes))
    if picture.said not in (None, label):
        detail = f"its XML says {label}, its {picture.said_by} {picture.said}; labelled {label}"
        findings.append(_finding(picture, Kind.FOLDER_DISAGREES, detail))
    return label, tuple(findings)


def _label_by_place(
    picture: Picture, kind: Kind, reason: str, *, because: str = ""
) -> tuple[str | None, tuple[Finding, ...]]:
    by = picture.said_by
    if picture.said in NAMED_CLASSES:
        label, outcome = picture.said, f"labelled {picture.said} by its {by}"
    elif picture.said is None:
        label, outcome = None, f"left out, as its {by} begins with no known class"
    else:
        unknown = f"its {by} ({picture.said}) is no known class; an XML can name others"
        label, outcome = None, f"left out, as {unknown}"
    return label, (_finding(picture, kind, f"{reason}; {outcome}", because=because),)


def _odd_in_annotation(
    picture: Picture, annotation: Annotation, width: int, height: int
) -> Iterator[Finding]:
    if annotation.filename:
        name = PureWindowsPath(annotation.filename).name  # either slash divides
        has_extension = Path(name).suffix.lower() in PICTURE_SUFFIXES
        if not has_extension:
            detail = "<filename> without an extension in its XML"
            yield _finding(picture, Kind.FILENAME_WITHOUT_EXTENSION, detail)
        if picture.file.stem not in (name, Path(name).stem):
            detail = "<filename> of another image in its XML"
            yield _finding(picture, Kind.FILENAME_OF_ANOTHER, detail, because=name)
    if not annotation.is_of(width, height):
        detail = "its XML is of an image of another size; the boxes are scaled to this one"
        sizes = "{}x{}, here {}x{}".format(*annotation.size, width, height)
        yield _finding(picture, Kind.OF_ANOTHER_SIZE, detail, because=sizes)
    if any(box.reaches_outside(width, height) for box in annotation.on(width, height).boxes):
        detail = "a box reaches outside the image; the part inside counts"
        yield _finding(picture, Kind.BOX_OUTSIDE, detail, because=f"image {width}x{height}")
    if any(not box.has_area for box in annotation.boxes):
        yield _finding(picture, Kind.BOX_WITHOUT_AREA, "a box without area")


def _finding(
    picture: Picture, kind: Kind, detail: str, *, because: str = "", classes: tuple[str, ...] = ()
) -> Finding:
    files = (picture.path,)
    return Finding(kind=kind, files=files, detail=detail, because=because, classes=classes)
