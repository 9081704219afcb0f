"""Whether a model says "unknown" to pictures of other things: a folder of them against known images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.text import as_one_line
from models.decision import Floats
from models.preprocessing import UnreadableError, decode
from models.registry import Model
from training.data.dataset import Dataset
from training.data.manifest import ManifestError
from training.judging.evaluate import Rate, auroc, run

_POINTS: Final = 200


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """How pictures of other things look to a model.

    Attributes:
        name: of their folder.
        left_out: files in it that are no whole picture.
        called_unknown: of the others.
        auroc: of their novelty against that of the known images.
        roc: for falling thresholds, the share of known and of foreign images above them, from
            (0, 0) to (1, 1).
    """

    name: str
    left_out: int
    called_unknown: Rate
    auroc: float
    roc: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class ForeignPictures:
    """Attributes: name: of their folder; pixels: `(N, side, side)`; left_out: files that are no whole picture."""

    name: str
    pixels: NDArray[np.uint8]
    left_out: int


def compare(model: Model, known: Floats, pictures: ForeignPictures) -> Foreign:
    """Judge them.

    Args:
        known: novelty of known images that the model was not trained on, `(N,)`.
        pictures: at the side at which the model sees them.
    """
    nothing = np.zeros(len(pictures.pixels), dtype=np.int64)
    outputs = run(model.runtime, Dataset(pixels=pictures.pixels, labels=nothing))
    decisions = model.decider.decide(outputs.logits, outputs.features)
    foreign = np.array([decision.novelty for decision in decisions], dtype=np.float32)
    return Foreign(
        name=pictures.name,
        left_out=pictures.left_out,
        called_unknown=Rate.measured(sum(each.unknown for each in decisions), len(decisions)),
        auroc=auroc(known, foreign),
        roc=roc(known, foreign),
    )


def roc(known: Floats, foreign: Floats) -> tuple[tuple[float, float], ...]:
    """The shares of each, `(N,)` and `(M,)`, above falling thresholds; 200 of them at most."""
    thresholds = np.unique(np.concatenate([known, foreign]))[::-1]
    if len(thresholds) > _POINTS:
        thresholds = thresholds[np.linspace(0, len(thresholds) - 1, _POINTS).astype(int)]
    above = [(float((known > at).mean()), float((foreign > at).mean())) for at in thresholds]
    return (*above, (1.0, 1.0))


def read_pictures(folder: Path, *, side: int) -> ForeignPictures:
    """Every picture under a folder.

    Raises:
        ManifestError: if the folder cannot be read or holds no picture.
    """
    pictures, left_out = [], 0
    try:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            try:
                pictures.append(decode(path.read_bytes(), size=side).pixels)
            except UnreadableError:
                left_out += 1
    except OSError as error:
        raise ManifestError(
            f"{folder} cannot be read for pictures of other things: {error}"
        ) from error
    if not pictures:
        raise ManifestError(
            f"{folder} holds no picture; name a folder with pictures of other things than the "
            "model knows"
        )
    name = as_one_line(folder.resolve().name)
    return ForeignPictures(name=name, pixels=np.stack(pictures), left_out=left_out)
