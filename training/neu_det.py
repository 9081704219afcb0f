"""From NEU-DET, as Kaggle lays it out, to a manifest and a report of all that is odd in it.

    NEU_DET/train/images/<class>/*.jpg        NEU_DET/train/annotations/*.xml
    NEU_DET/validation/images/<class>/*.jpg   NEU_DET/validation/annotations/*.xml   (may be absent)

A picture's label is its folder where the XML names that class, else the class with the most box
area in the XML; without a usable XML it is the folder.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Final

from models.preprocessing import UnreadableError, decode
from models.taxonomy import KNOWN_DEFECTS, NO_DEFECT, UNKNOWN
from training.findings import Finding, Kind, PreparationReport
from training.manifest import LabelledImage, Manifest, Part, part_of, pixel_hash
from training.voc import Annotation, AnnotationError, read_annotation

PICTURE_SUFFIXES: Final = frozenset(
    (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


class PreparationError(Exception):
    """The folder cannot be made into a manifest as asked; the message says what to change."""


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A picture file on disk; `path` is relative to the root, `folder` names its class if any."""

    file: Path
    path: str
    folder: str | None
    half: Path
    held_out: bool


@dataclass(frozen=True, kw_only=True)
class _Labelled:
    picture: _Picture
    label: str
    sha256: str
    pixels: str


def prepare(
    neu_det: Path,
    *,
    select_percent: int = 15,
    test_percent: int = 15,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Manifest, PreparationReport]:
    """Label every picture under `neu_det`, divide them into parts, and tell what was odd.

    Pictures of a validation folder are the test part, whatever `test_percent` says. `neu_det` may
    also be the folder that holds `images` and `annotations` itself. Nothing is written.

    Args:
        neu_det: never changed.
        select_percent: of the pictures by hash, so about that share of them.
        test_percent: likewise.
        progress: called after each picture with how many are done, of how many.

    Raises:
        PreparationError: without pictures to use, or with percents that leave none to fit.
    """
    root = neu_det.resolve()
    halves = _halves(root)
    pictures, findings = _find_pictures(root, halves)
    if any(picture.held_out for picture in pictures):
        test_percent = 0
    _refuse_percents(select_percent, test_percent)
    xml_of, matching = _match_annotations(root, halves, pictures)
    findings += matching

    labelled: list[_Labelled] = []
    for done, picture in enumerate(pictures, 1):
        result, found = _label_picture(picture, xml_of.get(picture.path))
        labelled += [result] if result else []
        findings += found
        if progress:
            progress(done, len(pictures))

    kept, copies = _settle_copies(labelled)
    findings += copies
    manifest = _divide(root, kept, select_percent=select_percent, test_percent=test_percent)
    findings += _classes_not_in_fit(manifest)
    _refuse_without_fit(manifest, pictures, findings)
    return manifest, _report(manifest, pictures, findings)


