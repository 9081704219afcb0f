"""A retraining run: from a line's labels and the current model to a candidate and its figures."""

import json
import shutil
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import fit_temperature, softmax
from models.checkpoint import Metadata, save
from models.evidence import Evidence
from models.figures import RunFigures
from models.network import SurfaceNetwork, load_network, stored_weights
from models.reference import Reference, Use
from models.runtimes.protocol import RuntimeUnavailableError
from models.whole import write_whole
from training.data.manifest import Part, load_manifest
from training.judging.evaluate import evaluate
from training.model_folder.export import export_with, sheet_pictures
from training.retraining.base_set import known_images
from training.retraining.candidate import Parts, fit_candidate
from training.retraining.heads import HEAD, HeadRecipe, judged
from training.retraining.labelled import Labelled, load_labelled
from training.retraining.line_fitting import LINE, LineRecipe, Question, question_of
from training.retraining.measuring import measure, suspects_of
from training.retraining.run_folder import (
    CANDIDATE,
    EVALUATION,
    FAILED,
    Run,
    report_progress,
    telling,
)


def retrain(asked: Run, *, recipe: HeadRecipe = HEAD, line_recipe: LineRecipe = LINE) -> RunFigures:
    """Do what a run folder asks for; nothing outside it is written.

    Raises:
        RunError, CheckpointError, ManifestError, RuntimeUnavailableError, OSError: with the
            candidate, if any, to be thrown away: a run without `evaluation.json` has none.
    """
    began = time.monotonic()
    _clear(asked)
    network, parent = load_network(asked.current_model)
    reference = known_images(asked, network, parent)
    first_side = network.first_side(parent.input_size)
    line = load_labelled(
        asked.labels,
        parent.classes,
        sides={parent.input_size, first_side, line_recipe.side_above(first_side)},
        earlier=asked.earlier,
        on_image=telling(asked.folder, "reading"),
    )
    _write_manifest(asked, line)
    made, parts = fit_candidate(
        asked,
        network,
        line,
        reference,
        _question(asked, line, reference, line_recipe),
        first_side=first_side,
        recipe=recipe,
        line_recipe=line_recipe,
    )
    settings = {"name": "head", **asdict(recipe)}
    if made.line is not None:
        settings["line"] = asdict(line_recipe)
    _save(asked, made, parent, parts, settings)
    report_progress(asked.folder, "measuring", 0, 1)
    figures = _figures(asked, parts, began)
    write_whole(asked.folder / EVALUATION, figures.to_json())
    return figures


def _clear(asked: Run) -> None:
    """Without what an earlier try of the same run left, which was killed."""
    for name in (EVALUATION, FAILED):
        (asked.folder / name).unlink(missing_ok=True)
    for name in (CANDIDATE, f".{CANDIDATE}.part"):
        if (asked.folder / name).exists():
            shutil.rmtree(asked.folder / name)


def _question(
    asked: Run, line: Labelled, reference: Reference, recipe: LineRecipe
) -> Question | None:
    """What a network of the line's own is to be asked, where the fitted images call for one."""
    return question_of(
        line.labels[~line.held_out],
        classes=len(line.classes),
        kept=np.unique(reference.labels_of(Use.FIT)),
        normal=np.array([name in asked.policy.normal_classes for name in line.classes]),
        recipe=recipe,
    )


def _write_manifest(asked: Run, line: Labelled) -> None:
    images = [
        {
            "image_id": source.image_id,
            "sha256": source.sha256,
            "label": source.label,
            "group": group,
            "part": "held_out" if out else "fit",
        }
        for source, group, out in zip(line.sources, line.groups, line.held_out, strict=True)
    ]
    skipped = [
        {"image_id": each.label.image_id, "path": str(each.label.path), "reason": each.reason}
        for each in line.skipped
    ]
    now = {
        source.sha256: bool(out) for source, out in zip(line.sources, line.held_out, strict=True)
    }
    base = () if asked.base_set is None else load_manifest(asked.base_set).images
    base_now = {image.sha256: image.part is not Part.FIT for image in base}
    document = {
        "sha256": line.manifest_sha256,
        "images": images,
        "skipped": skipped,
        # For good: the next run is told.
        "held_out": {**asked.earlier, **now},
        "base_set": {**asked.earlier_base, **base_now},
    }
    write_whole(asked.folder / "manifest.json", json.dumps(document, indent=1) + "\n")


