"""Whether a network says "unknown" to a defect that it was never shown: each class left out in turn."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.text import counted
from models.checkpoint import load_metadata
from models.decision import KNOWN_CALLED_UNKNOWN
from models.novelty import novelty_of
from models.registry import read_evidence
from models.runtimes.torch_runtime import load
from models.whole import write_whole
from training.data.dataset import load_part
from training.data.manifest import Manifest, ManifestError, Part
from training.fitting.fit import Epoch
from training.fitting.recipe import Recipe
from training.judging.evaluate import auroc, run
from training.run import train_unless_made


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """How one class looks to a network that knows all the others.

    Attributes:
        auroc: of its novelty against that of the known classes' test images.
        called_unknown: the share of its images that the network calls unknown.
        known_called_unknown: the same of the known classes' test images.
    """

    auroc: float
    called_unknown: float
    known_called_unknown: float


def leave_out(
    manifest: Manifest,
    out: Path,
    *,
    recipes: Sequence[Recipe],
    seed: int = 1,
    on_epoch: Callable[[str, Epoch], None] = lambda _, __: None,
) -> dict[str, LeftOut]:
    """Train a model for each class without it, in `out`; one that was made there so is only judged.

    Args:
        manifest: of three classes at least.
        recipes: the phases of training.
        on_epoch: told the class that is left out, and the epoch.

    Raises:
        CheckpointError, ManifestError, FitError, ResumeError: as in
            `training.run.train_unless_made`.
    """
    _refuse_empty_parts(manifest)
    results = {}
    for name in manifest.classes:
        model = out / f"without-{name}"
        rest = without(manifest, name)
        told = partial(on_epoch, name)
        train_unless_made(rest, model, recipes=recipes, seed=seed, on_epoch=told)
        results[name] = _judge(model, rest, only(manifest, name))
    document = {name: asdict(result) for name, result in results.items()}
    write_whole(out / "left_out.json", json.dumps(document, indent=2) + "\n")
    return results


def _refuse_empty_parts(manifest: Manifest) -> None:
    """Said now, not after hours of training."""
    if len(manifest.classes) < 3:
        raise ManifestError(
            f"of {counted(len(manifest.classes), 'class')} none can be left out: two at least must be told apart then; "
            "prepare images of three classes or more"
        )
    for name in manifest.classes:
        for part in Part:
            if not without(manifest, name).of_part(part):
                raise ManifestError(
                    f"without {name} there is no image in the part {part.value!r}; prepare more images "
                    "or another split"
                )


def without(manifest: Manifest, name: str) -> Manifest:
    """The other classes, each image in the part that it was in."""
    return replace(
        manifest,
        classes=tuple(each for each in manifest.classes if each != name),
        images=tuple(image for image in manifest.images if image.label != name),
    )


def only(manifest: Manifest, name: str) -> Manifest:
    """Every image of one class, as test images."""
    return replace(
        manifest,
        images=tuple(
            replace(image, part=Part.TEST) for image in manifest.images if image.label == name
        ),
    )


def _judge(model: Path, known: Manifest, strange: Manifest) -> LeftOut:
    metadata = load_metadata(model)
    evidence = read_evidence(model, metadata)
    runtime = load(model)

    def novelty(manifest: Manifest) -> NDArray[np.float32]:
        outputs = run(runtime, load_part(manifest, Part.TEST, side=metadata.input_size))
        return novelty_of(outputs.features, evidence.reference)

    threshold = evidence.novelty_limit(KNOWN_CALLED_UNKNOWN)
    of_known, of_strange = novelty(known), novelty(strange)
    return LeftOut(
        auroc=auroc(of_known, of_strange),
        called_unknown=float((of_strange > threshold).mean()),
        known_called_unknown=float((of_known > threshold).mean()),
    )
