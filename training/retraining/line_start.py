"""What a line's own network starts from: a ResNet18 that was taught before it sees the line.

A file beside the model that ships, which `flaw_teaching` makes.
"""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import save
from safetensors.torch import load_file
from torch import Tensor

from models.line_network import STAGES, LineNetwork
from models.network import stored_weights
from models.registry import LINE_START
from training.retraining.run_folder import RunError


def save_start(taught: LineNetwork, path: Path) -> None:
    """Write all that lies below its linear layer."""
    path.write_bytes(
        save({k: v for k, v in stored_weights(taught).items() if k.startswith(STAGES)})
    )


def load_start(path: Path = LINE_START) -> dict[str, Tensor]:
    """Those weights, float32, under the names that they have in ResNet18.

    Raises:
        RunError: where the file is missing or damaged, with what to do.
    """
    try:
        return {key: value.float() for key, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path}, from which a line's own network starts, cannot be read ({error}); the current model is "
            "as it was: install Millwatch again, or make the file with `make line-start`, and retrain"
        ) from error
