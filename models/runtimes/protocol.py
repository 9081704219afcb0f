"""What every runtime does: pictures in, numbers out."""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

_NO_MEMORY: Final = ("out of memory", "allocate memory", "bad_alloc", "alloc_failed")


class RuntimeUnavailableError(Exception):
    """The machine cannot run the runtime that was asked for; the message says what to set."""


def lacks_memory(error: Exception) -> bool:
    """Whether it tells of too little memory, as torch and OpenVINO do in words alone."""
    if isinstance(error, RuntimeError):
        return any(words in str(error).lower() for words in _NO_MEMORY)
    return isinstance(error, MemoryError)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What the network says of a batch.

    Attributes:
        logits: float32 `(N, classes)`, not calibrated.
        features: float32 `(N, 512 + 256)`, the pooled last feature map and the texture
            (`models.network.texture_of`); `(N, 512)` where only what lies below the last block is kept.
        maps: float32 `(N, 512, h, w)`, the last feature map; None unless asked for.
    """

    logits: NDArray[np.float32]
    features: NDArray[np.float32]
    maps: NDArray[np.float32] | None = None

    def of(self, chosen: NDArray[Any]) -> "Outputs":
        """Those of some of the images, by mask or by index."""
        maps = None if self.maps is None else self.maps[chosen]
        return Outputs(logits=self.logits[chosen], features=self.features[chosen], maps=maps)


class Runtime(Protocol):
    """A network, loaded and ready on one device."""

    @property
    def name(self) -> str:
        """For people: the runtime and where it runs, "torch on cpu"."""
        ...

    @property
    def head(self) -> NDArray[np.float32]:
        """Weights of the last linear layer, float32 `(classes, 512)`: what a heatmap needs."""
        ...

    def infer(self, images: NDArray[np.uint8], *, with_maps: bool = False) -> Outputs:
        """Run uint8 grey pictures `(N, H, W)` through the network; N may be any positive number."""
        ...


class Halved(Runtime, Protocol):
    """One whose last block can be run by itself, as every runtime that serves can."""

    def infer_above(
        self, middle: NDArray[np.float32], texture: NDArray[np.float32] | None = None
    ) -> Outputs:
        """The outputs for activations float32 `(N, 512, h, w)` below the last block; N at least 1.

        For images of which only those are kept (`models.reference`).

        Args:
            texture: of the same images, float32 `(N, 256)`; for models that tell domains apart by it.

        Raises:
            ValueError: for such a model without textures.
        """
        ...