def write_class_folders(manifest: Manifest, out: Path) -> int:
    """Copy the manifest's images to `out/<train|validation>/<class>/`; return how many.

    Fit and select are the train folder, test is the validation folder. Names are kept; where two
    images of a class have one name, the later becomes `name_2`.

    Raises:
        PreparationError: if `out` holds anything, or an image is not as the manifest has it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PreparationError(f"{out} is not an empty folder; name a new one, nothing was written")
    for image in manifest.images:
        if not _is_usable_label(image.label):
            raise PreparationError(f"{image.path}: {image.label!r} cannot be the name of a folder")
        source = manifest.root / image.path
        try:
            data = source.read_bytes()
        except OSError as error:
            raise PreparationError(f"cannot copy {source}: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise PreparationError(f"{source} changed since it was prepared; prepare it again")
        half = "validation" if image.part is Part.TEST else "train"
        _write_new(out / half / image.label, source.name, data)
    return len(manifest.images)


def _write_new(folder: Path, name: str, data: bytes) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target, number = folder / name, 1
        while target.exists():
            number += 1
            target = folder / f"{Path(name).stem}_{number}{Path(name).suffix}"
        with target.open("xb") as file:
            file.write(data)
    except OSError as error:
        raise PreparationError(f"cannot write into {folder}: {error.strerror}") from error


def _halves(root: Path) -> tuple[Path, ...]:
    """The folders that hold `images`: train first, then validation where there is one."""
    if not root.is_dir():
        raise PreparationError(
            f"{root} is not a folder; name the folder that holds NEU-DET's train"
        )
    if (root / "train" / "images").is_dir():
        return tuple(root / half for half in ("train", "validation") if (root / half).is_dir())
    if (root / "images").is_dir():
        return (root,)
    raise PreparationError(_no_images(root))


def _no_images(root: Path) -> str:
    entries = sorted(entry.name for entry in root.iterdir())
    found = ", ".join(entries[:8]) + (", ..." if len(entries) > 8 else "")
    return f"no images under {root}: expected train/images/<class>; found {found or 'nothing'}"


def _refuse_percents(select_percent: int, test_percent: int) -> None:
    if min(select_percent, test_percent) < 0 or select_percent + test_percent >= 100:
        raise PreparationError(
            f"select_percent {select_percent} and test_percent {test_percent} leave nothing for "
            "fit; neither may be negative and together they must be under 100"
        )


def _refuse_without_fit(
    manifest: Manifest, pictures: Sequence[_Picture], findings: Sequence[Finding]
) -> None:
    if not manifest.images:
        first = f"{', '.join(findings[0].files)}: {findings[0].detail} {findings[0].because}"
        raise PreparationError(
            f"none of the {len(pictures)} images can be used; first: {first.strip()}"
        )
    if not manifest.of_part(Part.FIT):
        raise PreparationError(
            f"none of {len(manifest.images)} images falls to fit; "
            "add train images or lower select_percent and test_percent"
        )


def _find_pictures(
    root: Path, halves: Iterable[Path]
) -> tuple[tuple[_Picture, ...], list[Finding]]:
    pictures: list[_Picture] = []
    findings: list[Finding] = []
    for half in halves:
        images = half / "images"
        for file in sorted(file for file in images.rglob("*") if file.is_file()):
            path = file.relative_to(root).as_posix()
            if file.suffix.lower() not in PICTURE_SUFFIXES:
                detail = "not a picture by its name, ignored"
                findings.append(Finding(kind=Kind.NOT_A_PICTURE, files=(path,), detail=detail))
                continue
            folder = None if file.parent == images else file.parent.name
            held_out = half.name == "validation" and half != root
            pictures.append(
                _Picture(file=file, path=path, folder=folder, half=half, held_out=held_out)
            )
    if not any(not picture.held_out for picture in pictures):
        raise PreparationError(_no_images(root))
    return tuple(sorted(pictures, key=lambda picture: picture.path)), findings


def _match_annotations(
    root: Path, halves: Iterable[Path], pictures: Iterable[_Picture]
) -> tuple[dict[str, Path], list[Finding]]:
    """The XML of each picture by its path, from its own half, else from the other.

    An XML belongs to the picture of its stem. One in the other half is only taken where no picture
    there has that stem.
    """
    xml_of: dict[str, Path] = {}
    findings: list[Finding] = []
    waiting: dict[tuple[Path, str], list[_Picture]] = defaultdict(list)
    for picture in pictures:
        waiting[picture.half, picture.file.stem].append(picture)
    strays: list[Path] = []
    for half in halves:
        for xml in sorted((half / "annotations").glob("*.xml")):
            described = waiting.pop((half, xml.stem), [])
            xml_of.update((picture.path, xml) for picture in described)
            if not described:
                strays.append(xml)
            if len(described) > 1:
                files = tuple(picture.path for picture in described)
                detail = "share one XML, which can describe only one of them"
                findings.append(Finding(kind=Kind.XML_SHARED, files=files, detail=detail))
    without_xml = {picture.file.stem: picture for group in waiting.values() for picture in group}
    for xml in strays:
        folder = xml.parent.relative_to(root).as_posix()
        owner = without_xml.pop(xml.stem, None)
        if owner:
            xml_of[owner.path] = xml
            kind, file, detail = Kind.XML_ELSEWHERE, owner.path, f"its XML lies in {folder}"
        else:
            file = xml.relative_to(root).as_posix()
            kind, detail = Kind.XML_WITHOUT_IMAGE, "XML without an image of its name, ignored"
        findings.append(Finding(kind=kind, files=(file,), detail=detail))
    return xml_of, findings


def _label_picture(
    picture: _Picture, xml: Path | None
) -> tuple[_Labelled | None, tuple[Finding, ...]]:
    try:
        data = picture.file.read_bytes()
        decoded, pixels = decode(data), pixel_hash(data)
    except (OSError, UnreadableError) as error:
        detail = "unreadable, left out"
        finding = _finding(picture, Kind.UNREADABLE, detail, because=str(error))
        return None, (finding,)
    label, findings = _label(picture, xml, decoded.width, decoded.height)
    if label is None:
        return None, findings
    sha256 = hashlib.sha256(data).hexdigest()
    return _Labelled(picture=picture, label=label, sha256=sha256, pixels=pixels), findings


def _label(
    picture: _Picture, xml: Path | None, width: int, height: int
) -> tuple[str | None, tuple[Finding, ...]]:
    if xml is None:
        return _label_by_folder(picture, Kind.NO_XML, "no XML")
    try:
        annotation = read_annotation(xml)
    except AnnotationError as error:
        reason = "its XML cannot be used"
        return _label_by_folder(picture, Kind.XML_UNUSABLE, reason, because=str(error))
    odd = tuple(_odd_in_annotation(picture, annotation, width, height))
    areas = annotation.area_of_each_class(width, height)
    most = max(areas.values(), default=0.0)
    if not areas or not most:
        kind = Kind.BOX_WITHOUT_AREA if areas else Kind.XML_EMPTY
        reason = f"its XML has no {'box with area on the image' if areas else 'object'}"
        label, found = _label_by_folder(picture, kind, reason)
        return label, odd + found
    # Among the classes of the XML the folder decides: a scratch is thin, and loses by area to what lies beside it.
    largest = [label for label, area in areas.items() if area == most]
    label = picture.folder if picture.folder in areas else min(largest)
    return _weigh_label(picture, label, areas, odd)


def _weigh_label(
    picture: _Picture, label: str, areas: Iterable[str], odd: tuple[Finding, ...]
) -> tuple[str | None, tuple[Finding, ...]]:
    """Accept the label of a picture's XML, or leave the picture out."""
    findings = list(odd)
    if not _is_usable_label(label):
        detail = f"its XML says {label!r}, which cannot be a class; left out"
        return None, (*odd, _finding(picture, Kind.LABEL_UNUSABLE, detail))
    others = sorted(set(areas) - {label})
    if others:
        detail = f"labelled {label}, also has boxes of {' and '.join(others)}"
        findings.append(_finding(picture, Kind.SECOND_CLASS, detail))
    if picture.folder not in (None, label):
        detail = f"its XML says {label}, its folder {picture.folder}; labelled {label}"
        findings.append(_finding(picture, Kind.FOLDER_DISAGREES, detail))
    return label, tuple(findings)


