"""Where an image goes, and bringing it there."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Final, Literal

import structlog

from config.settings import Settings
from daemon.clock import timestamp, timestamp_of_ns
from daemon.files import moving, placing
from daemon.files.flushing import fsync_all, fsync_folders
from daemon.names import to_text
from daemon.store.images import Settled
from daemon.values import Action, Finding, Intent, Plan, Progress
from models.taxonomy import UNKNOWN, Reason, Verdict

log = structlog.get_logger(__name__)

_NAME_BYTES: Final = 255
_ORDINARY_SUFFIX: Final = re.compile(r"\.[A-Za-z0-9]{1,8}")
_GONE: Final = (FileNotFoundError, NotADirectoryError)
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The folders that images are brought to."""

    review: Path
    archive: Path
    quarantine: Path
    on_pass: Literal["archive", "leave", "delete"]

    @classmethod
    def of(cls, settings: Settings) -> "Folders":
        return cls(
            review=settings.review_folder,
            archive=settings.archive_folder,
            quarantine=settings.quarantine_folder,
            on_pass=settings.policy.on_pass,
        )

    def plan(self, image_id: int, finding: Finding, promised: Callable[[Path], bool]) -> Plan:
        """Where an image of this finding goes; never to a name that another image has or had."""
        if finding.verdict is Verdict.PASS and finding.reason != Reason.SAMPLE.value:
            if self.on_pass == "leave":  # noqa: S105 -- no password
                return Plan(action=Action.LEAVE)
            if self.on_pass == "delete":  # noqa: S105
                return Plan(action=Action.DELETE)
            return _move(self._by_day(self.archive, finding), image_id, finding, promised)
        if finding.verdict is Verdict.UNREADABLE:
            return _move(self._by_day(self.quarantine, finding), image_id, finding, promised)
        return Plan(action=Action.MOVE, target=self._to_check(image_id, finding))

    def _by_day(self, root: Path, finding: Finding) -> Path:
        delivery = finding.delivery
        return root / delivery.camera / timestamp_of_ns(delivery.mtime_ns)[:10]

    def _to_check(self, image_id: int, finding: Finding) -> Path:
        """`<class>/<day>/<camera>__<time>__<id>__<class>-<confidence>.<original extension>`."""
        captured = timestamp_of_ns(finding.delivery.mtime_ns)
        name = _UNSAFE.sub("_", finding.predicted_class or UNKNOWN)
        folder = UNKNOWN if finding.reason == Reason.UNKNOWN.value else name
        confidence = int((finding.confidence or 0.0) * 100)
        moment = captured.replace("-", "").replace(":", "")
        file = (
            f"{finding.delivery.camera}__{moment}__{image_id}__{name}-{confidence:02d}"
            f"{_suffix(finding.delivery.filename)}"
        )
        return self.review / f"to_check/{folder}/{captured[:10]}/{file}"


@dataclass(kw_only=True)
class Routed:
    """What became of some intents. What is in none of these lists is still to be done.

    Attributes:
        withdrawn: the camera went on writing; their records are to be taken back.
        missing: not where they should be; how they end if they stay away.
        taken: another file lies at their target; they need another.
        failed: each with what stood in the way; trying again may help.
    """

    settled: list[Settled] = field(default_factory=list)
    withdrawn: list[Intent] = field(default_factory=list)
    missing: list[Settled] = field(default_factory=list)
    taken: list[Intent] = field(default_factory=list)
    failed: list[tuple[Intent, OSError]] = field(default_factory=list)


def route(
    intents: Sequence[Intent],
    *,
    held: Mapping[int, int],
    now: datetime,
    marker_suffix: str = "",
) -> Routed:
    """Do what was recorded, as far as the disks allow; doing it again changes nothing.

    The order keeps every image whole in one place at least, whenever the power goes: the bytes, the
    targets, their folders' entries, then the sources, their folders' entries; then it may be recorded.

    Args:
        held: descriptors of files as they were judged, by image id; empty after a restart.
    """
    routed = Routed()
    made: set[str] = set()
    compared = set(held)
    durable = _fsync_held(intents, held, routed)
    brought = [intent for intent in durable if _bring(intent, held, routed, now, made, compared)]
    safe = _fsync_folders(brought, _target_folder, routed)
    ends = {
        intent.image_id: end
        for intent in safe
        if (end := _release(intent, held, routed, marker_suffix, compared)) is not None
    }
    released = [intent for intent in safe if intent.image_id in ends]
    for intent in _fsync_folders(released, _source_folder, routed, may_be_gone=True):
        held_file = held.get(intent.image_id)
        try:
            written = moving.take_back_if_written(intent.delivery, intent.plan.target, held_file)
        except OSError as error:
            routed.failed.append((intent, error))
            continue
        if written:
            routed.withdrawn.append(intent)
        else:
            routed.settled.append(ends[intent.image_id])
    return routed


