"""From a folder of pictures with VOC annotations, as NEU-DET is given out, to a manifest and a report."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from training.data.dividing import (
    classes_not_in_fit,
    classes_that_read_alike,
    divide,
    settle_copies,
    settle_near_copies,
)
from training.data.findings import Finding, Kind, PreparationError, PreparationReport
from training.data.labelling import Labelled, label_picture
from training.data.layout import Picture, find_layout, find_pictures, match_annotations
from training.data.manifest import Manifest, Part


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
    layout = find_layout(neu_det)
    pictures, findings = find_pictures(layout)
    if any(picture.held_out for picture in pictures):
        test_percent = 0
    _refuse_percents(select_percent, test_percent)
    xml_of, matching = match_annotations(layout, pictures)
    findings += matching

    described = Counter[Path | None](xml_of.values())
    labelled: list[Labelled] = []
    for done, picture in enumerate(pictures, 1):
        xml = xml_of.get(picture.path)
        result, found = label_picture(picture, xml, shared=described[xml] > 1)
        labelled += [result] if result else []
        findings += found
        if progress:
            progress(done, len(pictures))

    kept, copies = settle_copies(labelled)
    kept, decides, near_copies = settle_near_copies(kept)
    findings += copies + near_copies
    manifest = divide(
        layout.root, kept, decides, select_percent=select_percent, test_percent=test_percent
    )
    findings += classes_not_in_fit(manifest) + classes_that_read_alike(manifest)
    _refuse_without_fit(manifest, pictures, findings)
    return manifest, _report(manifest, pictures, findings)


def _refuse_percents(select_percent: int, test_percent: int) -> None:
    if min(select_percent, test_percent) < 0 or select_percent + test_percent >= 100:
        raise PreparationError(
            f"select_percent {select_percent} and test_percent {test_percent} leave nothing for "
            "fit; neither may be negative and together they must be under 100"
        )


def _refuse_without_fit(
    manifest: Manifest, pictures: Sequence[Picture], findings: Sequence[Finding]
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


def _report(
    manifest: Manifest, pictures: Iterable[Picture], findings: Iterable[Finding]
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
