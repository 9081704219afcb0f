"""What a model keeps of the images that it was trained on (`models.reference`): chosen, and judged."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import Metadata
from models.network import SurfaceNetwork
from models.reference import Reference, Use
from models.runtimes.protocol import Halved, Outputs
from training.data.dataset import load_part
from training.data.manifest import Manifest, ManifestError, Part

FITTED_OF_A_CLASS: Final = 100
"""Fitted images of each class that a model keeps: with all held-out ones of NEU-DET, 6 MB.

With 50, a retraining on 220 labels of another surface got 2.3 of 202 NEU-DET pictures wrong, with 120
1.2, and the model before it 1."""
USES: Final = {Part.FIT: Use.FIT, Part.SELECT: Use.EVIDENCE, Part.TEST: Use.GATE}


@torch.inference_mode()
def reference_of(
    network: SurfaceNetwork,
    metadata: Metadata,
    manifest: Manifest,
    *,
    fitted: int | None = None,
) -> Reference:
    """Activations of a manifest's images, each for the use that its part allows.

    Args:
        network: on any device.
        metadata: of the network's model folder.
        fitted: how many images of each class of the fit part, spread over it; all when None.

    Raises:
        ManifestError: for a manifest of other classes, or whose images have changed.
    """
    if manifest.classes != metadata.classes[: len(manifest.classes)]:
        raise ManifestError(
            f"the model knows {', '.join(metadata.classes)}; the manifest has "
            f"{', '.join(manifest.classes)}: name the manifest that the model came from"
        )
    device = next(network.parameters()).device
    maps: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    uses: list[NDArray[np.int64]] = []
    textures: list[NDArray[np.float32]] = []
    for part, use in USES.items():
        images = load_part(manifest, part, side=network.first_side(metadata.input_size))
        chosen = np.arange(len(images))
        if part is Part.FIT and fitted is not None:
            of_class = [np.flatnonzero(images.labels == k) for k in range(len(manifest.classes))]
            chosen = np.concatenate([_spread(indices, fitted) for indices in of_class])
        for chunk in np.array_split(chosen, max(1, len(chosen) // 32)):
            pixels = torch.from_numpy(images.pixels[chunk]).to(device)
            middle, texture = network.middle_and_texture(pixels)
            maps.append(middle.cpu().numpy())
            textures.append(texture.cpu().numpy())
        labels.append(images.labels[chosen])
        uses.append(np.full(len(chosen), use, np.int64))
    return Reference.of(
        np.concatenate(maps),
        np.concatenate(labels),
        np.concatenate(uses),
        np.concatenate(textures),
    )


def judge_kept(runtime: Halved, reference: Reference, use: Use) -> Outputs:
    """What a runtime says of the images of one use, of which there must be some.

    Features as of whole images, with the texture where it is kept.
    """
    above = runtime.infer_above(reference.maps(use), reference.textures_of(use))
    return Outputs(logits=above.logits, features=reference.features_of(use, above.features))


def features_kept(runtime: Halved, reference: Reference, use: Use) -> NDArray[np.float32]:
    """The features of the images of one use alone; there may be none."""
    if not (reference.uses == use).any():
        return reference.features_of(use, np.empty((0, runtime.head.shape[1]), np.float32))
    return judge_kept(runtime, reference, use).features


def _spread(indices: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    chosen: NDArray[np.intp] = indices[
        np.linspace(0, len(indices) - 1, min(count, len(indices))).astype(int)
    ]
    return chosen
