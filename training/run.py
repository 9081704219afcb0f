"""A training run from manifest to model folder."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from models.checkpoint import CheckpointError, Metadata, fsync, load_metadata, save
from models.network import stored_weights
from training.data.boxes import coverage
from training.data.dataset import load_part
from training.data.manifest import NAME, Manifest, Part
from training.fitting.fit import Epoch, FitError, fit
from training.fitting.recipe import Recipe
from training.fitting.resuming import Saved
from training.judging.assessment import assess
from training.judging.evaluate import Evaluation
from training.model_folder.packing import pack
from training.model_folder.references import FITTED_OF_A_CLASS, reference_of
from training.report import page

CANVAS = 200
"""Side at which images are kept for augmentation: NEU-DET's own, and enough for a 160-pixel crop."""


def train(
    manifest: Manifest,
    out: Path,
    *,
    recipe: Recipe,
    seed: int = 1,
    device: torch.device | None = None,
    weights: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> tuple[Metadata, Evaluation]:
    """Train on a manifest and write `out`: the model folder, with its figures and a report in it.

    Figures come from the test part alone; temperature and novelty from the select part. A run that
    was interrupted goes on where it ended, to the same weights: its progress lies beside `out`,
    which is there whole or not at all.

    Raises:
        CheckpointError: if `out` exists.
        ManifestError, FitError: before anything is written.
        ResumeError: for progress beside `out` that is damaged or of another run.
    """
    _refuse_existing(out)
    if len(manifest.classes) < 2:
        raise FitError(
            f"there is nothing to tell {', '.join(manifest.classes)} from, and a network of one class is sure of "
            "it whatever it sees; prepare images of two classes or more"
        )
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    canvas = max(CANVAS, recipe.train_size)
    fit_part = load_part(manifest, Part.FIT, side=canvas)
    select_part = load_part(manifest, Part.SELECT, side=recipe.input_size)
    test_part = load_part(manifest, Part.TEST, side=recipe.input_size)
    settings = _settings(recipe, seed, weights)
    boxed = coverage(manifest, Part.FIT) if recipe.box_weight else None
    boxes = None if boxed is None else sha256(boxed.tobytes()).hexdigest()
    saved = Saved(
        file=out.with_name(f".{out.name}.training"),
        run=json.dumps([manifest.sha256, boxes, settings, device.type], sort_keys=True),
    )
    fitted = fit(
        fit_part,
        select_part,
        classes=len(manifest.classes),
        recipe=recipe,
        seed=seed,
        device=device,
        boxed=boxed,
        weights=weights,
        saved=saved,
        on_epoch=on_epoch,
    )
    packed = pack(
        fitted.network,
        manifest,
        select_part=select_part,
        test_part=test_part,
        input_size=recipe.input_size,
        recipe=settings,
        device="cuda" if device.type == "cuda" else "cpu",
    )
    reference = reference_of(fitted.network, packed.metadata, manifest, fitted=FITTED_OF_A_CLASS)
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    metadata = save(
        unfinished,
        stored_weights(fitted.network),
        packed.metadata,
        packed.evidence.arrays(),
        reference=reference.to_bytes(),
    )
    if fitted.box_head is not None:
        fitted.box_head.save(unfinished)
    _write_report(unfinished, manifest, fitted.history, metadata)
    unfinished.rename(out)
    fsync(out.parent)
    saved.remove()
    return metadata, packed.evaluation


def train_in_phases(
    manifest: Manifest,
    out: Path,
    *,
    recipes: Sequence[Recipe],
    seed: int = 1,
    weights: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> tuple[Metadata, Evaluation]:
    """Train by each recipe in turn, from the weights of the one before it.

    What an earlier phase made stays beside `out` as `OUT-RECIPE`, and is not made again.

    Raises:
        CheckpointError: if `out` exists or is being trained, or a phase beside it is of other
            images or settings.
        ManifestError, FitError, ResumeError: as `train`.
    """
    *before, last = recipes
    with _alone(out):
        _refuse_existing(out)
        for recipe in before:
            phase = out.with_name(f"{out.name}-{recipe.name}")
            settings = _settings(recipe, seed, weights)
            if phase.exists():
                _refuse_another(phase, manifest, settings)
            else:
                train(manifest, phase, recipe=recipe, seed=seed, weights=weights, on_epoch=on_epoch)
            weights = phase
        return train(manifest, out, recipe=last, seed=seed, weights=weights, on_epoch=on_epoch)


def train_unless_made(
    manifest: Manifest,
    out: Path,
    *,
    recipes: Sequence[Recipe],
    seed: int = 1,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> None:
    """The same from scratch, but a model that was made so already is left as it is.

    Raises:
        CheckpointError: if `out` is of other images or settings: to judge it would flatter it.
        ManifestError, FitError, ResumeError: as `train`.
    """
    if not out.exists():
        train_in_phases(manifest, out, recipes=recipes, seed=seed, on_epoch=on_epoch)
        return
    made = load_metadata(out)
    phase: dict[str, Any] | None = made.recipe
    for recipe in reversed(recipes):
        alike = phase and {**phase, "started_from": None} == _settings(recipe, seed, None)
        if made.manifest_sha256 != manifest.sha256 or not phase or not alike:
            raise _another(out)
        phase = (phase.get("started_from") or {}).get("recipe")
    if phase:
        raise _another(out)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Two trainings to one folder would write one progress, and remove each other's files.

    Raises:
        CheckpointError: if another holds it.
    """
    file = out.with_name(f".{out.name}.lock")
    lock = FileLock(file)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CheckpointError(
            f"another command is training {out}; let it end, or name another folder"
        ) from error
    try:
        yield
    finally:
        # While it is held: whoever waits for it then sees that it has no name.
        file.unlink(missing_ok=True)
        lock.release()


def _refuse_existing(out: Path) -> None:
    """Said now, not after an hour of training."""
    if out.exists():
        raise CheckpointError(f"{out} exists; a model is never overwritten, name another folder")


def _refuse_another(phase: Path, manifest: Manifest, settings: dict[str, object]) -> None:
    made = load_metadata(phase)
    if made.manifest_sha256 != manifest.sha256 or made.recipe != settings:
        raise _another(phase)


def _another(model: Path) -> CheckpointError:
    return CheckpointError(
        f"{model} was trained on other images, with other settings or another seed; name "
        "another folder for what you train now, or delete that one"
    )


def _settings(recipe: Recipe, seed: int, weights: Path | None) -> dict[str, object]:
    """As a model folder keeps them: JSON values."""
    settings = {**asdict(recipe), "seed": seed, "started_from": _start(weights)}
    kept: dict[str, object] = json.loads(json.dumps(settings))
    return kept


def _start(weights: Path | None) -> dict[str, object] | None:
    """What a run began with: of a model its version, manifest and recipe; else the file's name."""
    if weights is None or not weights.is_dir():
        return None if weights is None else {"imagenet": weights.name}
    parent = load_metadata(weights)
    return {
        "version": parent.version,
        "manifest_sha256": parent.manifest_sha256,
        "recipe": parent.recipe,
    }


def _write_report(
    out: Path, manifest: Manifest, history: tuple[Epoch, ...], metadata: Metadata
) -> None:
    """Figures, manifest and report, without spoilt images: those would take a small run longer than to train."""
    document = {"metrics": metadata.metrics, "history": [asdict(epoch) for epoch in history]}
    (out / "metrics.json").write_text(json.dumps(document, indent=2) + "\n")
    manifest.save(out / NAME)
    page.write(assess(out, manifest, Part.TEST, corruptions=False), out / page.NAME)
