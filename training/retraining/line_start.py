"""What a line's own network starts from: the stages above the first, taught before they see the line.

A file beside the model that ships, which `flaw_teaching` makes. The first network's first stage, which
a line's own network stands on, is as it was then: so the start is of use with that stage alone.
"""

import hashlib
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from models.line_network import STAGES, LineNetwork
from models.network import SurfaceNetwork, stored_weights
from models.registry import LINE_START

_FIRST_STAGE: Final = "first_stage"


def save_start(taught: LineNetwork, network: SurfaceNetwork, path: Path) -> None:
    """Write the stages of what was taught on this network's first stage."""
    stages = {k: value for k, value in stored_weights(taught).items() if k.startswith(STAGES)}
    path.write_bytes(save(stages, metadata={_FIRST_STAGE: _digest(network)}))


def start_for(network: SurfaceNetwork, path: Path = LINE_START) -> dict[str, Tensor] | None:
    """Weights of the stages above the first; None where there are none for this network's first stage."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get(_FIRST_STAGE) != _digest(network):
                return None
            return {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 -- no mapping
    except (OSError, SafetensorError):
        return None


def _digest(network: SurfaceNetwork) -> str:
    """Of the weights up to the first stage, as a file holds them."""
    net = network.backbone
    found = hashlib.sha256(network.normalisation.encode())
    for module in (net.conv1, net.bn1, net.layer1):
        for value in stored_weights(module).values():
            found.update(value.tobytes())
    return found.hexdigest()
