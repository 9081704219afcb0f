"""What the model says of each picture of a batch, where one of them may make it fail."""

from collections.abc import Sequence

import numpy as np
import structlog
from numpy.typing import NDArray

from models.decision import Decision
from models.registry import Model

log = structlog.get_logger(__name__)

Pixels = NDArray[np.uint8]


class ModelFailedError(Exception):
    """The model fails on every picture, a blank one too: no picture is to blame."""


def judge(model: Model, pictures: Sequence[Pixels]) -> list[Decision | Exception]:
    """The decision for each uint8 grey picture `(size, size)`, or why there is none.

    A batch that fails is split until the pictures that make it fail stand alone.

    Raises:
        ModelFailedError: nothing can be judged now.
    """
    outcomes = _split(model, pictures)
    if pictures and all(isinstance(outcome, Exception) for outcome in outcomes):
        blank = np.full_like(pictures[0], 128)
        (of_blank,) = _split(model, [blank])
        if isinstance(of_blank, Exception):
            raise ModelFailedError(f"{type(of_blank).__name__}: {of_blank}") from of_blank
    return outcomes


def _split(model: Model, pictures: Sequence[Pixels]) -> list[Decision | Exception]:
    if not pictures:
        return []
    try:
        return list(model.judge(np.stack(pictures)))
    except Exception as error:  # noqa: BLE001 -- told of each picture that causes it
        if len(pictures) == 1:
            return [error]
    middle = len(pictures) // 2
    return [*_split(model, pictures[:middle]), *_split(model, pictures[middle:])]
