"""A retraining run: from a line's labels and the current model to a candidate and its figures."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.calibration import fit_temperature, softmax
from models.checkpoint import Metadata, save
from models.evidence import Evidence, collect_evidence
from models.figures import RunFigures
from models.line_network import LineNetwork
from models.network import SurfaceNetwork, half_precision, load_network, stored_weights
from models.reference import Reference, Use
from models.runtimes.protocol import Halved, Outputs, RuntimeUnavailableError
from models.whole import write_whole
from training.data.dataset import Dataset
from training.data.manifest import Part, load_manifest
from training.judging.evaluate import evaluate, run
from training.model_folder.export import export_with, sheet_pictures
from training.model_folder.references import features_kept, judge_kept
from training.retraining.base_set import known_images
from training.retraining.crossfitting import FOLDS, OutOfFold, crossfit
from training.retraining.frozen import frozen
from training.retraining.heads import (
    HEAD,
    HeadRecipe,
    fit_head,
    judged,
    pool_kept,
    pool_line,
)
from training.retraining.labelled import Labelled, load_labelled
from training.retraining.line_fitting import LINE, LineRecipe, fit_line, own_logits, question_of
from training.retraining.measuring import measure, suspects_of
from training.retraining.run_folder import (
    CANDIDATE,
    EVALUATION,
    FAILED,
    Run,
    report_progress,
)

_CHECKED: Final = 300
"""Images of the line that both forms of the candidate judge."""


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
    line = load_labelled(
        asked.labels,
        parent.classes,
        side=parent.input_size,
        earlier=asked.earlier,
        on_image=_telling(asked, "reading"),
    )
    _write_manifest(asked, line)
    below = frozen(network, line.pixels)
    known = {use: features_kept(below, reference, use) for use in Use}
    seen = run(below, Dataset(pixels=line.pixels, labels=line.labels)).features
    kept = pool_kept(reference, known[Use.FIT])
    fitted = ~line.held_out
    images = pool_line(
        below,
        line.pixels[fitted],
        seen[fitted],
        line.labels[fitted],
        recipe=recipe,
        seed=asked.seed,
        on_batch=_telling(asked, "looking"),
    )
    del below  # and its memory, before the export wants as much
    classes, seed = len(line.classes), asked.seed
    own = _own_of(asked, network, line, reference, line_recipe)
    made = fit_head(network, kept, images, classes=classes, recipe=recipe)
    groups = [group for group, out in zip(line.groups, line.held_out, strict=True) if not out]
    folds = crossfit(
        network,
        kept,
        images,
        line.pixels[fitted],
        groups,
        classes=classes,
        recipe=recipe,
        seed=seed,
        own=own,
        on_fold=_telling(asked, "cross-validating"),
    )
    if folds.own_gains() > line_recipe.must_gain:
        made.line = own(np.ones(len(images), dtype=np.bool_), seed)
        if made.line is not None:
            made.line.cool(folds.own_temperature)
            half_precision(made.line)
    else:
        folds = folds.without_own()
    said = None if made.line is None else own_logits(network, made.line, line.pixels)
    trained = judged(made, seen, said)
    parts = _Parts(line=line, reference=reference, known=known, folds=folds, trained=trained)
    settings = {"name": "head", **asdict(recipe)}
    if made.line is not None:
        settings["line"] = asdict(line_recipe)
    _save(asked, made, parent, parts, settings)
    report_progress(asked.folder, "measuring", 0, 1)
    figures = _figures(asked, parts, began)
    write_whole(asked.folder / EVALUATION, figures.to_json())
    return figures


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The images of a run, by what they are used for.

    Attributes:
        known: features of the first images, by use.
        trained: what the candidate says of the line's images, as it was trained.
    """

    line: Labelled
    reference: Reference
    known: Mapping[Use, NDArray[np.float32]]
    folds: OutOfFold
    trained: Outputs

    @property
    def fitted(self) -> Dataset:
        return self.of_line(~self.line.held_out)

    @property
    def checked(self) -> NDArray[np.intp]:
        """Which of the line's images parity is judged by: held-out ones first, as many as are enough."""
        return np.argsort(~self.line.held_out, kind="stable")[:_CHECKED]

    def of_line(self, chosen: NDArray[Any]) -> Dataset:
        return Dataset(pixels=self.line.pixels[chosen], labels=self.line.labels[chosen])

    def evidence_by(self, runtime: Halved) -> Evidence:
        known = judge_kept(runtime, self.reference, Use.FIT).features
        held_out = judge_kept(runtime, self.reference, Use.EVIDENCE)
        return self._evidence(known, held_out, run(runtime, self.fitted).features)

    def evidence_as_trained(self, made: SurfaceNetwork) -> Evidence:
        held_out = judged(made, self.known[Use.EVIDENCE])
        seen = self.trained.features[~self.line.held_out]
        return self._evidence(self.known[Use.FIT], held_out, seen)

    def _evidence(
        self, known: NDArray[np.float32], held_out: Outputs, seen: NDArray[np.float32]
    ) -> Evidence:
        """What thresholds follow from: held-out images of the first set, and the line's by folds.

        The line's own held-out images are left out: the gate judges the thresholds by them.

        Args:
            known: features of the fitted images of the first set.
            seen: of the line's.
        """
        # Cut to what is kept of the first images, which is no texture in older models.
        features = np.concatenate([known, seen[:, : known.shape[1]]])
        fitted = self.line.labels[~self.line.held_out]
        labels = np.concatenate([self.reference.labels_of(Use.FIT), fitted])
        evidence = collect_evidence(
            fitted_features=features,
            features=held_out.features,
            logits=held_out.logits,
            labels=self.reference.labels_of(Use.EVIDENCE),
            fitted_labels=labels,
        )
        if evidence.distances is None:
            raise RuntimeError("evidence with the labels of its reference has no distances")
        return replace(
            evidence,
            logits=np.concatenate([evidence.logits, self.folds.logits]),
            novelty=np.concatenate([evidence.novelty, self.folds.novelty]),
            distances=np.concatenate([evidence.distances, self.folds.distances]),
            labels=np.concatenate([evidence.labels, self.folds.labels]),
            own=np.repeat([False, True], [len(evidence.labels), len(self.folds.labels)]),
        )


