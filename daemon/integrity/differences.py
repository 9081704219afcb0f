"""What the audit tells: where records and files disagree."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from config.settings import Settings
from daemon.files.placing import open_ordinary
from daemon.integrity.names import files_below
from daemon.names import to_text
from daemon.store.places import Place
from daemon.values import Progress
from models.taxonomy import Reason, Verdict


class Kind(StrEnum):
    """How a record and a file disagree."""

    MISSING = "missing"
    """Where the record says that the file is there is none, or that is in no folder of today's."""
    CHANGED = "changed"
    """The file has other bytes than were judged."""
    MOVED = "moved"
    """The file lies elsewhere than the record says."""
    ORPHANED = "orphaned"
    """The file has no record."""
    UNREAD = "unread"
    """The file cannot be read, and so not compared."""
    AWAY = "away"
    """A whole folder is empty or not there, as when its disk is not mounted."""


@dataclass(frozen=True, kw_only=True)
class Mend:
    """A record that may safely be brought to where its file was found.

    Attributes:
        was: the record as it was read; if it has changed since, nothing is done.
    """

    was: Place
    path: Path

    @property
    def finds_what_was_missing(self) -> bool:
        """Whether the image was told as missing before; of one that was called gone nothing was."""
        return self.was.progress not in (Progress.GONE, Progress.DELETED)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One disagreement, in words.

    Attributes:
        command: what a person may run to put it right.
    """

    kind: Kind
    path: Path
    what: str
    remedy: str
    image_id: int | None = None
    command: str | None = None
    mend: Mend | None = None


def unread(file: Path, error: OSError, image_id: int | None = None) -> Difference:
    """One file that cannot be read keeps no other from being looked at."""
    whose = "" if image_id is None else f"image {image_id}: "
    return Difference(
        kind=Kind.UNREAD,
        path=file,
        image_id=image_id,
        what=f"{whose}{to_text(file)} cannot be read: {error.strerror}",
        remedy="Mend its permissions, or look after its disk (`dmesg` may say more); then audit again.",
    )


@dataclass(kw_only=True)
class Counts:
    """What was looked at so far.

    Attributes:
        pending: images that are recorded and not yet where they will go: the daemon sees to them.
    """

    records: int = 0
    files: int = 0
    pending: int = 0
    differences: Counter[Kind] = field(default_factory=Counter)


class Roots:
    """The folders that images are brought to."""

    def __init__(self, settings: Settings) -> None:
        """Raises OSError when one of them cannot be read."""
        self.review = settings.review_folder
        self.archive = settings.archive_folder
        self.quarantine = settings.quarantine_folder
        self.labelled = self.review / "labelled"
        self._all = (self.review, self.archive, self.quarantine)
        self.away = {root for root in self._all if next(files_below(root), None) is None}

    def of(self, path: Path) -> Path | None:
        return next((root for root in self._all if path.is_relative_to(root)), None)

    def hindrance(self, was: Place, file: Path) -> str | None:
        """Why the record must not follow a file with the image's content to where it lies.

        A place may mean something: under `labelled/` it is a person's decision.
        """
        if file.is_relative_to(self.labelled) and file.parent.name != was.label:
            return "To lie there is a label: the daemon that runs takes it as one."
        if not file.is_relative_to(self._belongs(was)):
            return "It belongs elsewhere. Look at it, and move it there by hand."
        return None

    def _belongs(self, was: Place) -> Path:
        if was.label is not None or was.reason == Reason.SAMPLE.value:
            return self.review
        if was.verdict == Verdict.PASS.value:
            return self.archive
        return self.quarantine if was.verdict == Verdict.UNREADABLE.value else self.review


def content_of(path: Path) -> str:
    """The SHA-256 of an ordinary file; a link is not followed. Raises OSError."""
    with open_ordinary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
