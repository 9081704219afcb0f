"""`review list`, `label`, `undo`, `conflicts` and `suspects`: for a running daemon's socket, and for the command alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from config.settings import Settings
from daemon.files.shares import Shares, SilentError
from daemon.names import to_text
from daemon.process.control import Answer, Arguments, Handlers, NoAnswerError, RefusedError
from daemon.review.labelling import Labeller
from daemon.review.promptly import NotKnownError, PromptLabeller
from daemon.serving import serving_folder
from daemon.store import labels, queueing, review_files, viewing
from daemon.store.database import Database, StoreError
from daemon.store.labels import LabelInForce
from daemon.store.models import latest_run
from daemon.store.queueing import Filter
from daemon.store.retraining import last_done
from daemon.store.sampled import missed_defects
from daemon.store.spans import Span
from models.checkpoint import CheckpointError, load_metadata
from models.taxonomy import UNKNOWN

_LARGEST_ID: Final = (1 << 63) - 1


class ReviewCommands:
    """What people do from the command line with what waits for a label.

    Args:
        settled: waits until what people moved in the review folder is recorded.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        labeller: Labeller,
        settled: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._cameras = {camera.name for camera in settings.cameras}
        self._shares = Shares(settings)
        self._normal_classes = settings.policy.normal_classes
        self._database = database
        self._labeller = labeller
        self._prompt = PromptLabeller(labeller, database=database, shares=self._shares)
        self._settled = settled

    def handlers(self) -> Handlers:
        """By the command's name."""
        return {
            "review list": self.list_waiting,
            "review label": self.label,
            "review undo": self.undo,
            "review conflicts": self.conflicts,
            "review suspects": self.suspects,
        }

    def list_waiting(self, asked: Arguments) -> Answer:
        """The images that wait for a label, most instructive first. Raises RefusedError."""
        self._settle()
        wanted = Filter(
            camera=asked.get("camera"), class_name=asked.get("class"), reason=asked.get("reason")
        )
        classes = None if wanted.class_name is None else self._classes()
        if slip := queueing.slip_in(
            self._database, wanted, configured=self._cameras, classes=classes
        ):
            raise RefusedError(slip)
        most = int(asked.get("limit", 20))
        found = queueing.queue(self._database, wanted, limit=most)
        with _told():
            waiting = [self._waiting(worth, image_id) for worth, image_id in found]
        return {
            "waiting": queueing.count_waiting(self._database, wanted, most=1_000_000),
            "images": [each for each in waiting if each is not None],
            "missed_defects": asdict(
                missed_defects(
                    self._database,
                    Span(camera=wanted.camera),
                    normal_classes=self._normal_classes,
                )
            ),
        }

    def label(self, asked: Arguments) -> Answer:
        """Label an image. Raises RefusedError, NoAnswerError."""
        self._settle()
        image_id, label = _id(asked), str(asked["label"])
        with _told():
            self._prompt.label(image_id, label, str(asked["by"]), seen=None)
        return self._labelled(image_id)

    def undo(self, asked: Arguments) -> Answer:
        """Take a label back. Raises RefusedError, NoAnswerError."""
        self._settle()
        image_id = _id(asked)
        with _told():
            self._prompt.undo(image_id, str(asked["by"]), seen=None)
        return self._labelled(image_id)

    def conflicts(self, _: Arguments) -> Answer:
        """What lies in the review folder that a person has to look at. Raises RefusedError."""
        self._settle()
        with _told():  # of a share that is away nothing that could be said would hold
            self._shares.refuse_if_away()
        return {
            "conflicts": [
                {
                    "problem": each.problem.value,
                    "path": _place(each.path),
                    "image": each.image_id,
                    "reason": each.reason,
                    "since": each.since,
                }
                for each in review_files.conflicts(self._database)
            ]
        }

    def suspects(self, _: Arguments) -> Answer:
        """Likely wrong labels that are in force, the likeliest first.

        Those that no run has learned from yet and that differ from what the model was sure of, then
        those that the latest run doubts.
        """
        self._settle()
        run = latest_run(self._database)
        _began, learned = last_done(self._database)
        new = labels.surprising_labels(self._database, after=learned or 0)
        given = {each.image_id: each for each in labels.labels_in_force(self._database)}
        for image in new:
            given.pop(image.image_id, None)
        suspects = [
            _suspect(image, image.predicted_class, image.confidence, doubted_by="verdict")
            for image in new
        ]
        for listed in [] if run is None else run.metrics["run"]["suspects"]:
            doubted = given.get(listed["image_id"])
            if doubted is not None and doubted.label == listed["label"]:
                suspects.append(
                    _suspect(doubted, listed["suggested"], listed["confidence"], doubted_by="run")
                )
        return {"model_version": None if run is None else run.version, "suspects": suspects}

    def _settle(self) -> None:
        """Until what people moved is recorded, unless the folder does not answer. Raises RefusedError."""
        with _told():
            self._shares.review.look(self._labeller.is_there)
        self._settled()

    def _classes(self) -> set[str]:
        """What an image can be labelled, or be called by the model that serves. Raises RefusedError."""
        with _told():
            classes = {UNKNOWN, *self._shares.review.look(self._labeller.names)}
        with suppress(CheckpointError):  # as when it cannot be loaded, which is told elsewhere
            classes.update(load_metadata(serving_folder(self._settings)).classes)
        return classes

    def _waiting(self, worth: float, image_id: int) -> dict[str, Any] | None:
        viewed = viewing.view(self._database, image_id)
        if viewed is None:  # deleted between two reads
            return None
        return {
            "image": image_id,
            "instructive": round(worth, 6),
            "camera": viewed.camera,
            "captured_at": viewed.captured_at,
            "verdict": viewed.verdict,
            "reason": viewed.reason,
            "predicted_class": viewed.predicted_class,
            "confidence": viewed.confidence,
            "novelty": viewed.novelty,
            "path": _place(viewed.path),
            "missing": viewed.path is None or self._shares.is_missing(viewed.path),
        }

    def _labelled(self, image_id: int) -> Answer:
        try:
            (image,) = review_files.known(self._database, [image_id]).values()
        except StoreError as error:
            raise NoAnswerError(f"it is done, and how cannot be looked up: {error}") from error
        return {
            "image": image_id,
            "label": image.label,
            "path": _place(image.path),
        }


@contextmanager
def _told() -> Iterator[None]:
    """What came of a folder that does not answer, in the words of a command's answer."""
    try:
        yield
    except SilentError as error:
        raise RefusedError(str(error)) from error
    except NotKnownError as error:
        raise NoAnswerError(str(error)) from error


def _id(asked: Arguments) -> int:
    """Raises RefusedError: no image can have it, nor the database look for it."""
    image_id = int(asked["image"])
    if not 0 < image_id <= _LARGEST_ID:
        raise RefusedError(f"there is no image {image_id}")
    return image_id


def _suspect(
    image: LabelInForce, suggested: str | None, confidence: float | None, *, doubted_by: str
) -> dict[str, Any]:
    return {
        "image": image.image_id,
        "label": image.label,
        "suggested": suggested,
        "confidence": confidence,
        "doubted_by": doubted_by,
        "path": _place(image.path),
    }


def _place(path: Path | None) -> str | None:
    return None if path is None else to_text(path)
