"""A training run from manifest to model folder."""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from models.checkpoint import CheckpointError, Metadata, load_metadata, save
from models.decision import Evidence, collect_evidence, fit_temperature
from models.network import stored_weights
from models.runtimes.torch_runtime import TorchRuntime
from training.dataset import load_part
from training.evaluate import Evaluation, evaluate, run
from training.fit import Epoch, fit
from training.manifest import Manifest, Part
from training.recipe import Recipe
from training.report import draw_confusion_matrix, draw_learning_curves

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
    """Train on a manifest and write `out`: the model folder, with figures and pictures in it.

    Figures come from the test part alone; temperature and novelty from the select part.

    Raises:
        CheckpointError: if `out` exists.
        ManifestError, FitError: before anything is written.
    """
    if out.exists():  # said now, not after an hour of training
        raise CheckpointError(f"{out} exists; a model is never overwritten, name another folder")
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    canvas = max(CANVAS, recipe.train_size)
    fit_part = load_part(manifest, Part.FIT, side=canvas)
    select_part = load_part(manifest, Part.SELECT, side=recipe.input_size)
    test_part = load_part(manifest, Part.TEST, side=recipe.input_size)
    fitted = fit(
        fit_part,
        select_part,
        classes=len(manifest.classes),
        recipe=recipe,
        seed=seed,
        device=device,
        weights=weights,
        on_epoch=on_epoch,
    )
    served = TorchRuntime(fitted.network, device="cpu")
    known = load_part(manifest, Part.FIT, side=recipe.input_size)
    selected = run(served, select_part)
    evidence = collect_evidence(
        fitted_features=run(served, known).features,
        features=selected.features,
        logits=selected.logits,
        labels=select_part.labels,
    )
    temperature = fit_temperature(evidence.logits, evidence.labels)
    evaluation = evaluate(
        run(served, test_part).logits, test_part.labels, manifest.classes, temperature=temperature
    )
    created = datetime.now(UTC)
    metadata = Metadata(
        version=f"{created:%Y%m%d-%H%M%S}-{manifest.sha256[:8]}",
        classes=manifest.classes,
        input_size=recipe.input_size,
        created_at=f"{created:%Y-%m-%dT%H:%M:%SZ}",
        manifest_sha256=manifest.sha256,
        metrics=_metrics(manifest, evaluation, evidence, temperature),
        recipe={**asdict(recipe), "seed": seed, "started_from": _start(weights)},
    )
    metadata = save(out, stored_weights(fitted.network), metadata, evidence.arrays())
    _write_report(out, fitted.history, evaluation, metadata)
    return metadata, evaluation


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


def _metrics(
    manifest: Manifest, evaluation: Evaluation, evidence: Evidence, temperature: float
) -> dict[str, object]:
    counts = {part.value: sum(of.values()) for part, of in manifest.counts().items()}
    select = evaluate(evidence.logits, evidence.labels, manifest.classes, temperature=temperature)
    return {
        "images": counts,
        "temperature": temperature,
        "test": asdict(evaluation),
        "select_accuracy": select.accuracy,
    }


def _write_report(
    out: Path, history: tuple[Epoch, ...], evaluation: Evaluation, metadata: Metadata
) -> None:
    document = {"metrics": metadata.metrics, "history": [asdict(epoch) for epoch in history]}
    (out / "metrics.json").write_text(json.dumps(document, indent=2) + "\n")
    draw_learning_curves(history, out / "learning_curves.png")
    draw_confusion_matrix(evaluation, out / "confusion_matrix.png")
