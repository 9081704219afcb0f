"""What is done to grey pictures before a network's first layer, by the network itself."""

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from models.shrinking import shrinking

_MIN_CONTRAST: Final = 8.0
"""Grey levels. Below this standard deviation a picture is scaled as if it had it, so that the
sensor noise of a blank surface is not blown up into a texture."""


def normalise(images: Tensor) -> Tensor:
    """Grey `(N, H, W)` in 0..255 to float `(N, 1, H, W)` of zero mean and unit variance each."""
    x = images.to(torch.float32).unsqueeze(1)
    mean = x.mean(dim=(2, 3), keepdim=True)
    variance = (x - mean).square().mean(dim=(2, 3), keepdim=True)
    return (x - mean) / torch.clamp(variance.sqrt(), min=_MIN_CONTRAST)


def shrunk(images: Tensor, side: int) -> Tensor:
    """Grey `(N, S, S)` in 0..255 to whole grey levels in float32, `(N, side, side)`; as it is where `side` is S.

    In float32 wherever it is called, so that every device and runtime rounds to the same levels.
    """
    if images.shape[-1] == side:
        return images
    rows = _on(images.device, images.shape[-1], side)
    with torch.autocast(images.device.type, enabled=False):
        return (rows @ images.float() @ rows.T).round()


@lru_cache(maxsize=8)
def _on(device: torch.device, side: int, smaller: int) -> Tensor:
    """Kept there: while a CUDA graph is captured nothing may be brought."""
    return torch.from_numpy(shrinking(side, smaller)).to(device)
