"""PyTorch, on CUDA or the processor."""

import threading
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from models.network import SurfaceNetwork, load_network
from models.runtimes.cuda_graphs import Graphs
from models.runtimes.protocol import Outputs, RuntimeUnavailableError

Device = Literal["auto", "cpu", "cuda"]
Floats = NDArray[np.float32]


_TOGETHER: Final = 32
"""On the processor: a larger batch is no faster there, and takes a gigabyte more."""


class TorchRuntime:
    """Channels-last. On a GPU half precision where that agrees with float32, else float32.

    Safe to call from several threads, one at a time. A batch that does not fit the GPU's memory is
    halved until it does.
    """

    def __init__(
        self, network: SurfaceNetwork, *, device: Device = "auto", half: bool = True
    ) -> None:
        """Raises RuntimeUnavailableError without the device, or without memory on it.

        Args:
            network: is moved to the device.
            half: whether a GPU may compute in half precision.
        """
        self._device = _choose(device)
        try:
            self._network = network.eval().to(self._device)
        except RuntimeError as error:  # no memory for it, or a driver that cannot
            raise RuntimeUnavailableError(
                f"the network cannot be loaded on {self._device.type} ({error}); end what else uses "
                "it (`nvidia-smi` lists that) and start again"
            ) from error
        self._lock = threading.Lock()
        graphed = half and self._device.type == "cuda"
        self._graphs = Graphs(self._network, self._device) if graphed else None
        self._agreeing: int | None = None
        self.head = network.backbone.fc.weight.detach().float().cpu().numpy()

    @property
    def name(self) -> str:
        return f"torch on {self._device.type}"

    def infer(self, images: NDArray[np.uint8], *, with_maps: bool = False) -> Outputs:
        with self._lock:
            if self._graphs is not None and not with_maps:
                try:
                    if self._may_use(self._graphs, images.shape[1]):
                        logits, features = self._graphs.run(images)
                        return Outputs(logits=logits, features=features)
                except RuntimeError:  # no memory for it, or a driver that cannot
                    self._graphs = None
            together = len(images) if self._device.type == "cuda" else _TOGETHER
            parts = [images[i : i + together] for i in range(0, len(images), together)]
            return _joined([self._halving(part, with_maps=with_maps) for part in parts])

    def _may_use(self, graphs: Graphs, side: int) -> bool:
        """Whether half precision agrees with float32 here; tried once."""
        if self._agreeing != side:
            if not graphs.agrees(side, self._in_float32):
                self._graphs = None
                return False
            self._agreeing = side
        return True

    def _in_float32(self, images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        out = self._infer(images, with_maps=False)
        return out.logits, out.features

    def _halving(self, images: NDArray[np.uint8], *, with_maps: bool) -> Outputs:
        try:
            return self._infer(images, with_maps=with_maps)
        except torch.cuda.OutOfMemoryError:
            if len(images) == 1:
                raise
        torch.cuda.empty_cache()
        middle = len(images) // 2
        halves = (images[:middle], images[middle:])
        return _joined([self._halving(half, with_maps=with_maps) for half in halves])

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
    def infer_above(self, middle: Floats, texture: Floats | None = None) -> Outputs:
        """The outputs for activations `(N, 512, h, w)` below the last block; see `Halved`."""
        chunks = torch.from_numpy(middle).split(_TOGETHER)
        looks: list[torch.Tensor | None] = [None] * len(chunks)
        if texture is not None:
            looks = [*torch.from_numpy(texture).to(self._device).split(_TOGETHER)]
        out = [
            self._network.top(chunk.to(self._device), look)
            for chunk, look in zip(chunks, looks, strict=True)
        ]
        return Outputs(
            logits=torch.cat([each.logits for each in out]).float().cpu().numpy(),
            features=torch.cat([each.features for each in out]).float().cpu().numpy(),
        )


def _joined(parts: list[Outputs]) -> Outputs:
    if len(parts) == 1:
        return parts[0]
    maps = [part.maps for part in parts if part.maps is not None]
    return Outputs(
        logits=np.concatenate([part.logits for part in parts]),
        features=np.concatenate([part.features for part in parts]),
        maps=np.concatenate(maps) if maps else None,
    )


def load(folder: Path, *, device: Device = "auto") -> TorchRuntime:
    """Raises CheckpointError for a bad model folder, RuntimeUnavailableError as `TorchRuntime`."""
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
