"""Where in a picture the network saw its class.

With global average pooling and one linear layer, Grad-CAM at the last block (Selvaraju et al. 2017,
arXiv:1610.02391) is the feature map weighted by that class's row of the linear layer, up to a
constant (Zhou et al. 2016, arXiv:1512.04150): no gradients, and no torch.

Grad-CAM alone does not point well at steel. Rolled-in scale and crazing tell themselves by the
texture of the whole surface, and a network may well answer from it: evidence is then much the same
everywhere, and its peak says little. Each place's evidence is therefore weighted by how strongly
single features respond there, by the attention map of Zagoruyko and Komodakis 2017
(arXiv:1612.03928) with p = 4, and each place is then evened out with its neighbours, as one cell of a map
of seven by seven is hot by chance more often than three together. Both were chosen on fitted and
select images; `training.judging.pointing` measures them against annotated boxes. docs/experiments.md has the figures.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_STRENGTH = 0.6


def heatmap(maps: NDArray[np.float32], class_weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The evidence for one class at each place of the last feature map, where the network responds.

    Args:
        maps: one picture's last feature map, float32 `(channels, h, w)`.
        class_weights: that class's row of the linear layer, float32 `(channels,)`.

    Returns:
        float32 `(h, w)` from 0 to 1 at the strongest place: Grad-CAM times the sum over channels of
        the activations to the fourth power, evened out; all 0 when nothing speaks for the class.
    """
    # Brought to 1 first: the fourth power of a large activation leaves the range of float32.
    relative = maps / max(float(np.abs(maps).max(initial=0.0)), 1e-12)
    attention = np.square(np.square(relative)).sum(axis=0)
    return _to_peak_of_one(_evened_out(grad_cam(maps, class_weights) * attention))


def grad_cam(maps: NDArray[np.float32], class_weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Plain Grad-CAM: arguments and result as of `heatmap`, without its weighting."""
    return _to_peak_of_one(np.maximum(np.tensordot(class_weights, maps, axes=1), 0.0))


def enlarge(heat: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A heatmap at a picture's size, float32 `(height, width)`, bilinearly."""
    scaled = Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled, dtype=np.float32)


def overlay(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Tint a grey picture `(H, W)` from clear through yellow to red, as RGB uint8 `(H, W, 3)`."""
    height, width = pixels.shape
    amount = np.clip(enlarge(heat, height, width), 0.0, 1.0)[..., None]
    tint = np.concatenate([np.full_like(amount, 255.0), 255.0 * (1 - amount), 0 * amount], axis=2)
    share = _STRENGTH * amount
    grey = pixels[..., None].astype(np.float32)
    blended: NDArray[np.uint8] = np.rint(grey * (1 - share) + tint * share).astype(np.uint8)
    return blended


def _evened_out(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each place by its neighbours: a quarter, a half and a quarter in each direction; cold beyond the border."""
    padded = np.pad(evidence, 1)
    rows = padded[:-2] / 4 + padded[1:-1] / 2 + padded[2:] / 4
    evened = rows[:, :-2] / 4 + rows[:, 1:-1] / 2 + rows[:, 2:] / 4
    return np.asarray(evened, dtype=np.float32)


def _to_peak_of_one(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    peak = float(evidence.max(initial=0.0))
    return (evidence / peak if peak > 0 else evidence).astype(np.float32)
