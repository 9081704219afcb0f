"""A person's decision: recorded, its file brought to `labelled/<class>/`, and taken back again.

As with a delivery, what will be done is on the disk before the file moves, and that it is done
after: a kill in between is made up for at the next start.
"""

import errno
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from config.settings import Settings
from daemon.files.homes import DAY, Homes
from daemon.files.mounts import review_is_there
from daemon.files.placing import ChangedError, GoneError, TargetTakenError, relocate
from daemon.names import from_text, is_ignored, to_text
from daemon.process.control import RefusedError
from daemon.process.health import Health
from daemon.store import labels, viewing
from daemon.store.audit import Deed
from daemon.store.database import Database, StoreError
from daemon.store.labels import LabelChangedError, LabelInForce, Relocation
from daemon.store.review_files import known
from models.taxonomy import KNOWN_DEFECTS, UNKNOWN, as_read, known_name

log = structlog.get_logger(__name__)

LONGEST_NAME: Final = 64
# Of a folder of ours that somebody dragged into `labelled`, all would be labelled so.
OURS: Final = frozenset(map(as_read, (UNKNOWN, "to_check", "labelled")))
_RETRY_SECONDS: Final = 5.0
_TROUBLE: Final = "labelled files"


class ChangedSinceError(RefusedError):
    """Somebody else labelled the image, or took its label back, since it was looked at.

    Attributes:
        now: the label in force; None when there is none.
    """

    def __init__(self, image_id: int, now: LabelInForce | None) -> None:
        told = (
            "its label was taken back"
            if now is None
            else f"{now.labelled_by} labelled it {now.label}"
        )
        super().__init__(f"image {image_id} has changed since you looked at it: {told}")
        self.now = now


