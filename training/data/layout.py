"""Where a data set keeps its pictures, and which XML describes which of them.

As Kaggle lays NEU-DET out:

    NEU-DET/train/images/<class>/*.jpg        NEU-DET/train/annotations/*.xml
    NEU-DET/validation/images/<class>/*.jpg   NEU-DET/validation/annotations/*.xml   (may be absent)

or flat, as its authors did: `NEU-DET/IMAGES/*.jpg` and `NEU-DET/ANNOTATIONS/*.xml`. The names of
these folders may be written in upper or lower case, and folders around it all are passed through.
XMLs may lie in class folders too, or beside the images.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.taxonomy import NAMED_CLASSES, known_name
from training.data.findings import Finding, Kind, PreparationError

PICTURE_SUFFIXES: Final = frozenset(
    (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture file on disk.

    Attributes:
        path: relative to the root.
        said: the class that its folder names, or, lying in no class folder, its own name.
        said_by: which of the two, `folder` or `name`.
        half: the folder that holds its `images`.
        held_out: whether that is the validation folder.
    """

    file: Path
    path: str
    said: str | None
    said_by: str
    half: Path
    held_out: bool


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A root and the folders under it that hold `images`: train first, then validation if any."""

    root: Path
    halves: tuple[Path, ...]


def find_layout(folder: Path) -> Layout:
    """Raises PreparationError where no images are laid out in a way that is known."""
    root = folder.resolve()
    if not root.is_dir():
        raise PreparationError(
            f"{root} is not a folder; name the folder that holds NEU-DET's train"
        )
    inside = [root]
    while len(inside) == 1:
        (around,) = inside
        if halves := _halves(around):
            return Layout(root=around, halves=halves)
        inside = [path for path in around.iterdir() if path.is_dir() and not _is_hidden(path)]
    raise PreparationError(_no_images(root))


def find_pictures(layout: Layout) -> tuple[tuple[Picture, ...], list[Finding]]:
    """Every picture by its path, and what else lies among them.

    Raises:
        PreparationError: if there is none outside validation.
    """
    pictures: list[Picture] = []
    findings = list(_folders_not_read(layout))
    for half in layout.halves:
        images = _inside(half, "images")
        for file in _files_under(images):
            if _is_xml(file):
                continue
            path = file.relative_to(layout.root).as_posix()
            if file.suffix.lower() not in PICTURE_SUFFIXES:
                detail = "not a picture by its name, ignored"
                findings.append(Finding(kind=Kind.NOT_A_PICTURE, files=(path,), detail=detail))
                continue
            flat = file.parent == images
            pictures.append(
                Picture(
                    file=file,
                    path=path,
                    said=_class_in_name(file.stem) if flat else known_name(file.parent.name),
                    said_by="name" if flat else "folder",
                    half=half,
                    held_out=half.name.lower() == "validation" and half != layout.root,
                )
            )
    if not any(not picture.held_out for picture in pictures):
        raise PreparationError(_no_images(layout.root))
    return tuple(sorted(pictures, key=lambda picture: picture.path)), findings


def match_annotations(
    layout: Layout, pictures: Iterable[Picture]
) -> tuple[dict[str, Path], list[Finding]]:
    """The XML of each picture by its path, from its own half, else from the other.

    An XML belongs to the picture of its stem, first to one whose class folder has the name of its
    own. One in the other half is only taken where no picture there has that stem.
    """
    xml_of: dict[str, Path] = {}
    findings: list[Finding] = []
    waiting: dict[tuple[Path, str], list[Picture]] = defaultdict(list)
    for picture in pictures:
        waiting[picture.half, picture.file.stem].append(picture)
    strays: list[Path] = []
    for half in layout.halves:
        for xml in _xml_files(half):
            described = waiting.pop((half, xml.stem), [])
            own = [it for it in described if it.said == known_name(xml.parent.name)]
            if own and len(own) < len(described):
                waiting[half, xml.stem] = [it for it in described if it not in own]
                described = own
            xml_of.update((picture.path, xml) for picture in described)
            if not described:
                strays.append(xml)
            if len(described) > 1:
                files = tuple(picture.path for picture in described)
                detail = "share one XML, which can describe only one of them"
                findings.append(Finding(kind=Kind.XML_SHARED, files=files, detail=detail))
    without_xml = {picture.file.stem: picture for group in waiting.values() for picture in group}
    for xml in strays:
        folder = xml.parent.relative_to(layout.root).as_posix()
        owner = without_xml.pop(xml.stem, None)
        if owner:
            xml_of[owner.path] = xml
            kind, file, detail = Kind.XML_ELSEWHERE, owner.path, f"its XML lies in {folder}"
        else:
            file = xml.relative_to(layout.root).as_posix()
            kind, detail = Kind.XML_WITHOUT_IMAGE, "XML without an image of its name, ignored"
        findings.append(Finding(kind=kind, files=(file,), detail=detail))
    return xml_of, findings


def annotations_under(root: Path) -> dict[str, Path]:
    """The XML of each picture by its path, as `prepare` matched them; none where nothing is laid out so."""
    try:
        layout = find_layout(root)
        pictures, _ = find_pictures(layout)
    except PreparationError:
        return {}
    return match_annotations(layout, pictures)[0]


def _folders_not_read(layout: Layout) -> Iterator[Finding]:
    """Folders beside those that are read which hold images too, such as `val` or `test`."""
    if layout.halves == (layout.root,):
        return
    for folder in sorted(layout.root.iterdir()):
        if folder in layout.halves or _is_hidden(folder):
            continue
        if _inside(folder, "images").is_dir() or _inside(layout.root, "images") == folder:
            detail = "images there are not read, as it is neither train nor validation"
            yield Finding(kind=Kind.FOLDER_NOT_READ, files=(folder.name,), detail=detail)


def _halves(root: Path) -> tuple[Path, ...]:
    if _inside(_inside(root, "train"), "images").is_dir():
        halves = (_inside(root, half) for half in ("train", "validation"))
        return tuple(half for half in halves if half.is_dir())
    return (root,) if _inside(root, "images").is_dir() else ()


def _inside(folder: Path, name: str) -> Path:
    """The entry of that name, in whatever case it is written; as it stands if there is none."""
    if (folder / name).exists() or not folder.is_dir():
        return folder / name
    return next((it for it in sorted(folder.iterdir()) if it.name.lower() == name), folder / name)


def _xml_files(half: Path) -> list[Path]:
    folders = (_inside(half, name) for name in ("annotations", "images"))
    return sorted(file for folder in folders for file in _files_under(folder) if _is_xml(file))


def _files_under(folder: Path) -> list[Path]:
    """Sorted. Raises OSError: what is closed to this user must not pass for empty."""

    def refuse(error: OSError) -> None:
        raise error

    under = os.walk(folder, onerror=refuse) if folder.is_dir() else ()
    files = (Path(at, name) for at, _, names in under for name in names)
    return sorted(file for file in files if file.is_file())


def _is_xml(file: Path) -> bool:
    return file.suffix.lower() == ".xml"


def _class_in_name(stem: str) -> str | None:
    """`crazing` of `Crazing_12`; None where that is no class that a name can say."""
    name = known_name(re.sub(r"[_\- ]*\d+$", "", stem))
    return name if name in NAMED_CLASSES else None


def _is_hidden(path: Path) -> bool:
    return path.name.startswith((".", "__"))


def _no_images(root: Path) -> str:
    entries = sorted(entry.name for entry in root.iterdir() if not _is_hidden(entry))
    found = ", ".join(entries[:8]) + (", ..." if len(entries) > 8 else "")
    expected = "train/images/<class>, or images alone"
    return f"no images under {root}: expected {expected}; found {found or 'nothing'}"
