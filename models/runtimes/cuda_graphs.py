"""The network in half precision on a GPU, captured as CUDA graphs: for large backlogs.

To launch a ResNet18's kernels one by one takes Python longer than a GPU takes to run them. A graph is of
one batch size, so there is one for each of a few sizes, and a batch is filled up to the next of them.

Without a GPU the same steps run on the processor, in float32 and without a graph: that is how they are
tested. docs/benchmarks.md has what they gain on an H100.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.network import SurfaceNetwork

SIZES: Final = (1, 8, 32, 128)
"""Of the batches that there are graphs for; a larger batch is cut."""
_WARM_UP: Final = 3
_TOLERANCE: Final = 0.02
"""Of the spread of the float32 logits: how far those of half precision may be on average."""
_CHECKED: Final = 16

Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class _Captured:
    """A graph with the memory that it reads and writes, and pinned memory to copy from and to."""

    pinned_in: Tensor
    images: Tensor
    replay: Callable[[], None]
    results: tuple[Tensor, Tensor]
    pinned_out: tuple[Tensor, Tensor]


class Graphs:
    """Logits and features of any batch. One thread calls it at a time."""

    def __init__(self, network: SurfaceNetwork, device: torch.device) -> None:
        """`network` lies on the device, channels-last."""
        self._network = network
        self._device = device
        self._captured: dict[tuple[int, ...], _Captured] = {}

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Float32 logits `(N, classes)` and features `(N, 512)` for uint8 grey `(N, H, W)`.

        Raises:
            RuntimeError: this GPU or its driver cannot; out of memory is one of them.
        """
        parts = [self._run(images[i : i + SIZES[-1]]) for i in range(0, len(images), SIZES[-1])]
        logits, features = zip(*parts, strict=True)
        return np.concatenate(logits), np.concatenate(features)

    def agrees(self, side: int, expected: Callable[[NDArray[np.uint8]], Outputs]) -> bool:
        """Whether its logits for made-up pictures `(side, side)` are the expected ones, or nearly so."""
        random = np.random.default_rng(1)
        pictures = random.integers(0, 256, (_CHECKED, side, side), dtype=np.uint8)
        for number in range(_CHECKED // 2):  # the others are noise
            pictures[number] = np.linspace(16 * number, 255, side * side).reshape(side, side)
        logits, wanted = self.run(pictures)[0], expected(pictures)[0]
        off = float(np.abs(logits - wanted).mean() / max(float(wanted.std()), 1e-6))
        return off <= _TOLERANCE  # what is no number is not

    @torch.inference_mode()
    def _run(self, images: NDArray[np.uint8]) -> Outputs:
        count = len(images)
        size = next(size for size in SIZES if size >= count)
        shape = (size, *images.shape[1:])
        if shape not in self._captured:
            self._captured[shape] = self._capture(shape)
        captured = self._captured[shape]
        # What lies behind them is of an earlier batch, and looked at by nobody.
        captured.pinned_in[:count].copy_(
            torch.from_numpy(np.require(images, requirements=["C", "W"]))
        )
        captured.images.copy_(captured.pinned_in, non_blocking=True)
        captured.replay()
        for pinned, result in zip(captured.pinned_out, captured.results, strict=True):
            pinned.copy_(result, non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.current_stream().synchronize()
        logits, features = (pinned[:count].numpy().copy() for pinned in captured.pinned_out)
        return logits, features

    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        on_gpu = self._device.type == "cuda"
        # The weights are cast anew in each graph: a cache of them would not outlive the capture.
        with torch.autocast("cuda", dtype=torch.float16, enabled=on_gpu, cache_enabled=False):
            out = self._network.activations(images)
        return out.logits.float(), out.features.float()

    def _capture(self, shape: tuple[int, ...]) -> _Captured:
        on_gpu = self._device.type == "cuda"
        images = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        if on_gpu:
            replay, results = self._record(images)
        else:
            results = self._forward(images)

            def replay() -> None:
                for result, now in zip(results, self._forward(images), strict=True):
                    result.copy_(now)

        def pinned(like: Tensor) -> Tensor:
            return torch.zeros(like.shape, dtype=like.dtype, pin_memory=on_gpu)

        return _Captured(
            pinned_in=pinned(images),
            images=images,
            replay=replay,
            results=results,
            pinned_out=(pinned(results[0]), pinned(results[1])),
        )

    def _record(self, images: Tensor) -> tuple[Callable[[], None], tuple[Tensor, Tensor]]:
        """As PyTorch's notes on CUDA say: warmed up on a stream of its own, then captured."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                self._forward(images)
        torch.cuda.current_stream().wait_stream(aside)
        graph: Any = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile: a retraining, or a model that is being tried.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            results = self._forward(images)
        return graph.replay, results
