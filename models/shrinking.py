"""How a picture is made smaller, apart from torch: a service that runs without it does the same."""

import numpy as np
from numpy.typing import NDArray


def shrinking(side: int, smaller: int) -> NDArray[np.float32]:
    """By which share each row of a picture goes into those of a smaller one, `(smaller, side)`.

    A triangle as wide as two of the smaller one's rows, as Pillow's bilinear filter has it.
    """
    scale = side / smaller
    middles = (np.arange(smaller) + 0.5) * scale
    away = np.abs(np.arange(side)[None, :] + 0.5 - middles[:, None]) / scale
    share = np.clip(1 - away, 0, None)
    return np.asarray(share / share.sum(axis=1, keepdims=True), dtype=np.float32)