def _clear(asked: Run) -> None:
    """Without what an earlier try of the same run left, which was killed."""
    for name in (EVALUATION, FAILED):
        (asked.folder / name).unlink(missing_ok=True)
    for name in (CANDIDATE, f".{CANDIDATE}.part"):
        if (asked.folder / name).exists():
            shutil.rmtree(asked.folder / name)


def _telling(asked: Run, stage: str) -> Callable[[int, int], None]:
    def tell(done: int, of: int) -> None:
        report_progress(asked.folder, stage, min(done, of), of)

    tell(0, 1)
    return tell


def _own_of(
    asked: Run,
    network: SurfaceNetwork,
    line: Labelled,
    reference: Reference,
    recipe: LineRecipe,
) -> Callable[[NDArray[np.bool_], int], LineNetwork | None]:
    """What fits the line's own network to some of the fitted images, where they call for one."""
    pixels, labels = line.pixels[~line.held_out], line.labels[~line.held_out]
    question = question_of(
        labels,
        classes=len(line.classes),
        kept=np.unique(reference.labels_of(Use.FIT)),
        normal=np.array([name in asked.policy.normal_classes for name in line.classes]),
        recipe=recipe,
    )
    begun = count()

    def fit(chosen: NDArray[np.bool_], seed: int) -> LineNetwork | None:
        # All defects of a line that near-copies tie together fall into one fold: the fit lacks them.
        if question is None or not question.has_both(labels[chosen]):
            return None
        tell, before = _telling(asked, "fitting the line's own"), next(begun)
        return fit_line(
            network,
            pixels[chosen],
            labels[chosen],
            question,
            recipe=recipe,
            seed=seed,
            # One for each fold, and at last the one that serves: told as one piece of work.
            on_step=lambda done, of: tell(before * of + done, (FOLDS + 1) * of),
        )

    return fit


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
    asked: Run, made: SurfaceNetwork, parent: Metadata, parts: _Parts, recipe: dict[str, Any]
) -> None:
    """Write the candidate, with INT8 where that agrees with it and can be made here."""
    evidence = parts.evidence_as_trained(made)
    created = datetime.now(UTC)
    metadata = replace(
        parent,
        version=f"{created:%Y%m%d-%H%M%S}-{parts.line.manifest_sha256[:8]}",
        classes=parts.line.classes,
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


def _metrics(made: SurfaceNetwork, parts: _Parts, evidence: Evidence) -> dict[str, Any]:
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


def _figures(asked: Run, parts: _Parts, began: float) -> RunFigures:
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


def _probabilities(parts: _Parts) -> NDArray[np.float64]:
    """Of every image of the line, by a network of this run that was not fitted to it."""
    logits = parts.trained.logits.copy()
    logits[~parts.line.held_out] = parts.folds.logits
    temperature = fit_temperature(parts.folds.logits, parts.folds.labels)
    return softmax(logits / np.float32(temperature)).astype(np.float64)
