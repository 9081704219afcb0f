"""Where in a picture the network saw its class.

With global average pooling and one linear layer, Grad-CAM at the last block (Selvaraju et al. 2017,
arXiv:1610.02391) is the feature map weighted by that class's row of the linear layer, up to a
constant (Zhou et al. 2016, arXiv:1512.04150): no gradients, and no torch.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_STRENGTH = 0.6


def heatmap(maps: NDArray[np.float32], class_weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The evidence for one class at each place of the last feature map.

    Args:
        maps: one picture's last feature map, float32 `(channels, h, w)`.
        class_weights: that class's row of the linear layer, float32 `(channels,)`.

    Returns:
        float32 `(h, w)` from 0 to 1 at the strongest place; all 0 when nothing speaks for the class.
    """
    evidence = np.maximum(np.tensordot(class_weights, maps, axes=1), 0.0)
    peak = float(evidence.max(initial=0.0))
    return (evidence / peak if peak > 0 else evidence).astype(np.float32)


def overlay(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Tint a grey picture `(H, W)` from clear through yellow to red, as RGB uint8 `(H, W, 3)`."""
    height, width = pixels.shape
    scaled = Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR)
    amount = np.clip(np.asarray(scaled, dtype=np.float32), 0.0, 1.0)[..., None]
    tint = np.concatenate([np.full_like(amount, 255.0), 255.0 * (1 - amount), 0 * amount], axis=2)
    share = _STRENGTH * amount
    grey = pixels[..., None].astype(np.float32)
    blended: NDArray[np.uint8] = np.rint(grey * (1 - share) + tint * share).astype(np.uint8)
    return blended
