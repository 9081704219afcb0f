"""Sees every recorded plan through, now or later, across cameras whose disks may fail or hang."""

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from config.settings import Settings
from daemon.files.homes import Homes
from daemon.files.mounts import ReviewShare
from daemon.journey.routing import Routed, another_target, route
from daemon.names import to_text
from daemon.process.health import Health
from daemon.process.lanes import ANSWER_SECONDS, Lanes, by_camera
from daemon.store import images
from daemon.store.database import Database, StoreError
from daemon.store.images import Settled
from daemon.values import Delivery, Intent

log = structlog.get_logger(__name__)

_REMEDIES: Final = {
    errno.ENOSPC: "free space there",
    errno.EDQUOT: "free space there, or raise the quota",
    # systemd lets the service write to no folder that was not there when it started.
    errno.EROFS: "mount it read-write; where systemd runs Millwatch, `millwatch-configure` as root",
    errno.EACCES: "mend its permissions, and those of the drop folder",
    errno.EPERM: "mend its permissions, and those of the drop folder",
}
RETRY_SECONDS: Final = 2.0
_RETRY_BATCH: Final = 50


class Mover:
    """Routes images, and tries again what could not be done. One thread calls it."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        lanes: Lanes,
        large: Lanes,
        health: Health,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
        in_hand: Callable[[], Collection[Delivery]] = frozenset,
        placed: Callable[[list[Path]], None] = lambda _: None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Compose it.

        Args:
            large: for what is over `intake.max_bytes`, and nobody waits for: to hash a terabyte, or to copy
                it to another disk, takes the better part of an hour.
            in_hand: what is being judged now, perhaps once more. Were it moved before that is told from its
                record, it would be recorded a second time.
            placed: told which images lie in the review folder now, once that is recorded.
            answer_seconds: how long one camera's files may take before the others go on.
        """
        self._answer_seconds = answer_seconds
        self._marker_suffix = settings.intake.marker_suffix
        self._patience_seconds = settings.intake.give_up_seconds
        self._database = database
        self._lanes, self._large = lanes, large
        self._max_bytes = settings.intake.max_bytes
        self._health = health
        self._clock = clock
        self._wake = wake
        self._in_hand = in_hand
        self._placed = placed
        self._homes = Homes(settings)
        self._review = f"{settings.review_folder}{os.sep}"
        self._share = ReviewShare(settings)
        self._late: deque[Routed] = deque()
        self._retry_at: float | None = 0.0  # at the start, what a kill left undone
        self._retried_to = 0
        self._round_failed = False
        self._knows_database = False
        """Whether it wrote to the database in this round, or told that it cannot: with nothing to move, it
        would else call over what others tell of it."""
        self._missing_since: dict[int, float] = {}

    def move(self, intents: Sequence[Intent], held: Mapping[int, int]) -> list[Intent]:
        """Bring files where their records say. What remains is tried again by itself.

        Returns:
            Those whose records were taken back: they are to be judged again.

        Raises:
            StoreError: the files may be moved and the intents still pending.
        """
        remaining, withdrawn = self._move(intents, held)
        if remaining:
            self.retry_later()
        return withdrawn

    def retry_later(self) -> None:
        """Not later than it is to be anyhow: what fails again and again would put off all else."""
        if self._retry_at is None:
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def retry_if_due(self) -> tuple[bool, list[Intent]]:
        """Record what came late, and do some of the plans that are not yet known to be done.

        Returns:
            Whether there is more to do at once, and those whose records were taken back.
        """
        withdrawn: list[Intent] = []
        more = False
        # Before anything is taken from `_late`: who still owes something now is left, even if it
        # comes meanwhile. What is done already would be done, and recorded, once more.
        owing = {True: self._large.overdue(), False: self._lanes.overdue()}
        try:
            self._settle_late(withdrawn)
            if self._retry_at is not None and time.monotonic() >= self._retry_at:
                self._retry_at = None
                more, taken_back = self._retry_page(owing)
                withdrawn += taken_back
        except StoreError as error:
            if error.damaged:
                raise
            self._health.trouble("database", str(error))
            self._knows_database = True
            # Else this page would be passed over, and the round be called done.
            self._retried_to = 0
            self.retry_later()
        return more, withdrawn

    def _settle_late(self, withdrawn: list[Intent]) -> None:
        """What took longer than the other cameras wait; to a list, whose records were taken back."""
        while self._late:
            routed = self._late[0]  # and stays there, should the database refuse it
            self._settle(routed)
            for intent in routed.taken:
                self._retarget(intent)
            withdrawn += routed.withdrawn
            self._late.popleft()

    def _retry_page(self, owing: Mapping[bool, Collection[str]]) -> tuple[bool, list[Intent]]:
        """One page, so that new images do not wait for a long backlog; the next call goes on.

        Args:
            owing: the cameras that still owe something, of large images and of the others.
        """
        intents = images.pending(self._database, after=self._retried_to, limit=_RETRY_BATCH)
        if not intents:
            self._end_round()
            return False, []
        self._retried_to = intents[-1].image_id
        in_hand = self._in_hand()
        due = [
            intent
            for intent in intents
            if intent.delivery.camera not in owing[self._is_large(intent)]
            and intent.delivery not in in_hand
        ]
        left, withdrawn = self._move(due, {})
        remaining = len(intents) - len(due) + left
        self._knows_database = self._knows_database or left < len(due)
        self._round_failed = self._round_failed or remaining > 0
        # Where a whole page failed, the next one is likely to fail in the same way.
        if remaining == len(intents):
            self.retry_later()
        else:
            self._retry_at = 0.0
        return remaining < len(intents), withdrawn

    def _end_round(self) -> None:
        self._retried_to = 0
        if self._round_failed:
            self._round_failed = False
            self.retry_later()
        else:
            self._missing_since.clear()
            self._health.mended("moving")
            if self._knows_database:
                self._health.mended("database")
            self._knows_database = False

    def _move(self, intents: Sequence[Intent], held: Mapping[int, int]) -> tuple[int, list[Intent]]:
        remaining = len(intents)
        withdrawn: list[Intent] = []
        while intents:
            large = [intent for intent in intents if self._is_large(intent)]
            others = [intent for intent in intents if not self._is_large(intent)]
            results = self._run(self._large, large, held, seconds=0.0)
            results += self._run(self._lanes, others, held, seconds=self._answer_seconds)
            intents = []
            for routed in results:
                remaining -= self._settle(routed)
                withdrawn += routed.withdrawn
                intents += [self._retarget(intent) for intent in routed.taken]
        return remaining, withdrawn

    def _run(
        self, lanes: Lanes, intents: Sequence[Intent], held: Mapping[int, int], *, seconds: float
    ) -> list[Routed]:
        """What of it is done in that time; the rest comes late."""
        groups = by_camera(intents, lambda intent: intent.delivery.camera)
        work = {camera: partial(self._route, group, held) for camera, group in groups.items()}
        return list(lanes.run(work, seconds=seconds, late=self._take_late).values())

    def _is_large(self, intent: Intent) -> bool:
        return intent.delivery.size > self._max_bytes

    def _take_late(self, routed: Routed) -> None:
        self._late.append(routed)
        self._wake()

    def _route(self, intents: Sequence[Intent], held: Mapping[int, int]) -> Routed:
        to_review = [each for each in intents if self._is_in_review(each.plan.target)]
        try:
            if to_review:
                self._share.refuse_if_away()
            away = None
        except OSError as error:
            away = error
            intents = [each for each in intents if not self._is_in_review(each.plan.target)]
        elsewhere = [each for each in intents if self._is_elsewhere(each)]
        if elsewhere:
            intents = [each for each in intents if each not in elsewhere]
        routed = route(intents, held=held, now=self._clock(), marker_suffix=self._marker_suffix)
        routed.taken += elsewhere
        if away is not None:
            routed.failed += [(each, away) for each in to_review]
        elif any(self._is_in_review(each.path) for each in routed.settled):
            self._share.remember()
        return routed

    def _settle(self, routed: Routed) -> int:
        """Record what was done. Returns how many intents have ended."""
        settled = [*routed.settled, *self._given_up(routed.missing)]
        images.withdraw(self._database, routed.withdrawn)
        images.settle(self._database, settled)
        self._placed([one.path for one in settled if one.path and self._is_in_review(one.path)])
        if routed.failed:
            intent, error = routed.failed[0]
            self._health.trouble(
                "moving",
                f"{to_text(intent.delivery.path)} is judged but cannot be moved"
                f"{_whither(intent)}: {error.strerror or error}. It stays where the camera put it "
                f"and is tried again by itself, like any other; {_remedy(error)}",
            )
        return len(settled) + len(routed.withdrawn)

    def _is_in_review(self, path: Path | None) -> bool:
        return path is not None and os.fspath(path).startswith(self._review)

    def _is_elsewhere(self, intent: Intent) -> bool:
        """Whether it was to go to a folder of an earlier configuration, and did not come there."""
        target = intent.plan.target
        if intent.fresh or target is None or self._homes.of(target) == target:
            return False
        return not os.path.lexists(target)

    def _given_up(self, missing: Iterable[Settled]) -> list[Settled]:
        """Those that are nowhere for so long that no share is likely to bring them back."""
        given_up: list[Settled] = []
        for one in missing:
            now = time.monotonic()
            since = self._missing_since.setdefault(one.intent.image_id, now)
            if now - since >= self._patience_seconds:
                del self._missing_since[one.intent.image_id]
                path = to_text(one.intent.delivery.path)
                log.warning("gone before it was moved", path=path, end=one.progress.value)
                given_up.append(one)
        return given_up

    def _retarget(self, intent: Intent) -> Intent:
        planned = intent.plan.target
        home = None if planned is None else self._homes.of(planned)
        changed = replace(intent, plan=replace(intent.plan, target=home))
        if home is None or home == planned or images.is_promised(self._database, home):
            changed = another_target(changed, self._clock())
        if changed.plan.target is not None:
            images.replan(self._database, intent, changed.plan.target)
        return changed


def _whither(intent: Intent) -> str:
    return "" if intent.plan.target is None else f" to {to_text(intent.plan.target)}"


def _remedy(error: OSError) -> str:
    return _REMEDIES.get(error.errno or 0, "see whether its disk or share is well")
