"""Judging a recipe and not one lucky split: every image is tested once, by a model that never saw it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.text import as_one_line
from models.whole import write_whole
from training.data.dividing import classes_not_in_fit
from training.data.manifest import Manifest, ManifestError, Part
from training.fitting.fit import Epoch
from training.fitting.recipe import Recipe
from training.judging.corruptions import SEVERITIES
from training.judging.evaluate import Evaluation, Rate, evaluate, run
from training.judging.novelty import Foreign, ForeignPictures, compare, read_pictures
from training.judging.pointing import Pointing, measure, pool
from training.judging.serving import Served
from training.run import train_unless_made

FOLDS: Final = 5
_SELECT_PERCENT: Final = 10


@dataclass(frozen=True, kw_only=True)
class Crossvalidation:
    """What all folds together came to.

    Attributes:
        pooled: over every image of the folds, each judged by the model of its own fold at that
            model's temperature.
        numbers: which of the folds these are, counted from 1.
        folds: right first choices in each fold.
        called_unknown: images that their model calls unknown.
        mistakes: path (as text to show), true class and first choice of each image that was wrong.
        corruptions: mean accuracy by kind, at severities 1 to 3; empty when not asked for.
        pointing: whether the heatmaps lie on the annotated boxes; None without any.
        foreign: pictures of other things, as each fold's model sees them; empty when not asked for.
    """

    pooled: Evaluation
    numbers: list[int]
    folds: list[Rate]
    called_unknown: Rate
    mistakes: list[tuple[str, str, str]]
    corruptions: dict[str, list[float]]
    pointing: Pointing | None
    foreign: list[Foreign]

    def save(self, path: Path) -> None:
        """Raises OSError."""
        write_whole(path, json.dumps(asdict(self), indent=2) + "\n")


def fold_of(manifest: Manifest, number: int, *, folds: int = FOLDS) -> Manifest:
    """The same images, divided anew: the fold is the test part, a tenth of the rest selects.

    Both follow from the pixels alone, so that copies of one picture stay together.
    """
    return replace(
        manifest,
        images=tuple(
            replace(image, part=_part_in_fold(image.group, number, folds))
            for image in manifest.images
        ),
    )


def crossvalidate(
    manifest: Manifest,
    out: Path,
    *,
    recipes: Sequence[Recipe],
    folds: int = FOLDS,
    only: Sequence[int] | None = None,
    seed: int = 1,
    corruptions: bool = False,
    foreign: Path | None = None,
    on_epoch: Callable[[int, Epoch], None] = lambda _, __: None,
) -> Crossvalidation:
    """Train and judge one model for each fold, in `out`; one that was made there so is only judged.

    Args:
        recipes: the phases of training; see `training.run.train_in_phases`.
        only: these of the folds, counted from 1, and all when None; the images of the others stay
            untested. So several nights or machines can share the work: what they made is only
            judged by the run that asks for all.
        foreign: a folder with pictures of other things than the manifest's.
        on_epoch: told the fold, from 0, and the epoch.

    Raises:
        CheckpointError, ManifestError, FitError, ResumeError: as in
            `training.run.train_unless_made`.
    """
    numbers = range(folds) if only is None else sorted({number - 1 for number in only})
    if not all(0 <= number < folds for number in numbers):
        raise ManifestError(f"the folds are numbered 1 to {folds}")
    divided = [fold_of(manifest, number, folds=folds) for number in numbers]
    _refuse_too_few(numbers, divided, folds)
    others = None
    if foreign is not None:
        others = read_pictures(foreign, side=recipes[-1].input_size)
    judged = []
    for number, fold in zip(numbers, divided, strict=True):
        model = out / f"fold-{number}"
        told = partial(on_epoch, number)
        train_unless_made(fold, model, recipes=recipes, seed=seed, on_epoch=told)
        judged.append(_Judged.of(model, fold, corruptions=corruptions, foreign=others))
    return _pool(manifest, [number + 1 for number in numbers], judged)


def _refuse_too_few(numbers: Sequence[int], divided: Sequence[Manifest], folds: int) -> None:
    """Said now, not after hours of training."""
    for number, fold in zip(numbers, divided, strict=True):
        for part in Part:
            if not fold.of_part(part):
                raise ManifestError(
                    f"fold {number + 1} of {folds} has no image in its part {part.value!r}; ask for "
                    "fewer folds (--folds), or prepare more images"
                )
        for finding in classes_not_in_fit(fold):
            raise ManifestError(
                f"in fold {number + 1} of {folds} {finding.detail}; prepare more images of it, or without it"
            )


def _part_in_fold(pixels: str, number: int, folds: int) -> Part:
    if int(pixels[:8], 16) % folds == number:
        return Part.TEST
    return Part.SELECT if int(pixels[8:16], 16) % 100 < _SELECT_PERCENT else Part.FIT


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """One fold's test images, as its model serves them; logits are scaled by its temperature."""

    paths: list[str]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    unknown: NDArray[np.bool_]
    spoilt: dict[str, list[Evaluation]]
    pointing: Pointing | None
    foreign: Foreign | None

    @classmethod
    def of(
        cls, folder: Path, divided: Manifest, *, corruptions: bool, foreign: ForeignPictures | None
    ) -> "_Judged":
        served = Served.open(folder, divided)
        model, images = served.model, served.images(divided, Part.TEST)
        outputs = run(model.runtime, images)
        decisions = model.decider.decide(outputs.logits, outputs.features)
        novelty = np.array([decision.novelty for decision in decisions], dtype=np.float32)
        return cls(
            paths=[image.path for image in divided.of_part(Part.TEST)],
            logits=outputs.logits / model.decider.temperature,
            labels=images.labels,
            unknown=np.array([decision.unknown for decision in decisions]),
            spoilt=served.judge_spoilt(images) if corruptions else {},
            pointing=measure(model.runtime, divided, Part.TEST, input_size=model.input_size),
            foreign=None if foreign is None else compare(model, novelty, foreign),
        )

    @property
    def right(self) -> Rate:
        return Rate.measured(
            int((self.logits.argmax(axis=1) == self.labels).sum()), len(self.paths)
        )


def _pool(manifest: Manifest, numbers: list[int], judged: Sequence[_Judged]) -> Crossvalidation:
    logits = np.concatenate([each.logits for each in judged])
    labels = np.concatenate([each.labels for each in judged])
    unknown = np.concatenate([each.unknown for each in judged])
    paths = [path for each in judged for path in each.paths]
    pooled = evaluate(logits, labels, manifest.classes)
    names, choices = manifest.classes, logits.argmax(axis=1)
    return Crossvalidation(
        pooled=pooled,
        numbers=numbers,
        folds=[each.right for each in judged],
        called_unknown=Rate.measured(int(unknown.sum()), len(unknown)),
        mistakes=[
            (as_one_line(paths[i]), names[labels[i]], names[choices[i]]) for i in pooled.mistakes
        ],
        corruptions={
            kind: [
                _accuracy([each.spoilt[kind][level] for each in judged])
                for level in range(len(SEVERITIES))
            ]
            for kind in judged[0].spoilt
        },
        pointing=pool([each.pointing for each in judged if each.pointing]),
        foreign=[each.foreign for each in judged if each.foreign],
    )


def _accuracy(of_folds: Sequence[Evaluation]) -> float:
    """Over all their images, as folds differ a little in size."""
    right = sum(each.accuracy * each.images for each in of_folds)
    return right / sum(each.images for each in of_folds)