def _label_by_folder(
    picture: _Picture, kind: Kind, reason: str, *, because: str = ""
) -> tuple[str | None, tuple[Finding, ...]]:
    if picture.folder in (*KNOWN_DEFECTS, NO_DEFECT):
        label, outcome = picture.folder, f"labelled {picture.folder} by its folder"
    else:
        label, outcome = None, f"left out, as its folder ({picture.folder}) is no known class"
    return label, (_finding(picture, kind, f"{reason}; {outcome}", because=because),)


def _odd_in_annotation(
    picture: _Picture, annotation: Annotation, width: int, height: int
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
    if any(box.reaches_outside(width, height) for box in annotation.boxes):
        detail = "a box reaches outside the image; the part inside counts"
        yield _finding(picture, Kind.BOX_OUTSIDE, detail, because=f"image {width}x{height}")
    if any(not box.has_area for box in annotation.boxes):
        yield _finding(picture, Kind.BOX_WITHOUT_AREA, "a box without area")


def _is_usable_label(label: str) -> bool:
    """Whether it can name a class and, as `write_class_folders` needs, a folder."""
    return (
        label != UNKNOWN
        and label.isprintable()
        and len(label) <= 100
        and not label.startswith(".")
        and not set(label) & {"/", "\\", ":"}
        and label.strip() == label != ""
    )


def _settle_copies(labelled: Iterable[_Labelled]) -> tuple[list[_Labelled], list[Finding]]:
    """Keep what can be learned from and measured with where pictures have the same pixels."""
    copies: defaultdict[str, list[_Labelled]] = defaultdict(list)
    for image in labelled:
        copies[image.pixels].append(image)
    kept: list[_Labelled] = []
    findings: list[Finding] = []
    for group in copies.values():
        labels = sorted({image.label for image in group})
        held_out = [image for image in group if image.picture.held_out]
        if len(group) == 1:
            kept += group
            continue
        if len(labels) > 1:
            kind = Kind.CONTRADICTION
            detail = f"the same pixels labelled {' and '.join(labels)}; all left out"
        elif 0 < len(held_out) < len(group):
            kept += held_out
            kind = Kind.TRAIN_COPY_OF_VALIDATION
            detail = "the same pixels in train and validation; left out of train"
        else:
            kept += group
            kind, detail = Kind.COPY, "the same pixels"
        files = tuple(image.picture.path for image in group)
        findings.append(Finding(kind=kind, files=files, detail=detail))
    return kept, findings


def _divide(
    root: Path, kept: Sequence[_Labelled], *, select_percent: int, test_percent: int
) -> Manifest:
    images: list[LabelledImage] = []
    for image in kept:
        by_hash = part_of(image.pixels, select_percent=select_percent, test_percent=test_percent)
        images.append(
            LabelledImage(
                path=image.picture.path,
                label=image.label,
                sha256=image.sha256,
                pixels=image.pixels,
                part=Part.TEST if image.picture.held_out else by_hash,
            )
        )
    labels = {image.label for image in kept}
    known = tuple(label for label in KNOWN_DEFECTS if label in labels)
    return Manifest(
        root=root,
        classes=known + tuple(sorted(labels.difference(known))),
        images=tuple(sorted(images, key=lambda image: image.path)),
    )


def _classes_not_in_fit(manifest: Manifest) -> list[Finding]:
    fitted = manifest.counts()[Part.FIT]
    return [
        Finding(
            kind=Kind.CLASS_NOT_IN_FIT,
            files=(),
            detail=f"class {label} has no image in fit, so it cannot be learned",
        )
        for label in manifest.classes
        if not fitted[label]
    ]


def _report(
    manifest: Manifest, pictures: Iterable[_Picture], findings: Iterable[Finding]
) -> PreparationReport:
    order = list(Kind)
    everything = [picture.path for picture in pictures]
    names = Counter(Path(path).name for path in everything)
    kept = {image.path for image in manifest.images}
    return PreparationReport(
        classes=manifest.classes,
        counts=manifest.counts(),
        findings=tuple(
            sorted(findings, key=lambda it: (order.index(it.kind), it.detail, it.files))
        ),
        left_out=tuple(path for path in everything if path not in kept),
        repeated_names=frozenset(name for name, times in names.items() if times > 1),
    )


def _finding(picture: _Picture, kind: Kind, detail: str, *, because: str = "") -> Finding:
    return Finding(kind=kind, files=(picture.path,), detail=detail, because=because)
