"""The review folder is the truth: what people move, copy, rename, edit and delete there is found.

Every few seconds the folders' times are looked at, and those that changed are listed; of the images
that should lie there, some are looked at each time, in turn. A file is read once, and again only when
it changes.
"""

import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from config.settings import Settings
from daemon.names import is_ignored, to_text
from daemon.process.health import Health
from daemon.review.identifying import identify, ids_in, no_file, read, signature_of
from daemon.review.labelling import Labeller
from daemon.review.listing import Listing
from daemon.review.pacing import unhurried
from daemon.review.rounds import Rounds, known_unhurried
from daemon.review.settling import Settler, is_as_judged
from daemon.review.tidying import remove_empty_days
from daemon.store import review_files
from daemon.store.database import Database, StoreError
from daemon.store.review_files import Known, Problem, ReviewFile
from daemon.values import Progress, Signature

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 2.0
_SHORTEST_LOOK_SECONDS: Final = 0.1
_AGAIN_SECONDS: Final = 5.0
_AT_A_TIME: Final = 200
_STEP_SECONDS: Final = 1.0
_TIDY_SECONDS: Final = 3600.0
_TROUBLE: Final = "review folder"


@dataclass(kw_only=True)
class _Open:
    """A file that is not known to be in order: it is waited for, then read.

    Attributes:
        ours: the daemon itself is bringing it, or will once it runs: nobody waits for that.
    """

    since: float
    still_since: float
    signature: Signature | None = None
    look_at: float = 0.0
    ours: bool = False


