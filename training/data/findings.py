"""What `prepare` found in a data set, and how it is told."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from config.text import as_one_line, counted
from training.data.manifest import Part

SHOWN_OF_A_LONG_LIST: Final = 3


class PreparationError(Exception):
    """The data cannot be made into a manifest as asked; the message says what to change."""


class Kind(StrEnum):
    """What a finding is about, in the order in which the report tells it."""

    UNREADABLE = "unreadable"
    NOT_A_PICTURE = "not_a_picture"
    FOLDER_NOT_READ = "folder_not_read"
    NO_XML = "no_xml"
    XML_ELSEWHERE = "xml_elsewhere"
    XML_UNUSABLE = "xml_unusable"
    XML_EMPTY = "xml_empty"
    XML_WITHOUT_IMAGE = "xml_without_image"
    XML_SHARED = "xml_shared"
    FILENAME_WITHOUT_EXTENSION = "filename_without_extension"
    FILENAME_OF_ANOTHER = "filename_of_another"
    OF_ANOTHER_SIZE = "of_another_size"
    BOX_OUTSIDE = "box_outside"
    BOX_WITHOUT_AREA = "box_without_area"
    FOLDER_DISAGREES = "folder_disagrees"
    SECOND_CLASS = "second_class"
    LABEL_UNUSABLE = "label_unusable"
    CONTRADICTION = "contradiction"
    TRAIN_COPY_OF_VALIDATION = "train_copy_of_validation"
    COPY = "copy"
    TRAIN_NEAR_COPY_OF_VALIDATION = "train_near_copy_of_validation"
    NEAR_COPY = "near_copy"
    CLASS_NOT_IN_FIT = "class_not_in_fit"
    CLASSES_READ_ALIKE = "classes_read_alike"


_NEAR: Final = (Kind.NEAR_COPY, Kind.TRAIN_NEAR_COPY_OF_VALIDATION)
_IN_FULL: Final = (*_NEAR, Kind.UNREADABLE, Kind.XML_UNUSABLE)
"""Each of these is for a person to look at, so a long list of them is told in full."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that a person should know about these files.

    Attributes:
        files: relative to the manifest's root; none where the finding is about a whole class.
        detail: in words that findings of one sort share, so that a report can count them.
        because: what is this finding's own, such as a parser's message.
        classes: of an image with defects of more than one class, all of them, sorted.
    """

    kind: Kind
    files: tuple[str, ...]
    detail: str
    because: str = ""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PreparationReport:
    """What became of every picture under the folder, and what was odd.

    Attributes:
        left_out: pictures that are not in the manifest, relative to its root; a finding says why.
        repeated_names: file names that more than one file has, told by their path.
    """

    classes: tuple[str, ...]
    counts: Mapping[Part, Counter[str]]
    findings: tuple[Finding, ...]
    left_out: tuple[str, ...]
    repeated_names: frozenset[str]

    @property
    def images(self) -> int:
        """Pictures in the manifest."""
        return sum(count.total() for count in self.counts.values())

    def of(self, kind: Kind) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.kind is kind)

    def lines(self) -> tuple[str, ...]:
        """The report for a person to read: what went in, how it was divided, what was odd.

        Fit for any terminal, whatever the names of files hold.
        """
        found = self.images + len(self.left_out)
        total = f"{counted(found, 'image')}: {self.images} in the manifest, {len(self.left_out)} left out"
        told = (total, *self._table(), *self._summary(), *self._finding_lines())
        return tuple(map(as_one_line, told))

    def _table(self) -> Iterator[str]:
        width = max(map(len, (*self.classes, "class")))
        yield f"{'class':<{width}}" + "".join(f"{part:>8}" for part in (*Part, "all"))
        for label in (*self.classes, "all"):
            row = [
                count.total() if label == "all" else count[label] for count in self.counts.values()
            ]
            yield f"{label:<{width}}" + "".join(f"{number:>8}" for number in (*row, sum(row)))

    def _summary(self) -> Iterator[str]:
        mixed = Counter(finding.classes for finding in self.of(Kind.SECOND_CLASS))
        if mixed:
            by_classes = ", ".join(
                f"{' + '.join(classes)} {images}" for classes, images in mixed.most_common()
            )
            yield f"{counted(mixed.total(), 'image')} with defects of more than one class: {by_classes}"
        sizes = [len(finding.files) for kind in _NEAR for finding in self.of(kind)]
        if sizes:
            groups = f"{len(sizes)} group{'s' * (len(sizes) > 1)}"
            yield f"{sum(sizes)} images are near-duplicates, in {groups}, at most {max(sizes)} in one"

    def _finding_lines(self) -> Iterator[str]:
        alike: defaultdict[tuple[Kind, str], list[Finding]] = defaultdict(list)
        for finding in self.findings:
            alike[finding.kind, finding.detail].append(finding)
        for (kind, detail), group in alike.items():
            if len(group) <= SHOWN_OF_A_LONG_LIST or kind in _IN_FULL:
                yield from map(self._line, group)
                continue
            first = ", ".join(" = ".join(self._names(it)) for it in group[:SHOWN_OF_A_LONG_LIST])
            more = len(group) - SHOWN_OF_A_LONG_LIST
            yield f"{len(group)} times: {detail}: {first} and {more} more"

    def _line(self, finding: Finding) -> str:
        because = f" ({finding.because})" if finding.because else ""
        if not finding.files:
            return finding.detail + because
        return f"{', '.join(self._names(finding))}: {finding.detail}{because}"

    def _names(self, finding: Finding) -> list[str]:
        names = [Path(path).name for path in finding.files]
        return [
            path if name in self.repeated_names else name
            for path, name in zip(finding.files, names, strict=True)
        ]
