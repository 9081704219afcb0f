"""Which labels of a manifest are likely wrong, as the features of a trained network see them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config.text import as_one_line
from models.checkpoint import load_metadata
from models.novelty import pooled_of
from models.runtimes.torch_runtime import load
from training.data.dataset import load_part
from training.data.manifest import Manifest, Part
from training.judging.evaluate import run
from training.judging.label_errors import find_label_errors, out_of_fold


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """An image by its path, as text to show, the class that it is labelled and what it looks like.

    Attributes:
        probability: of `likelier`.
        confident, margin: as in `LabelError`.
    """

    path: str
    given: str
    likelier: str
    probability: float
    confident: bool
    margin: float


def doubtful_labels(manifest: Manifest, model: Path) -> list[Doubt]:
    """Labels of every part to look at, the likeliest error first; the model may know other classes.

    Raises:
        CheckpointError: for the model folder.
        ManifestError: if an image is missing or has changed.
        ValueError: if there are too few images to divide into folds.
    """
    side = load_metadata(model).input_size
    runtime = load(model)
    parts = [part for part in Part if manifest.of_part(part)]
    images = [image for part in parts for image in manifest.of_part(part)]
    features = [
        pooled_of(run(runtime, load_part(manifest, part, side=side)).features) for part in parts
    ]
    labels = np.array([manifest.classes.index(image.label) for image in images], dtype=np.int64)
    groups = [image.group for image in images]
    probabilities = out_of_fold(np.concatenate(features), labels, groups)
    return [
        Doubt(
            path=as_one_line(images[error.index].path),
            given=manifest.classes[error.given],
            likelier=manifest.classes[error.likelier],
            probability=error.probability,
            confident=error.confident,
            margin=error.margin,
        )
        for error in find_label_errors(probabilities, labels)
    ]