class Reconciler:
    """Reconciles the review folder with the database. One thread calls it.

    Attributes:
        look_seconds: until it is worth while to look again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        labeller: Labeller,
        health: Health,
        clock: Callable[[], datetime],
    ) -> None:
        self._review = settings.review_folder
        self._quiet_seconds = settings.intake.quiet_seconds
        self._patience_seconds = settings.intake.give_up_seconds
        self.look_seconds = max(
            _SHORTEST_LOOK_SECONDS, min(_LOOK_SECONDS, settings.intake.quiet_seconds)
        )
        self._database = database
        self._labeller = labeller
        self._health = health
        self._clock = clock
        self._settler = Settler(settings, database=database, labeller=labeller, clock=clock)
        self._places = self._settler.places
        self._ignore = settings.intake.ignore
        self._listing = self._new_listing()
        self._open: dict[Path, _Open] = {}
        self._unsettled: set[int] = set()
        self._missing_since: dict[int, float] = {}
        self._rounds = Rounds(database)
        self._tidy_at = 0.0
        self._failed = ""

    def step(self, *, now: float) -> bool:
        """Find what changed, and settle it.

        Args:
            now: of a clock that never jumps, in seconds.

        Returns:
            Whether there is more to do at once.
        """
        self._failed = ""
        more = False
        try:
            self._labeller.finish_if_due()
            if not self._is_there():
                return False
            self._scan(now)
            self._look_at_images(self._rounds.images(), now)
            self._look_at_files(self._rounds.files(), now)
            more = self._read_open(now)
            self._settle(now)
            if now >= self._tidy_at:
                self._tidy_at = now + _TIDY_SECONDS
                remove_empty_days(self._places.to_check, self._clock())
        except OSError as error:
            self._fail(self._review, error)
        except StoreError as error:
            # What came and went is not to be forgotten: all is looked at again.
            self._listing = self._new_listing()
            self._health.trouble(_TROUBLE, f"labels from the review folder wait: {error}")
            return False
        if self._failed:
            self._health.trouble(_TROUBLE, self._failed)
        else:
            self._health.mended(_TROUBLE)
        return more

    def placed(self, paths: Iterable[Path]) -> None:
        """The daemon brought these there just now, and recorded it. From any thread."""
        self._listing.expect(paths)

    def _fail(self, path: Path, error: Exception) -> None:
        """Tell of what one file or folder came to; the others go on."""
        why = error.strerror if isinstance(error, OSError) else None
        self._failed = (
            f"{to_text(path)} cannot be looked after: {why or repr(error)}; bring the share back, or mend "
            "its permissions. Labels that are given there are found again by themselves"
        )

    @property
    def is_settled(self) -> bool:
        """Whether all that people did is recorded; what is missing may still come back."""
        return not self._unsettled and all(one.ours for one in tuple(self._open.values()))

    def _new_listing(self) -> Listing:
        return Listing((self._places.to_check, self._places.labelled), self._ignores)

    def _ignores(self, name: str) -> bool:
        return is_ignored(name, self._ignore)

    def _is_there(self) -> bool:
        if self._labeller.is_there():
            return True
        self._health.trouble(
            _TROUBLE,
            f"{to_text(self._review)} holds neither to_check nor labelled: mount its share, or make "
            "them anew if they were deleted",
        )
        return False

    def _scan(self, now: float) -> None:
        changes = self._listing.changes(now=now)
        self._places.classes = self._labeller.classes()
        for folder, error in changes.failed:
            self._fail(folder, error)
        for folder in changes.lost:
            self._forget_what_left(folder)
        # At a start that is nearly all there is. What is known of thousands would take megabytes meanwhile.
        for start in range(0, len(changes.came), _AT_A_TIME):
            self._open_what_is_not_in_order(changes.came[start : start + _AT_A_TIME], now)

    def _forget_what_left(self, folder: Path) -> None:
        for file in review_files.remembered_below(self._database, folder):
            if file.problem is not Problem.MISSING and not os.path.lexists(file.path):
                self._forget([file])

    def _open_what_is_not_in_order(self, paths: Sequence[Path], now: float) -> None:
        """What is, is not waited for, nor read."""
        names = {path: ids_in(path.name) for path in paths}
        images = known_unhurried(self._database, (one for ids in names.values() for one in ids))
        remembered = review_files.remembered(self._database, names)
        for path, ids in unhurried(names.items()):
            claimed = [images[one] for one in ids if one in images]
            if not self._is_as_it_was(path, claimed, remembered.get(path)):
                self._open.setdefault(path, _Open(since=now, still_since=now))

    def _is_as_it_was(
        self, path: Path, claimed: Iterable[Known], before: ReviewFile | None
    ) -> bool:
        try:
            signature = signature_of(path)
        except OSError:  # which is told when it is to be read
            return False
        if self._is_in_order(path, signature, claimed):
            return True
        if before is None or before.signature != signature:
            return False
        self._settle_again(before)
        return True

    def _is_in_order(
        self, path: Path, signature: Signature | None, claimed: Iterable[Known]
    ) -> bool:
        return any(
            image.path == path
            and image.label == self._places.class_of(path)
            and is_as_judged(signature, image)
            for image in claimed
        )

    def _settle_again(self, file: ReviewFile) -> None:
        if file.image_id is not None:
            self._unsettled.add(file.image_id)

    def _forget(self, files: Iterable[ReviewFile]) -> None:
        gone = list(files)
        review_files.remember(
            self._database, [], self._clock(), forget=[each.path for each in gone]
        )
        for each in gone:
            self._settle_again(each)

    def _look_at_images(self, images: Iterable[Known], now: float) -> None:
        changed: dict[Path, Signature | None] = {}
        gone: dict[Path, int] = {}
        for image in unhurried(images):
            path = image.path
            if path is None or not self._places.holds(path):
                continue
            if image.on_its_way or image.progress is Progress.PENDING:
                continue
            try:
                signature = signature_of(path)
            except OSError as error:  # of a folder that is shut, or a share in it that is away
                self._fail(path.parent, error)
                continue
            if signature is None:
                gone[path] = image.id
            elif not is_as_judged(signature, image):
                changed[path] = signature
            elif image.label != self._places.class_of(path):
                self._unsettled.add(image.id)
        self._look_at_gone(gone, now)
        remembered = review_files.remembered(self._database, changed)
        for path, signature in changed.items():
            if path not in remembered or remembered[path].signature != signature:
                self._open.setdefault(path, _Open(since=now, still_since=now))

    def _look_at_gone(self, gone: Mapping[Path, int], now: float) -> None:
        told = review_files.remembered(self._database, gone)
        for path, image_id in gone.items():
            if path not in told or told[path].problem is not Problem.MISSING:
                self._missing_since.setdefault(image_id, now)

    def _look_at_files(self, files: Iterable[ReviewFile], now: float) -> None:
        gone: list[ReviewFile] = []
        for each in unhurried(files):
            try:
                signature = signature_of(each.path)
            except OSError as error:
                self._fail(each.path.parent, error)
                continue
            if each.problem is Problem.MISSING:
                if signature is not None:
                    self._settle_again(each)
            elif signature is None and each.problem is not Problem.NO_FILE:
                gone.append(each)
            elif signature is not None and (
                signature != each.signature or self._was_not_edited(each)
            ):
                self._open.setdefault(each.path, _Open(since=now, still_since=now))
        self._forget(gone)

    def _was_not_edited(self, file: ReviewFile) -> bool:
        """Whether what looked like an image that was written over is another, whose place it now is."""
        if file.problem is not Problem.EDITED or file.image_id is None or file.sha256 is None:
            return False
        image = review_files.known(self._database, [file.image_id]).get(file.image_id)
        moved_on = image is None or image.path != file.path
        return moved_on and bool(review_files.known_by_content(self._database, file.sha256))

    def _read_open(self, now: float) -> bool:
        """Read what has been still for long enough. Returns whether there is more."""
        until = time.monotonic() + _STEP_SECONDS
        for path, one in unhurried(list(self._open.items())):
            if now < one.look_at:
                continue
            if time.monotonic() > until:
                return True
            try:
                done = self._look(path, one, now)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 -- one file must not hold up the others
                self._fail(path, error)
                one.look_at = now + _AGAIN_SECONDS
                continue
            if done:
                self._open.pop(path, None)
        return False

    def _look(self, path: Path, one: _Open, now: float) -> bool:
        """Whether a file need not be waited for any longer."""
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        if not stat.S_ISREG(status.st_mode):
            self._remember(no_file(path, status, "it is a link, or a device"))
            return True
        signature = Signature.of(status)
        if signature != one.signature:
            one.signature, one.still_since = signature, now
        claimed = review_files.known(self._database, ids_in(path.name)).values()
        if self._is_in_order(path, signature, claimed):
            return True
        one.ours = self._is_under_way(path, claimed)
        if one.ours or now - one.still_since < self._quiet_seconds:
            return False
        try:
            found = read(path)
        except OSError as error:
            self._remember(no_file(path, status, error.strerror or str(error)))
            one.look_at = now + _AGAIN_SECONDS
            return False
        return found is not None and self._take(path, *found, one, now)

    def _is_under_way(self, path: Path, claimed: Iterable[Known]) -> bool:
        """Whether the daemon itself is bringing it here."""
        return any(
            image.on_its_way or (image.progress is Progress.PENDING and image.target == path)
            for image in claimed
        )

    def _take(self, path: Path, signature: Signature, sha256: str, one: _Open, now: float) -> bool:
        file = identify(self._database, path, signature, sha256)
        if file.problem is not None or file.image_id is None:
            self._remember(file)
            self._settle_again(file)
            return True
        if not self._settler.settle(file.image_id, [file]):
            one.look_at = now + self.look_seconds
            return False
        self._missing_since.pop(file.image_id, None)
        return True

    def _remember(self, file: ReviewFile) -> None:
        before = review_files.remembered(self._database, [file.path]).get(file.path)
        if before != file:
            log.warning("in the review folder", path=to_text(file.path), problem=str(file.problem))
            review_files.remember(self._database, [file], self._clock())
            if before is not None:
                self._settle_again(before)

    def _settle(self, now: float) -> None:
        """Settle what does not wait for a file to be read.

        What is missing may only be on its way from one folder to another, or lie there unread.
        """
        for image_id in list(self._unsettled):
            if self._try_to_settle(image_id):
                self._unsettled.discard(image_id)
        grace = 2 * (self._quiet_seconds + self.look_seconds)
        for image_id, since in list(self._missing_since.items()):
            may_be_unread = any(
                one.since <= since + grace and now - one.since < self._patience_seconds
                for one in self._open.values()
            )
            if now - since < grace or may_be_unread:
                continue
            if self._try_to_settle(image_id, may_be_missing=True):
                del self._missing_since[image_id]

    def _try_to_settle(self, image_id: int, *, may_be_missing: bool = False) -> bool:
        try:
            return self._settler.settle(image_id, may_be_missing=may_be_missing)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 -- one image must not hold up the others
            self._fail(self._review / f"image {image_id}", error)
            return False
