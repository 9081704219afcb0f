"""The folder of one retraining run: frozen by the daemon, read by `python -m training RUN_DIR`."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from config.settings import Settings
from config.text import counted
from daemon.files.placing import write_durably
from daemon.serving import policy_of, serving_folder
from daemon.store.labels import LabelInForce
from models.checkpoint import fsync

CANDIDATE: Final = "candidate"
EVALUATION: Final = "evaluation.json"
FAILED: Final = "failed.txt"
LOG: Final = "log.txt"
PROGRESS: Final = "progress.json"
REQUESTED: Final = "requested"
"""In the folder of the runs: which of them systemd shall start."""
BEGUN: Final = "begun"
"""There, too: which of them it started last."""
_FORMAT: Final = 1
_NAME: Final = "run-%Y%m%dT%H%M%SZ"
_KEPT: Final = 50
"""Runs whose folders stay. A folder without its candidate takes some 100 kB, with a base set some 400."""
_MOST_CHARACTERS: Final = 2000


def runs_folder(settings: Settings) -> Path:
    return settings.state_dir / "runs"


def request(folder: Path) -> None:
    """Have systemd start a run. Raises OSError."""
    (folder.parent / REQUESTED).write_text(f"{folder}\n")


def is_requested(folder: Path) -> bool:
    """Whether this is the run that systemd was asked for last."""
    with suppress(OSError):
        return (folder.parent / REQUESTED).read_text() == f"{folder}\n"
    return False


def keep_few(runs: Path) -> None:
    """Remove the folders of the oldest runs beyond the count."""
    with suppress(OSError):
        kept = sorted(each for each in runs.iterdir() if each.is_dir() and each.name[0] != ".")
        for folder in kept[:-_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)


def name_for(runs: Path, now: datetime) -> str:
    """Of a run that begins now: behind all that are there, of which a clock that was ahead made some.

    Which run is the latest, and which are the oldest, is told from their names.
    """
    begun = now.astimezone(UTC).replace(microsecond=0)
    for folder in runs.glob("run-*"):
        with suppress(ValueError, OverflowError):  # somebody else's
            other = datetime.strptime(folder.name, _NAME).replace(tzinfo=UTC)
            begun = max(begun, other + timedelta(seconds=1))
    return begun.strftime(_NAME)


@dataclass(frozen=True, kw_only=True)
class Usable:
    """The labels that a run learns from, and the new classes left out with their number of images."""

    labels: list[LabelInForce]
    rare: dict[str, int]


def usable(labels: Sequence[LabelInForce], *, known: Sequence[str], fewest: int) -> Usable:
    """Without contradictions, files that are gone, and new classes with too few images."""
    named: dict[str, set[str]] = {}
    for each in labels:
        named.setdefault(each.sha256, set()).add(each.label)
    kept = [each for each in labels if each.path is not None and len(named[each.sha256]) == 1]
    counts = Counter(each.label for each in kept)
    rare = {name: count for name, count in counts.items() if name not in known and count < fewest}
    return Usable(labels=[each for each in kept if each.label not in rare], rare=rare)


def freeze(settings: Settings, folder: Path, learned: Usable, now: datetime, *, seed: int) -> None:
    """Write a run folder whole or not at all. Raises OSError."""
    partial = folder.with_name(f".{folder.name}.part")
    for leftover in folder.parent.glob(".run-*.part"):  # of kills
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _describe(settings, partial, folder, learned, now, seed=seed)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    fsync(folder.parent)


def _describe(
    settings: Settings, partial: Path, folder: Path, learned: Usable, now: datetime, *, seed: int
) -> None:
    base_set, fewest = settings.retraining.base_set, settings.retraining.min_class_labels
    run = {
        "format": _FORMAT,
        "id": folder.name,
        "created_at": f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "seed": seed,
        "threads": settings.retraining.threads,
        **_served_as(settings),
        "current_model": str(serving_folder(settings).resolve()),
        "labels": "labels.json",
        "earlier": "earlier.json",
        "earlier_base": "earlier_base.json",
        "base_set": None if base_set is None else str(base_set),
        "left_out": [
            f"{name} has {counted(count, 'labelled image')} and a new class needs {fewest}: label "
            f"{fewest - count} more"
            for name, count in sorted(learned.rare.items())
        ],
    }
    images = [
        {
            "image_id": each.image_id,
            "path": str(each.path),
            "sha256": each.sha256,
            "label": each.label,
        }
        for each in learned.labels
    ]
    runs = folder.parent
    write_durably(partial / "labels.json", json.dumps({"images": images}))
    write_durably(partial / "earlier.json", json.dumps(_known_before(runs, "held_out")))
    write_durably(partial / "earlier_base.json", json.dumps(_known_before(runs, "base_set")))
    write_durably(partial / "run.json", json.dumps(run))


def _served_as(settings: Settings) -> dict[str, Any]:
    """How models decide and run on this line, as JSON values: what a run measures is by these."""
    served = {"runtime": settings.model.runtime, "policy": asdict(policy_of(settings))}
    told: dict[str, Any] = json.loads(json.dumps(served))
    return told


def is_served_as_measured(settings: Settings, folder: Path) -> bool:
    """Whether the line still decides and runs as when a run was frozen; so too where that is not known."""
    frozen = _table_in(folder / "run.json")
    return all(frozen.get(key, now) == now for key, now in _served_as(settings).items())


def _known_before(runs: Path, which: str) -> dict[str, Any]:
    """What the latest run that came so far knew of every content: whether it is held out.

    Args:
        which: `held_out` for the line's images, `base_set` for those of base sets.
    """
    for manifest in sorted(runs.glob("run-*/manifest.json"), reverse=True):
        known = _table_in(manifest).get(which)
        if isinstance(known, dict):
            return known
    return {}


def labels_of(folder: Path) -> dict[int, str]:
    """The labels that a run was frozen with, by image; none where that is not known."""
    images = _table_in(folder / "labels.json").get("images", [])
    return {each["image_id"]: each["label"] for each in images}


def left_out_of(folder: Path) -> list[str]:
    """What was left out of a run, in words."""
    told = _table_in(folder / "run.json").get("left_out", [])
    return [str(each) for each in told] if isinstance(told, list) else []


def progress_of(folder: Path) -> dict[str, Any] | None:
    """What a run said last of how far it is."""
    return _table_in(folder / PROGRESS) or None


def _table_in(file: Path) -> dict[str, Any]:
    """What a JSON file tells by name; nothing where it cannot be read, or tells it otherwise."""
    with suppress(OSError, ValueError):
        told = json.loads(file.read_text())
        if isinstance(told, dict):
            return told
    return {}


def forget_progress(folder: Path) -> None:
    """Of before a start: what goes on tells it anew, and what does not is asked for again."""
    with suppress(OSError):
        (folder / PROGRESS).unlink()


def failure_of(folder: Path) -> str:
    """The sentence that a failed run left; empty when it left none. Raises OSError."""
    if not folder.is_dir():
        return "its folder was removed; the current model is as it was, retrain"
    with suppress(OSError), (folder / FAILED).open(errors="replace") as file:
        return file.read(_MOST_CHARACTERS).strip()
    return ""


def give_up(folder: Path, why: str) -> None:
    """Leave of a run that failed what tells about it, also where it was killed before it could say why."""
    with suppress(OSError):
        if not (folder / FAILED).exists():
            (folder / FAILED).write_text(f"{why}\n")
        for each in folder.iterdir():
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
