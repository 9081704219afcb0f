"""Where an image goes, and bringing it there."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import structlog

from config.settings import Settings
from daemon import moving
from daemon.clock import timestamp, timestamp_of_ns
from daemon.names import to_text
from daemon.store import images
from daemon.store.database import Database
from daemon.store.images import Settled
from daemon.values import Action, Finding, Intent, Plan, Progress
from models.taxonomy import UNKNOWN, Reason, Verdict

log = structlog.get_logger(__name__)

_NAME_BYTES: Final = 255
_REASON_SUFFIX: Final = ".reason.json"
_ORDINARY_SUFFIX: Final = re.compile(r"\.[A-Za-z0-9]{1,8}")
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
        if finding.verdict is Verdict.PASS:
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
        return (
            self.review
            / "to_check"
            / folder
            / captured[:10]
            / (
                f"{finding.delivery.camera}__{moment}__{image_id}__{name}-{confidence:02d}"
                f"{_suffix(finding.delivery.filename)}"
            )
        )


@dataclass(kw_only=True)
class Routed:
    """What became of the intents of one batch.

    Attributes:
        withdrawn: the camera went on writing; their records were taken back.
        failed: still pending, each with what stood in the way.
    """

    settled: list[Settled] = field(default_factory=list)
    withdrawn: list[Intent] = field(default_factory=list)
    failed: list[tuple[Intent, OSError]] = field(default_factory=list)


def route(
    database: Database,
    intents: Sequence[Intent],
    *,
    held: Mapping[int, int],
    now: datetime,
) -> Routed:
    """Do what was recorded, as far as the disks allow; doing it again changes nothing.

    The order keeps every image whole in one place at least, whenever the power goes: the targets,
    their folders' entries, then the sources, their folders' entries, then the record.

    Args:
        held: descriptors of files as they were judged, by image id; empty after a restart.

    Raises:
        StoreError: the files are where they should be and the intents still pending.
    """
    routed = Routed()
    brought = [intent for intent in intents if _bring(database, intent, held, routed, now)]
    _fsync_all({i.plan.target.parent for i in brought if i.plan.target is not None})
    _fsync_all({i.delivery.path.parent for i in brought if moving.release(i.delivery)})
    for intent in brought:
        if moving.take_back_if_written(
            intent.delivery, intent.plan.target, held.get(intent.image_id)
        ):
            routed.withdrawn.append(intent)
            continue
        deleted = intent.plan.action is Action.DELETE
        progress = Progress.DELETED if deleted else Progress.MOVED
        routed.settled.append(Settled(intent=intent, progress=progress, path=intent.plan.target))
    images.withdraw(database, routed.withdrawn)
    images.settle(database, routed.settled)
    return routed


def _bring(
    database: Database, intent: Intent, held: Mapping[int, int], routed: Routed, now: datetime
) -> bool:
    """Whether the target is in place, so that the source may go."""
    target = intent.plan.target
    if target is None:
        return True
    try:
        moving.make_folder(target.parent)
        if intent.verdict is Verdict.UNREADABLE:
            _write_reason(intent, target, now)
        moving.bring(intent.delivery, intent.sha256, target, held.get(intent.image_id))
    except moving.TargetTakenError:
        # A stranger's file lies where ours should go. It stays; ours gets another name.
        aside = _with_id(target, intent.image_id, extra=f"{now:%H%M%S%f}")
        images.replan(database, intent, aside)
        log.warning("target taken", image=intent.image_id, path=to_text(target))
        routed.failed.append((intent, FileExistsError(f"{to_text(target)} is another file")))
        return False
    except moving.ChangedError:
        log.info("written to after it was judged", path=to_text(intent.delivery.path))
        routed.withdrawn.append(intent)
        return False
    except moving.GoneError:
        log.warning("gone before it was moved", path=to_text(intent.delivery.path))
        routed.settled.append(Settled(intent=intent, progress=Progress.GONE, path=None))
        return False
    except OSError as error:
        routed.failed.append((intent, error))
        return False
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
    moving.write_durably(target.with_name(target.name + _REASON_SUFFIX), text)


def _move(folder: Path, image_id: int, finding: Finding, promised: Callable[[Path], bool]) -> Plan:
    """Into a folder under the delivered name, or with the id in it where that name is taken."""
    target = folder / _shortened(Path(finding.delivery.filename).name, "")
    if promised(target) or target.exists() or target.is_symlink():
        target = _with_id(target, image_id)
    return Plan(action=Action.MOVE, target=target)


def _with_id(target: Path, image_id: int, *, extra: str = "") -> Path:
    suffix = _suffix(target.name)
    stem = target.name[: len(target.name) - len(suffix)]
    mark = f"__{image_id}" + (f"-{extra}" if extra else "")
    return target.with_name(_shortened(stem, mark + suffix))


def _shortened(stem: str, tail: str) -> str:
    """`stem + tail`, the stem cut so that name and reason file fit the 255 bytes of a name."""
    room = _NAME_BYTES - len(_REASON_SUFFIX) - len(tail.encode("utf-8", "surrogateescape"))
    raw = stem.encode("utf-8", "surrogateescape")
    if len(raw) <= room:
        return stem + tail
    return raw[:room].decode("utf-8", "surrogateescape") + tail


def _suffix(filename: str) -> str:
    """The extension where it is an ordinary one, else nothing."""
    suffix = Path(filename).suffix
    return suffix if _ORDINARY_SUFFIX.fullmatch(suffix) else ""


def _fsync_all(folders: Iterable[Path]) -> None:
    for folder in folders:
        moving.fsync_folder(folder)
