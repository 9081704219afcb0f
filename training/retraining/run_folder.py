"""The folder of one retraining run: what the daemon wrote into it, and what goes back."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.decision import Policy
from models.whole import write_whole

FORMAT: Final = 1
CANDIDATE: Final = "candidate"
EVALUATION: Final = "evaluation.json"
FAILED: Final = "failed.txt"
PROGRESS: Final = "progress.json"


class RunError(Exception):
    """A retraining run cannot go on; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a person decided about one image of this line.

    Attributes:
        image_id: of the database; the older, the smaller.
        sha256: of the file's bytes.
    """

    image_id: int
    path: Path
    sha256: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run is asked for.

    Attributes:
        threads: of the processor that it may keep busy.
        runtime: that serves models on this line, as `model.runtime` says.
        current_model: the model folder to start from.
        base_set: manifest of the images that it was first trained on, if they are at hand.
        earlier: by the SHA-256 of a file, whether runs before this one held it out. It stays so.
        earlier_base: the same of images of base sets.
    """

    folder: Path
    id: str
    seed: int
    threads: int
    current_model: Path
    base_set: Path | None
    policy: Policy
    labels: tuple[Label, ...]
    runtime: str = "auto"
    earlier: Mapping[str, bool] = field(default_factory=dict)
    earlier_base: Mapping[str, bool] = field(default_factory=dict)


def read_run(folder: Path) -> Run:
    """Raises RunError for a folder that is not whole or of another version."""
    path = folder / "run.json"
    try:
        document = json.loads(path.read_text())
        if document["format"] != FORMAT:
            raise RunError(
                f"{path} has format {document['format']}, this version reads {FORMAT}; retrain"
            )
        path = folder / document["labels"]
        rows = json.loads(path.read_text())["images"]
        policy = document["policy"]
        earlier: dict[str, dict[str, bool]] = {"earlier": {}, "earlier_base": {}}
        for name in earlier.keys() & document.keys():  # not all in what an older version froze
            path = folder / document[name]
            told = json.loads(path.read_text())
            earlier[name] = {str(key): bool(out) for key, out in told.items()}
        return Run(
            folder=folder,
            id=str(document["id"]),
            seed=int(document["seed"]),
            threads=max(1, int(document["threads"])),
            current_model=Path(document["current_model"]),
            base_set=Path(document["base_set"]) if document["base_set"] else None,
            policy=Policy(**{**policy, "normal_classes": tuple(policy["normal_classes"])}),
            labels=tuple(Label(**{**row, "path": Path(row["path"])}) for row in rows),
            runtime=str(document.get("runtime", "auto")),  # an older version froze none
            **earlier,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error!r}); retrain") from error


def report_progress(folder: Path, stage: str, done: int, of: int) -> None:
    """How far the run is; whoever reads it sees a whole file. Not synced: nobody needs it later."""
    text = json.dumps({"stage": stage, "done": done, "of": of})
    write_whole(folder / PROGRESS, text, durable=False)


def telling(folder: Path, stage: str) -> Callable[[int, int], None]:
    """What tells how far a stage is, which begins now."""

    def tell(done: int, of: int) -> None:
        report_progress(folder, stage, min(done, of), of)

    tell(0, 1)
    return tell
