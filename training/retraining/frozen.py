"""What lies below a network's head, which a retraining leaves as it is, run by itself.

By OpenVINO where that computes what torch does: on a processor it takes less than half the time, in float32
like the other.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.network import SurfaceNetwork, stored_weights
from models.runtimes.openvino_graph import build_graph
from models.runtimes.openvino_runtime import OpenVinoRuntime
from models.runtimes.protocol import Halved, RuntimeUnavailableError
from models.runtimes.torch_runtime import TorchRuntime

_TRIED: Final = 16
"""Images that both see first."""
_AGREES: Final = 1e-3
"""Float32 alone makes it a hundredth of that."""


def frozen(network: SurfaceNetwork, pixels: NDArray[np.uint8]) -> Halved:
    """A network without what a line has of its own, in the form that is fastest here.

    Args:
        pixels: images of the line, `(N, side, side)`, N at least 1.
    """
    below = SurfaceNetwork(
        network.backbone.fc.out_features, normalisation=network.normalisation
    ).eval()
    below.take_weights_of(network)
    by_torch = TorchRuntime(below, device="cpu")
    size = pixels.shape[-1]
    try:
        graph = build_graph(
            stored_weights(below), input_size=size, normalisation=network.normalisation
        )
        by_graph = OpenVinoRuntime(graph, form="fp32")
    except RuntimeUnavailableError:
        return by_torch
    some = pixels[np.linspace(0, len(pixels) - 1, min(_TRIED, len(pixels))).astype(int)]
    seen, expected = by_graph.infer(some).features, by_torch.infer(some).features
    return by_graph if np.allclose(seen, expected, rtol=_AGREES, atol=_AGREES) else by_torch
