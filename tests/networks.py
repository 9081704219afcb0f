"""Random networks that compute something on given pictures, and their model folders."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from builders import see_once
from numpy.typing import NDArray

from models.checkpoint import Metadata, save
from models.network import SurfaceNetwork, half_precision, stored_weights


def suited(network: SurfaceNetwork, pictures: NDArray[np.uint8]) -> SurfaceNetwork:
    """With batch norms that suit the pictures, uint8 grey `(N, side, side)`; as a file would hold it."""
    see_once(network, pictures)
    half_precision(network)
    return network.eval()


def saved(network: SurfaceNetwork, folder: Path, *, classes: Sequence[str], side: int) -> Path:
    """The model folder that it becomes, without evidence to decide by."""
    metadata = Metadata(
        version=folder.name,
        classes=tuple(classes),
        input_size=side,
        created_at="2026-01-01T00:00:00Z",
        manifest_sha256="0" * 64,
    )
    save(folder, stored_weights(network), metadata, {"none": np.zeros(1)})
    return folder
