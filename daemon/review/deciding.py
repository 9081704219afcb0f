"""What the review folder says of one image, from where its file lies. Decides; changes nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from daemon.names import to_text
from daemon.review.labelling import LONGEST_NAME, OURS, may_be_class
from daemon.store.review_files import Known, Problem
from models.taxonomy import Verdict, known_name


class Deed(Enum):
    """What is to be recorded."""

    NOTHING = "nothing"
    LABEL = "label"
    """The image is labelled as the folder says that it lies in."""
    UNDO = "undo"
    """Its label is taken back."""
    FOLLOW = "follow"
    """It was moved, and that says nothing about its label."""
    BRING = "bring"
    """Its file goes on to where its label says."""


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What follows for one image.

    Attributes:
        at: the file that counts; None where there is none.
        label: of `LABEL`.
        problems: of single files, or of the place where one is missing, in words.
    """

    deed: Deed
    at: Path | None = None
    label: str | None = None
    problems: dict[Path, tuple[Problem, str]] = field(default_factory=dict)


@dataclass(kw_only=True)
class Places:
    """The two parts of the review folder.

    Attributes:
        classes: those that there are now.
    """

    to_check: Path
    labelled: Path
    classes: Sequence[str]

    @classmethod
    def of(cls, review: Path, classes: Sequence[str]) -> "Places":
        return cls(to_check=review / "to_check", labelled=review / "labelled", classes=classes)

    def class_of(self, path: Path) -> str | None:
        """The label that a place says; None where it says none.

        A folder that reads like a class that there is, `No defect` say, is no class beside that; and one
        that was dragged into another's is neither, nor is `unknown` there, which holds all kinds.
        """
        if not path.is_relative_to(self.labelled):
            return None
        folders = [to_text(part) for part in path.relative_to(self.labelled).parts[:-1]]
        if not folders or not may_be_class(folders[0]):
            return None
        others = (*self.classes, *OURS)
        name, *below = (known_name(folder, others) for folder in folders)
        return None if set(below).intersection(others) - {name} else name

    def holds(self, path: Path) -> bool:
        return path.is_relative_to(self.to_check) or path.is_relative_to(self.labelled)


def decide(image: Known, files: Collection[Path], places: Places, *, elsewhere: bool) -> Ruling:
    """What the folder says of an image.

    Args:
        files: where whole copies of it lie in the review folder.
        elsewhere: whether its file lies where it is recorded, outside the review folder.
    """
    if not files:
        return _without_file(image, places, elsewhere=elsewhere)
    if image.verdict is Verdict.UNREADABLE:
        return _unreadable(image, files, elsewhere=elsewhere)
    labelled = sorted(path for path in files if places.class_of(path) is not None)
    others = sorted(set(files).difference(labelled))
    names = {name for path in labelled if (name := places.class_of(path)) is not None}
    if len(names) > 1:
        return _torn(image, labelled, others, names, elsewhere=elsewhere)
    if names:
        return _labelled(image, names.pop(), labelled, others, elsewhere=elsewhere)
    return _unlabelled(image, others, places, elsewhere=elsewhere)


def _without_file(image: Known, places: Places, *, elsewhere: bool) -> Ruling:
    if elsewhere or image.path is None or not places.holds(image.path):
        return Ruling(deed=Deed.NOTHING)
    what = "its label stands, but nobody learns from it" if image.label else "nobody can label it"
    told = (
        f"the file of image {image.id} is gone; {what}. Put it back anywhere in the review folder"
    )
    return Ruling(deed=Deed.NOTHING, problems={image.path: (Problem.MISSING, told)})


def _unreadable(image: Known, files: Collection[Path], *, elsewhere: bool) -> Ruling:
    told = f"image {image.id} is no whole picture, and nobody can learn from it"
    return Ruling(
        deed=Deed.NOTHING if elsewhere or image.path in files else Deed.FOLLOW,
        at=min(files),
        problems=dict.fromkeys(files, (Problem.UNREADABLE, told)),
    )


def _torn(
    image: Known, labelled: list[Path], others: list[Path], names: set[str], *, elsewhere: bool
) -> Ruling:
    told = (
        f"image {image.id} lies under {' and '.join(sorted(names))}; leave it under the label that is "
        "right"
    )
    problems = {path: _copy(image) for path in others if path != image.path}
    is_here = elsewhere or image.path in labelled or image.path in others
    return Ruling(
        deed=Deed.NOTHING if is_here else Deed.FOLLOW,
        at=image.path if is_here else labelled[0],
        problems=problems | dict.fromkeys(labelled, (Problem.CONTRADICTION, told)),
    )


def _labelled(
    image: Known, name: str, labelled: list[Path], others: list[Path], *, elsewhere: bool
) -> Ruling:
    at = image.path if image.path in labelled else labelled[0]
    problems = {path: _copy(image) for path in labelled if path != at}
    # The file that a label was copied from goes. Any other is somebody's own doing, under way perhaps.
    for path in others:
        if path != image.path:
            told = (
                f"image {image.id} is labelled {name} and lies here too; delete this one, or the "
                "other one to take the label back"
            )
            problems[path] = (Problem.TWIN, told)
    if image.label != name:
        return Ruling(deed=Deed.LABEL, at=at, label=name, problems=problems)
    if image.path == at:
        return Ruling(deed=Deed.NOTHING, at=at, problems=problems)
    has_twin = elsewhere or image.path in others
    return Ruling(deed=Deed.BRING if has_twin else Deed.FOLLOW, at=at, problems=problems)


def _unlabelled(image: Known, others: list[Path], places: Places, *, elsewhere: bool) -> Ruling:
    at = image.path if image.path in others else others[0]
    problems = {path: _copy(image) for path in others if path != at}
    if elsewhere:
        return Ruling(deed=Deed.NOTHING, problems=dict.fromkeys(others, _copy(image)))
    if not at.is_relative_to(places.to_check):
        told = (
            f"image {image.id} lies in no folder that can be a class (its name has at most {LONGEST_NAME} "
            "letters, no dot before it and no space around it, and is none of Millwatch's own), or in one "
            "class within another, or in unknown; move it to labelled/CLASS/, such as "
            "labelled/no_defect/, or back to to_check"
        )
        problems[at] = (Problem.MISPLACED, told)
        moved = image.path != at
        return Ruling(deed=Deed.FOLLOW if moved else Deed.NOTHING, at=at, problems=problems)
    if image.label is not None:
        was_labelled = image.path is not None and image.path.is_relative_to(places.labelled)
        return Ruling(deed=Deed.UNDO if was_labelled else Deed.BRING, at=at, problems=problems)
    return Ruling(deed=Deed.NOTHING if image.path == at else Deed.FOLLOW, at=at, problems=problems)


def _copy(image: Known) -> tuple[Problem, str]:
    return Problem.COPY, f"a second copy of image {image.id}, which changes nothing; delete it"
