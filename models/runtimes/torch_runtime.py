"""PyTorch, on CUDA or the processor."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from models.network import SurfaceNetwork, load_network
from models.runtimes.protocol import Outputs, RuntimeUnavailableError

Device = Literal["auto", "cpu", "cuda"]


class TorchRuntime:
    """Float32, channels-last. A batch that does not fit the GPU's memory is halved until it does."""

    def __init__(self, network: SurfaceNetwork, *, device: Device = "auto") -> None:
        self._device = _choose(device)
        self._network = network.eval().to(self._device).to(memory_format=torch.channels_last)
        self.head = network.backbone.fc.weight.detach().float().cpu().numpy()

    @property
    def name(self) -> str:
        return f"torch on {self._device.type}"

    def infer(self, images: NDArray[np.uint8], *, with_maps: bool = False) -> Outputs:
        try:
            return self._infer(images, with_maps=with_maps)
        except torch.cuda.OutOfMemoryError:
            if len(images) == 1:
                raise
        torch.cuda.empty_cache()
        middle = len(images) // 2
        first = self.infer(images[:middle], with_maps=with_maps)
        second = self.infer(images[middle:], with_maps=with_maps)
        maps = None
        if first.maps is not None and second.maps is not None:
            maps = np.concatenate([first.maps, second.maps])
        return Outputs(
            logits=np.concatenate([first.logits, second.logits]),
            features=np.concatenate([first.features, second.features]),
            maps=maps,
        )

    @torch.inference_mode()
    def _infer(self, images: NDArray[np.uint8], *, with_maps: bool) -> Outputs:
        # Pixels fresh from a decoder are read-only, of which torch warns.
        writable = np.require(images, requirements=["C", "W"])
        batch = torch.from_numpy(writable).to(self._device)
        out = self._network.activations(batch)
        return Outputs(
            logits=out.logits.float().cpu().numpy(),
            features=out.features.float().cpu().numpy(),
            maps=out.maps.float().cpu().contiguous().numpy() if with_maps else None,
        )

    @torch.inference_mode()
    def infer_above(self, middle: NDArray[np.float32]) -> Outputs:
        """The outputs for activations `(N, 512, h, w)` below the last block."""
        chunks = torch.from_numpy(middle).split(32)
        out = [self._network.top(chunk.to(self._device)) for chunk in chunks]
        return Outputs(
            logits=torch.cat([each.logits for each in out]).float().cpu().numpy(),
            features=torch.cat([each.features for each in out]).float().cpu().numpy(),
        )


def load(folder: Path, *, device: Device = "auto") -> TorchRuntime:
    """Raises CheckpointError for a bad model folder, RuntimeUnavailableError without the device."""
    network, _ = load_network(folder)
    return TorchRuntime(network, device=device)


def _choose(device: Device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailableError(
            "CUDA was asked for and torch sees no GPU; check `nvidia-smi`, or use the processor"
        )
    return torch.device(device)
