"""How well a score tells one kind of image from another."""

import numpy as np
from numpy.typing import NDArray


def auroc(lower: NDArray[np.floating], higher: NDArray[np.floating]) -> float:
    """The chance that one of `higher` scores above one of `lower`, a tie counting half.

    The area under the receiver operating characteristic, by ranks (Mann and Whitney 1947); both
    `(N,)` and not empty.
    """
    ordered = np.sort(lower)
    below = np.searchsorted(ordered, higher, side="left")
    not_above = np.searchsorted(ordered, higher, side="right")
    return float((below + not_above).mean() / 2 / len(lower))
