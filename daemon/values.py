"""The frozen values that the steps of an image's journey hand to each other."""

from dataclasses import dataclass, field
from enum import StrEnum
from os import stat_result
from pathlib import Path
from typing import Self

from models.taxonomy import Verdict


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A file that keeps these has not been written to."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: stat_result) -> Self:
        return cls(inode=status.st_ino, size=status.st_size, mtime_ns=status.st_mtime_ns)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One delivery of a file by a camera. The five fields without `path` are its identity.

    Attributes:
        filename: path inside the camera's folder, undecodable bytes as surrogates (PEP 383).
        path: where it was delivered.
    """

    camera: str
    filename: str
    path: Path
    inode: int
    size: int
    mtime_ns: int

    def __hash__(self) -> int:
        # Of these two alone: a path takes longer to hash than all else that is done to look one up.
        return hash((self.inode, self.mtime_ns))

    @property
    def signature(self) -> Signature:
        return Signature(inode=self.inode, size=self.size, mtime_ns=self.mtime_ns)


class Action(StrEnum):
    """What the record says will be done with the file."""

    MOVE = "move"
    LEAVE = "leave"
    DELETE = "delete"


class Progress(StrEnum):
    """How far that has got. `pending` and `left` files still lie where they were delivered."""

    PENDING = "pending"
    LEFT = "left"
    MOVED = "moved"
    DELETED = "deleted"
    UNSEEN = "unseen"
    """At its target, or deleted; but it was not there to be removed from the drop folder. A folder
    that was away may come back with it."""
    GONE = "gone"
    """Somebody else took or replaced the file between its record and its move."""


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """How a picture looks to the network, whatever is on it.

    Attributes:
        brightness: the average of its pixels, 0..255.
        sharpness: 0 (smooth) to 1 (noise); see `daemon.drift.measuring`.
        side: its size in pixels, on which sharpness depends.
    """

    brightness: float
    sharpness: float
    side: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is to be recorded of one image.

    Attributes:
        appearance: None when it is unreadable.
        reason: a `models.taxonomy.Reason`, or why the image is unreadable.
        notes: what was converted on the way to the network.
    """

    delivery: Delivery
    sha256: str
    verdict: Verdict
    reason: str
    predicted_class: str | None = None
    confidence: float | None = None
    novelty: float | None = None
    model_version: str | None = None
    appearance: Appearance | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where an image will go.

    Attributes:
        target: for `Action.MOVE`; None otherwise.
    """

    action: Action
    target: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Intent:
    """A recorded plan that is not yet known to be done.

    Attributes:
        fresh: recorded just now, and nothing of it was tried: whatever lies at its target is another's.
    """

    image_id: int
    delivery: Delivery
    sha256: str
    plan: Plan
    verdict: Verdict
    reason: str
    notes: str | None = None
    fresh: bool = field(default=False, compare=False)
