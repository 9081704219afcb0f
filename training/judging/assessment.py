"""All that is measured of one model folder on one part of a manifest, as it was trained."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from config.text import as_one_line
from models.calibration import softmax
from models.checkpoint import Metadata
from models.decision import Decision, Floats
from models.heatmap import overlay
from models.preprocessing import decode
from models.support import Support
from training.data.dataset import Dataset
from training.data.manifest import LabelledImage, Manifest, Part
from training.fitting.fit import Epoch
from training.judging.evaluate import Bin, Evaluation, Rate, evaluate, reliability, run
from training.judging.looking_over import Look, look_over
from training.judging.novelty import Foreign, compare, read_pictures
from training.judging.pointing import Pointing, measure
from training.judging.serving import AS_CONFIGURED, Served, caution

WRONG_SHOWN: Final = 12
UNSURE_SHOWN: Final = 6
_SHOWN_SIDE: Final = 240
"""Pixels; a report of many large pictures would not be opened."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One image that a person should look at.

    Attributes:
        path: as the manifest has it, as text to show.
        picture: uint8 grey `(H, W)`, made smaller where a side was above 240 pixels.
        explained: the same with the heatmap of the predicted class, uint8 `(H, W, 3)`.
    """

    path: str
    true: str
    decision: Decision
    picture: NDArray[np.uint8]
    explained: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What a report shows.

    Attributes:
        fingerprint: SHA-256 of the manifest that was judged on.
        recalls: by class, of those that have images.
        outcomes: images by what would become of them: a verdict, and its reason.
        called_unknown: images of known kinds that the model calls unknown.
        familiar_threshold: novelty above which no defect is believed while commissioning; None for a
            model that has learned a normal class.
        support: thresholds, and what the held-out images behind them can promise.
        spoilt: by kind of corruption at severities 1 to 3; empty when not measured.
        foreign: None when no folder of foreign pictures was named.
        pointing: None when no image has a box.
        wrong: by confidence in the wrong class, the worst first.
        unsure: right ones, the least confident first.
        look: what a person should look at in the images of the manifest, all parts of it.
        history: of the training; empty when the model folder does not tell.
    """

    metadata: Metadata
    part: Part
    fingerprint: str
    evaluation: Evaluation
    recalls: dict[str, Rate]
    reliability: tuple[Bin, ...]
    outcomes: dict[tuple[str, str], Rate]
    called_unknown: Rate
    familiar_threshold: float | None
    support: Support
    spoilt: dict[str, list[Evaluation]]
    foreign: Foreign | None
    pointing: Pointing | None
    wrong: tuple[Case, ...]
    unsure: tuple[Case, ...]
    look: Look
    history: tuple[Epoch, ...]

    @property
    def caution(self) -> str:
        """Why the figures may flatter the model; empty where they do not."""
        return caution(self.metadata, self.fingerprint, self.part)


def assess(
    folder: Path,
    manifest: Manifest,
    part: Part = Part.TEST,
    *,
    corruptions: bool = True,
    foreign: Path | None = None,
) -> Assessment:
    """Measure a model folder.

    Args:
        corruptions: also on spoilt copies: eighteen times the work.
        foreign: a folder with pictures of other things than the model knows.

    Raises:
        CheckpointError: for the folder.
        ManifestError: for the manifest, other classes, or `foreign`.
    """
    served = Served.open(folder, manifest)
    model = served.model
    others = None if foreign is None else read_pictures(foreign, side=model.input_size)
    data = served.images(manifest, part)
    outputs = run(model.runtime, data)
    decisions = model.decider.decide(outputs.logits, outputs.features)
    temperature = model.decider.temperature
    evaluation = evaluate(outputs.logits, data.labels, manifest.classes, temperature=temperature)
    probabilities = softmax(outputs.logits / temperature)
    correct = probabilities.argmax(axis=1) == data.labels
    known = np.array([decision.novelty for decision in decisions], dtype=np.float32)
    wrong, unsure = _worst(probabilities, correct)
    return Assessment(
        metadata=model.metadata,
        part=part,
        fingerprint=manifest.sha256,
        evaluation=evaluation,
        recalls=_recalls(evaluation),
        reliability=reliability(probabilities.max(axis=1), correct),
        outcomes=_outcomes(decisions),
        called_unknown=Rate.measured(sum(each.unknown for each in decisions), len(decisions)),
        familiar_threshold=None if model.decider.normal.any() else model.decider.familiar_threshold,
        support=Support.of(model.decider, served.evidence, AS_CONFIGURED),
        spoilt=served.judge_spoilt(data) if corruptions else {},
        foreign=None if others is None else compare(model, known, others),
        pointing=measure(model.runtime, manifest, part, input_size=model.input_size),
        wrong=_cases(served, manifest, data, manifest.of_part(part), wrong),
        unsure=_cases(served, manifest, data, manifest.of_part(part), unsure),
        look=look_over(manifest, folder),
        history=read_history(folder),
    )


def read_history(folder: Path) -> tuple[Epoch, ...]:
    """The epochs that `training.run` left in a model folder; none where it left none that is whole."""
    try:
        document = json.loads((folder / "metrics.json").read_text())
        return tuple(Epoch(**epoch) for epoch in document["history"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _recalls(evaluation: Evaluation) -> dict[str, Rate]:
    rows = zip(evaluation.classes, evaluation.confusion, strict=True)
    return {
        name: Rate.measured(row[index], sum(row))
        for index, (name, row) in enumerate(rows)
        if sum(row)
    }


def _outcomes(decisions: Sequence[Decision]) -> dict[tuple[str, str], Rate]:
    counts = Counter((each.verdict.value, each.reason.value) for each in decisions)
    return {key: Rate.measured(count, len(decisions)) for key, count in sorted(counts.items())}


def _worst(probabilities: Floats, correct: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """Indices of the mistakes to show, and of the right ones."""
    order = probabilities.max(axis=1).argsort(kind="stable")
    wrong = [int(index) for index in order[::-1] if not correct[index]]
    unsure = [int(index) for index in order if correct[index]]
    return wrong[:WRONG_SHOWN], unsure[:UNSURE_SHOWN]


def _cases(
    served: Served,
    manifest: Manifest,
    data: Dataset,
    images: Sequence[LabelledImage],
    chosen: Sequence[int],
) -> tuple[Case, ...]:
    cases = []
    for index in chosen:
        decision, heat = served.model.explain(data.pixels[index])
        picture = _smaller(decode((manifest.root / images[index].path).read_bytes()).pixels)
        cases.append(
            Case(
                path=as_one_line(images[index].path),
                true=images[index].label,
                decision=decision,
                picture=picture,
                explained=overlay(picture, heat),
            )
        )
    return tuple(cases)


def _smaller(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    image.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
    return np.asarray(image)
