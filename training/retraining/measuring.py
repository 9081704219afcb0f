"""What a retraining run measured of a model folder, as it would serve."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from models.calibration import softmax
from models.decision import Decider, Decision, Policy
from models.figures import ClassFigures, ModelFigures, Suspect
from models.reference import Reference, Use
from models.registry import Model, load_model
from models.runtimes.protocol import Halved, Outputs
from models.taxonomy import Verdict
from training.data.dataset import Dataset
from training.judging.evaluate import calibration_error, error_by_chance, run
from training.judging.label_errors import LabelError, find_label_errors
from training.model_folder.references import judge_kept
from training.retraining.crossfitting import OutOfFold
from training.retraining.labelled import Labelled

_TIMED: Final = 32
_SURE: Final = 0.5


def measure(
    folder: Path,
    policy: Policy,
    *,
    runtime: str,
    line: Labelled,
    reference: Reference,
    out_of_fold: OutOfFold | None,
) -> ModelFigures:
    """Judge the held-out images of the line, and those of the first set that no run trains on.

    Args:
        runtime: as `model.runtime` of the line has it.
        line: with pictures as large as the model wants them.
        out_of_fold: of the fitted images of the line, for the candidate of this run.

    Raises:
        CheckpointError, RuntimeUnavailableError: for the model folder.
    """
    model = load_model(folder, policy=policy, runtime=runtime)
    decider = model.decider
    pixels = line.pixels[model.input_size]
    held_out = Dataset(pixels=pixels[line.held_out], labels=line.labels[line.held_out])
    names = [line.classes[i] for i in held_out.labels]
    outputs = _outputs(model, held_out)
    known = [line.classes[i] for i in reference.labels_of(Use.GATE)]
    kept = _nothing(model)
    if known:
        kept = judge_kept(cast("Halved", model.runtime), reference, Use.GATE)
    crossvalidated: Mapping[str, ClassFigures] = {}
    if out_of_fold is not None:
        crossvalidated = _crossvalidated(decider, line, out_of_fold, outputs)
    error, by_chance = _calibration(decider, outputs, names)
    rule = decider.pass_rule
    return ModelFigures(
        version=model.version,
        classes=decider.classes,
        form=_form(model),
        held_out=count_verdicts(decider.decide(outputs.logits, outputs.features), names),
        crossvalidated=crossvalidated,
        reference=count_verdicts(decider.decide(kept.logits, kept.features), known),
        calibration_error=error,
        calibration_chance=by_chance,
        evidence_defects=rule.defects if rule else 0,
        promised_missed_rate=rule.promised if rule else 1.0,
        pass_threshold=decider.pass_threshold,
        milliseconds_per_image=_milliseconds(model, pixels),
        finite=bool(np.isfinite(outputs.logits).all() and np.isfinite(kept.logits).all()),
    )


def count_verdicts(decisions: Sequence[Decision], names: Sequence[str]) -> dict[str, ClassFigures]:
    """By true class, named for each image."""
    rows: dict[str, list[Decision]] = {name: [] for name in sorted(set(names))}
    for decision, name in zip(decisions, names, strict=True):
        rows[name].append(decision)
    return {
        name: ClassFigures(
            images=len(of),
            right=sum(each.predicted_class == name for each in of),
            passed=sum(each.verdict is Verdict.PASS for each in of),
            defect=sum(each.verdict is Verdict.DEFECT for each in of),
            unsure=sum(each.verdict is Verdict.UNSURE for each in of),
            unknown=sum(each.unknown for each in of),
        )
        for name, of in rows.items()
    }


def suspects_of(
    line: Labelled, probabilities: NDArray[np.float64]
) -> tuple[tuple[Suspect, ...], dict[str, float]]:
    """Labels that are likely wrong, and how much of each class that leaves in doubt.

    Args:
        probabilities: of every image of the line by a network that was not fitted to it,
            `(N, classes)`.

    Returns:
        The suspects: first what confident learning counts as errors, and what is more likely of a
        class of which there is no label than of all others together, as that method cannot count it;
        then what merely looks more like another class; the likeliest error first. Where many labels
        of a class are wrong the first are too few: the network is less sure of all of them, and the
        threshold of a class is its mean. And by class the share of the images that carry its name or likely should which
        likely should and do not. There only those of the former count that are more likely of it
        than of all other classes together: where a class is hard to tell, confident learning asks
        for less.
    """
    errors = find_label_errors(probabilities, line.labels)
    labelled = set(line.labels.tolist())

    def is_behind(error: LabelError) -> bool:
        unlabelled = error.likelier not in labelled and error.probability > _SURE
        return not (error.confident or unlabelled)

    errors.sort(key=is_behind)  # which keeps their order otherwise
    suspects = tuple(
        Suspect(
            path=str(line.sources[error.index].path),
            image_id=line.sources[error.index].image_id,
            label=line.classes[error.given],
            suggested=line.classes[error.likelier],
            confidence=error.probability,
        )
        for error in errors
    )
    doubted: dict[str, float] = {}
    for index, name in enumerate(line.classes):
        count = int((line.labels == index).sum())
        strayed = sum(
            error.confident and error.likelier == index and error.probability > _SURE
            for error in errors
        )
        if count:
            doubted[name] = strayed / (count + strayed)
    return suspects, doubted


def _crossvalidated(
    decider: Decider, line: Labelled, fold: OutOfFold, held_out: Outputs
) -> Mapping[str, ClassFigures]:
    """Every image of the line: fitted ones by the folds' networks, held-out ones by the candidate."""
    decisions = decider.decide_measured(fold.logits, fold.novelty, fold.distances)
    decisions += decider.decide(held_out.logits, held_out.features)
    order = np.concatenate([line.labels[~line.held_out], line.labels[line.held_out]])
    return count_verdicts(decisions, [line.classes[i] for i in order])


def _outputs(model: Model, images: Dataset) -> Outputs:
    return run(model.runtime, images) if len(images) else _nothing(model)


def _nothing(model: Model) -> Outputs:
    return Outputs(
        logits=np.empty((0, len(model.decider.classes)), np.float32),
        features=np.empty((0, 512), np.float32),
    )


def _calibration(
    decider: Decider, outputs: Outputs, names: Sequence[str]
) -> tuple[float | None, float]:
    """The error, and what chance alone may come to; None and 0 without images.

    What a model says of a class that it does not know is wrong, however sure it is.
    """
    if not names:
        return None, 0.0
    probabilities = softmax(outputs.logits / np.float32(decider.temperature))
    confidence = probabilities.max(axis=1)
    choices = [decider.classes[i] for i in probabilities.argmax(axis=1)]
    correct = np.array(choices) == np.array(names)
    return calibration_error(confidence, correct), error_by_chance(confidence)


def _form(model: Model) -> str:
    name = model.runtime.name
    return next((form for form in ("int8", "fp32") if form in name), "torch")


def _milliseconds(model: Model, pixels: NDArray[np.uint8]) -> float:
    """Of the processor, for the network alone; the best of three batches.

    Not by the clock: a run gives way to everything else, and would wait for the line as well.
    """
    batch = np.resize(pixels, (_TIMED, *pixels.shape[1:]))
    taken = []
    for _ in range(3):
        began = time.process_time()
        model.runtime.infer(batch)
        taken.append(time.process_time() - began)
    return 1000 * min(taken) / _TIMED
