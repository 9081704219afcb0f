"""One image of the review folder settled: what its place says is recorded, and its twin goes.

Under the lock that whoever labels holds, and from what lies there at that moment: a move of the
page's own is never taken for somebody else's.
"""

import os
import pwd
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from config.settings import Settings
from daemon.files.homes import Homes
from daemon.files.placing import make_durable
from daemon.names import from_text, to_text
from daemon.review.deciding import Deed, Places, Ruling, decide
from daemon.review.identifying import ids_in, signature_of
from daemon.review.labelling import Labeller
from daemon.store import labels, review_files
from daemon.store.database import Database
from daemon.store.review_files import Known, Problem, ReviewFile
from daemon.values import Progress, Signature

log = structlog.get_logger(__name__)

_BY_FOLDER: Final = "folder"


class Settler:
    """Settles images, one at a time."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        labeller: Labeller,
        clock: Callable[[], datetime],
    ) -> None:
        self.places = Places.of(settings.review_folder, labeller.given)
        self._homes = Homes(settings)
        self._database = database
        self._labeller = labeller
        self._clock = clock

    def settle(
        self, image_id: int, new: Sequence[ReviewFile] = (), *, may_be_missing: bool = False
    ) -> bool:
        """Record what the folder says of an image.

        Args:
            new: files with its bytes that are not remembered yet.
            may_be_missing: whether it was waited for long enough to be told of as missing.

        Returns:
            Whether that is done; False while its file is under way.

        Raises:
            StoreError, OSError: it is not; trying again may help.
        """
        with self._labeller.lock:
            image = review_files.known(self._database, [image_id]).get(image_id)
            if image is None:  # its record was deleted in time
                return True
            if image.on_its_way or image.progress is Progress.PENDING:
                return False
            here = review_files.remembered(self._database, [each.path for each in new])
            of_image = review_files.remembered_of(self._database, image_id)
            remembered = list({**{each.path: each for each in of_image}, **here}.values())
            files = self._whole(image, [*remembered, *new])
            ruling = decide(image, files.keys(), self.places, elsewhere=self._is_elsewhere(image))
            if not files and not may_be_missing:
                ruling = Ruling(deed=Deed.NOTHING)
            path = self._do(image, ruling)
            self._remember(image, path, ruling, files, remembered)
        return True

    def _whole(self, image: Known, candidates: Sequence[ReviewFile]) -> dict[Path, ReviewFile]:
        """The image's bytes, wherever they lie in the review folder now."""
        whole: dict[Path, ReviewFile] = {}
        for each in candidates:
            if each.sha256 == image.sha256 and signature_of(each.path) == each.signature:
                whole[each.path] = each
        path = image.path
        if path is not None and path not in whole and self.places.holds(path):
            signature = signature_of(path)
            if signature is not None and is_as_judged(signature, image):
                whole[path] = ReviewFile(
                    path=path, signature=signature, sha256=image.sha256, image_id=image.id
                )
        return whole

    def _is_elsewhere(self, image: Known) -> bool:
        """Not where an earlier configuration had it: what lies in today's folders counts."""
        path = image.path
        if path is None or self.places.holds(path) or not self._homes.hold(path):
            return False
        return os.path.lexists(path)

    def _do(self, image: Known, ruling: Ruling) -> Path | None:
        """Where the file of the image is then recorded to be."""
        at = ruling.at
        if ruling.deed is Deed.NOTHING or at is None:
            return image.path
        # Else, after a power failure, it may lie where it was moved from: that would be an undo.
        make_durable(at)
        if ruling.deed is Deed.FOLLOW:
            labels.follow(self._database, image.id, at)
            return at
        if ruling.deed is Deed.LABEL:
            return self._label(image, at, ruling.label or "")
        if ruling.deed is Deed.UNDO:
            labels.undo_label(
                self._database,
                image.id,
                seen=image.label_id,
                now=self._clock(),
                target=at,
                is_there=True,
            )
            log.info("label taken back", image=image.id, by=_BY_FOLDER)
            return at
        return self._bring(image, at)

    def _label(self, image: Known, at: Path, name: str) -> Path:
        by = owner_of(at)
        relocation = labels.put_label(
            self._database,
            image.id,
            name,
            by,
            seen=image.label_id,
            target=at,
            now=self._clock(),
            is_there=not self._leaves_a_twin(image, at),
        )
        log.info("labelled", image=image.id, label=name, by=by)
        if relocation.source != at:
            self._labeller.bring(relocation)
        return at

    def _leaves_a_twin(self, image: Known, at: Path) -> bool:
        """Whether the file that a label was copied from is ours to remove."""
        path = image.path
        if path is None or path == at or image.progress is Progress.LEFT:
            return False
        return os.path.lexists(path)

    def _bring(self, image: Known, at: Path) -> Path:
        """Let the file come to where the label in force says; `at` may be there already."""
        source, target = image.path, at
        if self.places.class_of(at) is None:
            source = at
            target = self.places.labelled / from_text(image.label or "") / at.name
        if source is None:
            raise ValueError("an image that is nowhere has no file to bring")
        relocation = labels.send(
            self._database, image.id, image.label_id, source=source, target=target
        )
        self._labeller.bring(relocation)
        return target

    def _remember(
        self,
        image: Known,
        path: Path | None,
        ruling: Ruling,
        files: dict[Path, ReviewFile],
        remembered: Sequence[ReviewFile],
    ) -> None:
        """What the record does not say by itself, and nothing else."""
        wanted: dict[Path, ReviewFile] = {}
        edited = {
            each.path
            for each in remembered
            if each.problem is Problem.EDITED and each.path not in files
        }
        for place, each in files.items():
            problem, reason = ruling.problems.get(place, (None, None))
            plain = place == path and image.id in ids_in(place.name)
            if plain and problem is None and is_as_judged(each.signature, image):
                continue
            if os.path.lexists(place):
                wanted[place] = replace(each, image_id=image.id, problem=problem, reason=reason)
        for place, (problem, reason) in ruling.problems.items():
            if place not in files and place not in edited:
                wanted[place] = ReviewFile(
                    path=place,
                    signature=None,
                    sha256=None,
                    image_id=image.id,
                    problem=problem,
                    reason=reason,
                )
        before = {each.path: each for each in remembered if each.path not in edited}
        changed = [each for each in wanted.values() if before.get(each.path) != each]
        for each in changed:
            if each.problem is not None:
                told = each.problem.value
                log.warning("review", problem=told, image=image.id, path=to_text(each.path))
        forgotten = [place for place in before if place not in wanted]
        review_files.remember(self._database, changed, self._clock(), forget=forgotten)


def is_as_judged(signature: Signature | None, image: Known) -> bool:
    """Whether a file at an image's own place needs no reading: moved, or copied with its time."""
    return signature is not None and (signature.size, signature.mtime_ns) == (
        image.size,
        image.mtime_ns,
    )


def owner_of(path: Path) -> str:
    """The user whom a file belongs to, where that may be who put it there; else `folder`.

    What belongs to the user that Millwatch runs as was brought by Millwatch, whoever moved it since.
    """
    try:
        owner = path.lstat().st_uid
        return _BY_FOLDER if owner == os.geteuid() else pwd.getpwuid(owner).pw_name
    except (OSError, KeyError):
        return _BY_FOLDER