def _save(
    asked: Run, made: SurfaceNetwork, parent: Metadata, parts: Parts, recipe: dict[str, Any]
) -> None:
    """Write the candidate, with INT8 where that agrees with it and can be made here."""
    evidence = parts.evidence_as_trained(made)
    created = datetime.now(UTC)
    metadata = replace(
        parent,
        version=f"{created:%Y%m%d-%H%M%S}-{parts.line.manifest_sha256[:8]}",
        classes=parts.line.classes,
        input_size=parts.side,
        created_at=f"{created:%Y-%m-%dT%H:%M:%SZ}",
        manifest_sha256=parts.line.manifest_sha256,
        metrics=_metrics(made, parts, evidence),
        recipe=_settings(asked, parent, recipe),
    )
    folder = asked.folder / CANDIDATE
    save(
        folder,
        stored_weights(made),
        metadata,
        evidence.arrays(),
        reference=parts.reference.to_bytes(),
    )
    report_progress(asked.folder, "exporting", 0, 1)
    # The first images are not at hand: drawn ones show the ranges that defects reach.
    pictures = np.concatenate([parts.fitted.pixels, sheet_pictures(metadata.input_size)])
    try:
        export_with(
            folder,
            calibration=pictures,
            selected=parts.of_line(parts.checked),
            evidence_of=parts.evidence_by,
            trained=parts.trained.of(parts.checked),
            policy=asked.policy,
        )
    except (RuntimeUnavailableError, ModuleNotFoundError) as error:
        # What can serve without it does, and is what is measured.
        sys.stderr.write(f"training: the candidate is not exported to INT8: {error}\n")


def _settings(asked: Run, parent: Metadata, recipe: dict[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(json.dumps(recipe))
    started = {"version": parent.version, "manifest_sha256": parent.manifest_sha256}
    return {**settings, "seed": asked.seed, "run": asked.id, "started_from": started}


def _metrics(made: SurfaceNetwork, parts: Parts, evidence: Evidence) -> dict[str, Any]:
    """Figures on images that no run trains on: the line's and those of the first set."""
    line = parts.line
    logits, labels = (
        [judged(made, parts.known[Use.GATE]).logits],
        [parts.reference.labels_of(Use.GATE)],
    )
    if line.held_out.any():
        logits.append(parts.trained.logits[line.held_out])
        labels.append(line.labels[line.held_out])
    temperature = fit_temperature(evidence.logits, evidence.labels)
    test = evaluate(
        np.concatenate(logits), np.concatenate(labels), line.classes, temperature=temperature
    )
    counts = {
        "fit": len(parts.fitted) + len(parts.reference.labels_of(Use.FIT)),
        "select": len(evidence.labels),
        "test": test.images,
    }
    return {"images": counts, "temperature": temperature, "test": asdict(test)}


def _figures(asked: Run, parts: Parts, began: float) -> RunFigures:
    measured = partial(
        measure,
        policy=asked.policy,
        runtime=asked.runtime,
        line=parts.line,
        reference=parts.reference,
    )
    current = measured(asked.current_model, out_of_fold=None)
    candidate = measured(asked.folder / CANDIDATE, out_of_fold=parts.folds)
    suspects, doubted = suspects_of(parts.line, _probabilities(parts))
    return RunFigures(
        candidate=candidate,
        current=current,
        normal_classes=asked.policy.normal_classes,
        fitted=parts.line.counts(~parts.line.held_out),
        suspects=suspects,
        doubted=doubted,
        learning=parts.folds.learning(parts.line.classes),
        seconds=time.monotonic() - began,
    )


def _probabilities(parts: Parts) -> NDArray[np.float64]:
    """Of every image of the line, by a network of this run that was not fitted to it."""
    logits = parts.trained.logits.copy()
    logits[~parts.line.held_out] = parts.folds.logits
    temperature = fit_temperature(parts.folds.logits, parts.folds.labels)
    return softmax(logits / np.float32(temperature)).astype(np.float64)
