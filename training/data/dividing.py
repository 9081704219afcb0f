"""Which pictures are kept, and which part each of them falls to.

A part follows from content alone. A picture's own pixel hash decides, unless there are others that
are nearly the same: then the smallest pixel hash among them decides for all. So a near-duplicate
that is added later, with a smaller hash, may move the pictures that it resembles; no other moves.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from models.taxonomy import KNOWN_DEFECTS, as_read
from training.data.duplicates import Pair, grouped, near_duplicates
from training.data.findings import Finding, Kind
from training.data.labelling import Labelled
from training.data.manifest import LabelledImage, Manifest, Part, part_of


def settle_copies(labelled: Iterable[Labelled]) -> tuple[list[Labelled], list[Finding]]:
    """Keep what can be learned from and measured with where pictures have the same pixels."""
    kept: list[Labelled] = []
    findings: list[Finding] = []
    for group in _by_pixels(labelled).values():
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
        findings.append(Finding(kind=kind, files=_paths(group), detail=detail))
    return kept, findings


def settle_near_copies(
    labelled: Sequence[Labelled],
) -> tuple[list[Labelled], dict[str, str], list[Finding]]:
    """The same where pictures are nearly the same, and which hash decides for each such picture.

    As with exact copies, one in train that is nearly the same as one in validation is left out of
    train: a network that had learned it by heart would look better in validation than it is. Two
    labels leave none out here, as likeness is a measure and not a proof; they are told.

    Returns:
        What is kept; by pixel hash the smallest one of its group, without pictures that are alone;
        and the findings.
    """
    copies = _by_pixels(labelled)
    hashes = sorted(copies)
    pairs = near_duplicates([copies[pixels][0].fingerprint for pixels in hashes])
    kept: list[Labelled] = []
    decides: dict[str, str] = {}
    findings: list[Finding] = []
    for members in grouped(len(hashes), pairs):
        group = [image for index in members for image in copies[hashes[index]]]
        if len(members) == 1:
            kept += group
            continue
        held_out = [image for image in group if image.picture.held_out]
        kept += held_out or group
        smallest = min(image.pixels for image in held_out or group)
        decides |= {image.pixels: smallest for image in group}
        left_out = bool(held_out) and len(held_out) < len(group)
        findings.append(_near_copies(group, members, pairs, left_out=left_out))
    return kept, decides, findings


def divide(
    root: Path,
    kept: Sequence[Labelled],
    decides: Mapping[str, str],
    *,
    select_percent: int,
    test_percent: int,
) -> Manifest:
    """Every picture in its part; held-out ones are the test part."""
    images: list[LabelledImage] = []
    for image in kept:
        decisive = decides.get(image.pixels, image.pixels)
        by_hash = part_of(decisive, select_percent=select_percent, test_percent=test_percent)
        images.append(
            LabelledImage(
                path=image.picture.path,
                label=image.label,
                sha256=image.sha256,
                pixels=image.pixels,
                part=Part.TEST if image.picture.held_out else by_hash,
                group=decisive,
            )
        )
    labels = {image.label for image in kept}
    known = tuple(label for label in KNOWN_DEFECTS if label in labels)
    return Manifest(
        root=root,
        classes=known + tuple(sorted(labels.difference(known))),
        images=tuple(sorted(images, key=lambda image: image.path)),
    )


def classes_not_in_fit(manifest: Manifest) -> list[Finding]:
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


def classes_that_read_alike(manifest: Manifest) -> list[Finding]:
    """Which are likely one, written in more than one way: nothing else tells them apart for people."""
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for label in manifest.classes:
        spellings[as_read(label)].append(label)
    return [
        Finding(
            kind=Kind.CLASSES_READ_ALIKE,
            files=(),
            detail=f"classes {', '.join(labels)} read alike and are learned as different ones; if they are "
            "one, write it in one way in the XMLs and prepare again",
        )
        for labels in spellings.values()
        if len(labels) > 1
    ]


def _near_copies(
    group: Sequence[Labelled], members: Sequence[int], pairs: Iterable[Pair], *, left_out: bool
) -> Finding:
    likeness = min(pair.likeness for pair in pairs if pair.first in members)
    labels = sorted({image.label for image in group})
    detail = "nearly the same picture"
    if len(labels) > 1:
        detail += f", labelled {' and '.join(labels)}"
    if left_out:
        detail += " in train and validation; left out of train"
    return Finding(
        kind=Kind.TRAIN_NEAR_COPY_OF_VALIDATION if left_out else Kind.NEAR_COPY,
        files=_paths(sorted(group, key=lambda image: image.picture.path)),
        detail=detail,
        because=f"correlation {likeness:.2f}",
    )


def _by_pixels(labelled: Iterable[Labelled]) -> dict[str, list[Labelled]]:
    copies: defaultdict[str, list[Labelled]] = defaultdict(list)
    for image in labelled:
        copies[image.pixels].append(image)
    return copies


def _paths(group: Iterable[Labelled]) -> tuple[str, ...]:
    return tuple(image.picture.path for image in group)