def another_target(intent: Intent, now: datetime) -> Intent:
    """The intent with a target that nothing lies at: a stranger's file lies where it should go."""
    if intent.plan.target is None:
        raise ValueError("only a move has a target")
    target = _with_id(intent.plan.target, intent.image_id, extra=f"{now:%H%M%S%f}")
    return replace(intent, plan=replace(intent.plan, target=target))


def _done(intent: Intent) -> Settled:
    deleted = intent.plan.action is Action.DELETE
    progress = Progress.DELETED if deleted else Progress.MOVED
    return Settled(intent=intent, progress=progress, path=intent.plan.target)


def _bring(
    intent: Intent,
    held: Mapping[int, int],
    routed: Routed,
    now: datetime,
    made: set[str],
    compared: set[int],
) -> bool:
    """Whether the target is in place, so that the source may go: one of `compared` unread."""
    target = intent.plan.target
    if target is None:
        return True
    try:
        if (folder := _folder(target)) not in made:
            placing.make_folder(target.parent)
            made.add(folder)
        if intent.verdict is Verdict.UNREADABLE:
            # First whose place it is: the reason goes over what lies under the reason's name.
            moving.is_there(intent.delivery, intent.sha256, target, fresh=intent.fresh)
            _write_reason(intent, target, now)
        held_file = held.get(intent.image_id)
        if moving.bring(intent.delivery, intent.sha256, target, held_file, fresh=intent.fresh):
            compared.add(intent.image_id)
    except placing.TargetTakenError:
        log.warning("target taken", image=intent.image_id, path=to_text(target))
        routed.taken.append(intent)
    except placing.ChangedError:
        log.info("written to after it was judged", path=to_text(intent.delivery.path))
        _remove_reason(target)
        routed.withdrawn.append(intent)
    except placing.GoneError:
        _remove_reason(target)
        routed.missing.append(Settled(intent=intent, progress=Progress.GONE, path=None))
    except OSError as error:
        routed.failed.append((intent, error))
    else:
        return True
    return False


def _release(
    intent: Intent,
    held: Mapping[int, int],
    routed: Routed,
    marker_suffix: str,
    compared: set[int],
) -> Settled | None:
    """How the intent ends, where nothing of the delivery is in the drop folder any more."""
    delivery = intent.delivery
    sha256 = "" if intent.image_id in compared else intent.sha256
    try:
        end = moving.release(delivery, marker_suffix, sha256=sha256, fresh=intent.fresh)
        absent = end is moving.Release.ABSENT
        if end is not moving.Release.WRITTEN and intent.plan.target is not None:
            moving.make_own(intent.plan.target, delivery, intent.sha256)
        overwritten = end is moving.Release.WRITTEN and _is_target(intent, delivery.path)
        away = absent and intent.image_id not in held and not delivery.path.parent.is_dir()
    except placing.ChangedError:  # written to just now; the next try takes it back
        return None
    except OSError as error:
        routed.failed.append((intent, error))
        return None
    if overwritten:
        # One file under two names: what was judged is overwritten.
        routed.withdrawn.append(intent)
        return None
    if not absent:
        return _done(intent)
    unseen = Settled(intent=intent, progress=Progress.UNSEEN, path=intent.plan.target)
    if away:
        routed.missing.append(unseen)  # only a share that is away, perhaps
        return None
    return unseen


def _is_target(intent: Intent, path: Path) -> bool:
    """Whether the intent's target was a second name of this file; it is removed then."""
    target = intent.plan.target
    if target is None or not target.samefile(path):
        return False
    target.unlink()
    return True