class Labeller:
    """Labels images, for the page and for commands. Safe between threads.

    Attributes:
        given: the classes that there are before anybody labels anything.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        health: Health,
        clock: Callable[[], datetime],
    ) -> None:
        self._review = settings.review_folder
        self._homes = Homes(settings)
        self.given = (*settings.policy.normal_classes, *KNOWN_DEFECTS)
        self._ignore = settings.intake.ignore
        self._database = database
        self._health = health
        self._clock = clock
        self.lock = threading.Lock()
        """Held by whoever labels, or moves what is labelled: the page, a command, the folder."""
        self._retry_at = 0.0
        self._classes: list[str] = []
        self._read_at: list[str] | None = None

    def label(
        self,
        image_id: int,
        label: str,
        by: str,
        *,
        seen: int | None,
        address: str = "command",
        begin: Callable[[], None] = lambda: None,
    ) -> int:
        """Decide what an image shows.

        Args:
            address: where from, for the audit trail.
            begin: called when all was looked at, before it is recorded; may raise RefusedError.
            seen: the id of the label in force that the person saw, 0 for none; None where nobody
                looked, and whatever is in force is replaced.

        Returns:
            The id of the new label.

        Raises:
            ChangedSinceError: somebody else was quicker.
            RefusedError: there is no such image, it is not in review, or no such class can be.
            StoreError: nothing was changed.
        """
        self._refuse_bad_name(label)
        deed = Deed(who=by, address=address, deed="label", what=f"image {image_id}: {label}")
        with self.lock:
            target = self._target(image_id, label)
            seen = self.in_force(image_id) if seen is None else seen
            begin()
            try:
                relocation = labels.put_label(
                    self._database,
                    image_id,
                    label,
                    by,
                    seen=seen,
                    target=target,
                    now=self._clock(),
                    deed=deed,
                )
            except LabelChangedError as error:
                raise ChangedSinceError(image_id, error.now) from error
            self.bring(relocation)
        return relocation.label_id

    def undo(
        self,
        image_id: int,
        by: str,
        *,
        seen: int | None,
        address: str = "command",
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        """Take a label back: the image waits again. Arguments and errors as of `label`."""
        deed = Deed(who=by, address=address, deed="undo", what=f"image {image_id}")
        with self.lock:
            self._path(image_id)
            target = self._first_place(image_id)
            seen = self.in_force(image_id) if seen is None else seen
            if seen == 0:
                raise RefusedError(f"image {image_id} has no label to take back")
            begin()
            try:
                relocation = labels.undo_label(
                    self._database,
                    image_id,
                    seen=seen,
                    now=self._clock(),
                    target=target,
                    deed=deed,
                )
            except LabelChangedError as error:
                raise ChangedSinceError(image_id, error.now) from error
            log.info("label taken back", image=image_id, by=by)
            self.bring(relocation)

    def finish_if_due(self) -> None:
        """Bring the files that a kill, or a full disk, kept from where they should be.

        At the start, and while some could not be moved.
        """
        if time.monotonic() < self._retry_at:
            return
        after: int | None = 0
        while after is not None:
            with self.lock:  # some at a time: whoever labels on the page does not wait for all
                after = self._finish_some(after)

    def _finish_some(self, after: int) -> int | None:
        """Bring the next ones after a label; None when there are no more."""
        if after == 0:
            self._retry_at = math.inf
        try:
            unfinished = labels.relocations(self._database, after=after)
            for each in unfinished:
                self.bring(replace(each, target=self._homes.of(each.target)))
        except StoreError:  # which the pipeline tells of
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            return None
        if unfinished:
            return unfinished[-1].label_id
        if self._retry_at == math.inf:
            self._health.mended(_TROUBLE)
        return None

    def is_there(self) -> bool:
        """Whether the review folder is."""
        return review_is_there(self._review)

    def names(self) -> list[str]:
        """Every class that an image can be labelled: those given, the plant's own, folders there.

        Raises:
            StoreError: when the database cannot be read.
        """
        folders = self._folders()
        used = labels.used_labels(self._database)
        in_force = [known_name(name, self.given) for name, is_so in used.items() if is_so]
        names = list(self.given)
        # Each keeps the number key that people's fingers know: a new one comes last, and one that was taken
        # back goes on where it was.
        for own in [name for name in used if used[name] or name in folders] + folders:
            name = known_name(known_name(own, self.given), (*in_force, *names))
            if name not in names:
                names.append(name)
        return names

    def classes(self) -> list[str]:
        """The same, read anew when a folder of labels came or went. Raises StoreError."""
        folders = self._folders()
        if folders != self._read_at:
            self._classes, self._read_at = self.names(), folders
        return self._classes

    def _folders(self) -> list[str]:
        """Of labels, those that may be classes; none where they are not made yet, or their share is away."""
        try:
            with os.scandir(self._review / "labelled") as entries:
                return sorted(
                    name
                    for each in entries
                    if each.is_dir() and self._may_be_class(name := to_text(each.name))
                )
        except OSError:
            return []

    def _may_be_class(self, name: str) -> bool:
        """No server's own folder either (`@eaDir`, say): what lies in these is not looked at."""
        return may_be_class(name) and not is_ignored(name, self._ignore)

    def _refuse_bad_name(self, name: str) -> None:
        if not self._may_be_class(name):
            raise RefusedError(
                f"{name!r} cannot be a class: use a short name without '/' and '\\' and no space around it, such as "
                "no_defect, and none that intake.ignore lists, nor that of a folder of Millwatch's own (to_check, labelled, a "
                f"day); {UNKNOWN} is what the model says of what it does not know"
            )
        alike = known_name(name, self.given)
        if alike == name and name not in self.given:
            alike = known_name(name, self.classes())
        if alike != name:
            raise RefusedError(
                f"{name!r} reads like the class {alike}: label the image that, or name a new class so "
                "that people can tell the two apart"
            )

    def in_force(self, image_id: int) -> int:
        label = labels.label_of(self._database, image_id)
        return 0 if label is None else label.label_id

    def _path(self, image_id: int) -> Path:
        """Where the file of an image in review is. Raises RefusedError."""
        viewed = viewing.view(self._database, image_id)
        if viewed is None:
            raise RefusedError(f"there is no image {image_id}")
        if viewed.path is None or not viewed.path.is_relative_to(self._review):
            raise RefusedError(
                f"image {image_id} is not in review: its verdict was {viewed.verdict}, or it is "
                "still on its way"
            )
        return viewed.path

    def _target(self, image_id: int, label: str) -> Path:
        path = self._path(image_id)
        if not path.is_file():
            raise RefusedError(
                f"the file of image {image_id} is missing from the review folder: {to_text(path)}"
            )
        return self._review / "labelled" / from_text(label) / path.name

    def _first_place(self, image_id: int) -> Path:
        """Where an image was sent when it was judged; to check, if it was left or deleted then."""
        image = known(self._database, [image_id])[image_id]
        if image.target is not None:
            return self._homes.of(image.target)
        name = "image" if image.path is None else image.path.name
        return self._review / "to_check" / UNKNOWN / name

    def bring(self, relocation: Relocation) -> None:
        """The label stands, whatever becomes of the file now; what failed is tried again.

        Called with the lock held.
        """
        try:
            relocation = self._move(relocation)
            labels.arrived(self._database, relocation, relocation.target)
        except (GoneError, ChangedError):
            # Somebody took it away, or edited it: what lies there is not ours to move.
            log.warning("labelled, but missing", image=relocation.image_id)
            labels.arrived(self._database, relocation, relocation.source)
        except (OSError, TargetTakenError, StoreError) as error:
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            self._health.trouble(
                _TROUBLE,
                f"{to_text(relocation.source)} is labelled but could not be moved: {error}; free "
                "space in the review folder, or mend its permissions. It is tried again",
            )

    def _move(self, relocation: Relocation) -> Relocation:
        """Where another's file lies at the target, to a name beside it. Errors as of `relocate`."""
        if not self.is_there():  # folders would be made where a share belongs
            told = "neither to_check nor labelled is there"
            raise OSError(errno.ENOENT, told, to_text(self._review))
        try:
            relocate(relocation.source, relocation.target, relocation.sha256)
        except TargetTakenError:
            taken = relocation.target
            other = taken.with_name(f"{taken.stem}-{relocation.label_id}{taken.suffix}")
            relocation = replace(relocation, target=other)
            relocate(relocation.source, other, relocation.sha256)
        return relocation


def may_be_class(name: str) -> bool:
    r"""Whether images can be labelled so, and lie in a folder of this name.

    A folder is named as `from_text` says: what stands for other characters there (`\x2f` for "/", say)
    names another class, or another folder than one of ours.
    """
    bad = (
        not name
        or name != name.strip()
        or name.startswith(".")
        or "/" in name
        or not name.isprintable()
        or len(name) > LONGEST_NAME
        or len(name.encode()) > 3 * LONGEST_NAME
        or to_text(from_text(name)) != name
    )
    return not bad and as_read(name) not in OURS and not DAY.fullmatch(name)