def _write_reason(intent: Intent, target: Path, now: datetime) -> None:
    """Lay the reason beside a quarantined image, before the image itself."""
    document = {
        "image": intent.image_id,
        "camera": intent.delivery.camera,
        "filename": to_text(intent.delivery.filename),
        "sha256": intent.sha256,
        "reason": intent.reason,
        "detail": intent.notes,
        "quarantined_at": timestamp(now.astimezone(UTC)),
    }
    text = json.dumps(document, indent=2) + "\n"
    placing.write_durably(target.with_name(target.name + moving.REASON_SUFFIX), text)


def _remove_reason(target: Path) -> None:
    """A reason without its image tells nobody anything."""
    if not os.path.lexists(target):
        with suppress(OSError):
            target.with_name(target.name + moving.REASON_SUFFIX).unlink(missing_ok=True)


def _move(folder: Path, image_id: int, finding: Finding, promised: Callable[[Path], bool]) -> Plan:
    """Into a folder under the delivered name, or with the id in it where that name is promised.

    Whether a stranger's file lies there is found out by the move: to look here, on a disk that hangs
    perhaps, would hold up every camera and whoever else waits for the database.
    """
    delivered = folder / _shortened(Path(finding.delivery.filename).name, "")
    names = (_with_id(delivered, image_id, extra=str(n) if n else "") for n in count())
    for target in chain([delivered], names):
        if not promised(target):
            return Plan(action=Action.MOVE, target=target)
    raise AssertionError("there is always another name")


def _with_id(target: Path, image_id: int, *, extra: str = "") -> Path:
    suffix = _suffix(target.name)
    stem = target.name[: len(target.name) - len(suffix)]
    mark = f"__{image_id}" + (f"-{extra}" if extra else "")
    return target.with_name(_shortened(stem, mark + suffix))


def _shortened(stem: str, tail: str) -> str:
    """`stem + tail`, the stem cut so that name and reason file fit the 255 bytes of a name."""
    room = _NAME_BYTES - len(moving.REASON_SUFFIX) - len(tail.encode("utf-8", "surrogateescape"))
    raw = stem.encode("utf-8", "surrogateescape")
    if len(raw) <= room:
        return stem + tail
    return raw[:room].decode("utf-8", "surrogateescape") + tail


def _suffix(filename: str) -> str:
    """The extension where it is an ordinary one, else nothing."""
    suffix = Path(filename).suffix
    return suffix if _ORDINARY_SUFFIX.fullmatch(suffix) else ""


def _folder(path: Path) -> str:
    return os.path.dirname(path)  # noqa: PTH120 -- to make and to hash a `Path` takes ten times as long


def _target_folder(intent: Intent) -> str | None:
    return None if intent.plan.target is None else _folder(intent.plan.target)


def _source_folder(intent: Intent) -> str:
    return _folder(intent.delivery.path)


def _fsync_held(intents: Sequence[Intent], held: Mapping[int, int], routed: Routed) -> list[Intent]:
    """Make the bytes durable of what is to be moved and is open; the intents where that is so."""
    files = {
        intent.image_id: held[intent.image_id]
        for intent in intents
        if intent.plan.target is not None and intent.image_id in held
    }
    troubles = fsync_all(list(files.values()))
    routed.failed += [
        (intent, troubles[files[intent.image_id]])
        for intent in intents
        if files.get(intent.image_id) in troubles
    ]
    return [intent for intent in intents if files.get(intent.image_id) not in troubles]


def _fsync_folders(
    intents: Sequence[Intent],
    folder_of: Callable[[Intent], str | None],
    routed: Routed,
    *,
    may_be_gone: bool = False,
) -> list[Intent]:
    """Make the names in each intent's folder durable; the intents of those folders that are.

    Args:
        may_be_gone: a folder that was removed, with what was in it, needs nothing.
    """
    folder_by_image = {intent.image_id: folder_of(intent) for intent in intents}
    folders = {folder for folder in folder_by_image.values() if folder is not None}
    troubles = fsync_folders(list(folders))
    safe: list[Intent] = []
    for intent in intents:
        folder = folder_by_image[intent.image_id]
        error = None if folder is None else troubles.get(folder)
        if error is None or (may_be_gone and isinstance(error, _GONE)):
            safe.append(intent)
        else:
            routed.failed.append((intent, error))
    return safe
