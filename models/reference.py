"""What a model keeps of the images that it came from, so that a retraining forgets nothing.

Not the images, which may not ship: their activations halfway up the last stage of the network
(`SurfaceNetwork.middle_and_texture`), below which a retraining leaves everything as it is. Six bits a value, and
compressed: 8 kB an image, where the picture has 40. On the shipped model no class of 133 held-out
pictures changes by it, and the pooled features by 0.3 % of their length.
"""

import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from models.checkpoint import REFERENCE, CheckpointError, Metadata, load_arrays

_STEPS: Final = 63


class Use(IntEnum):
    """What an image may be used for, for good."""

    FIT = 0
    """Trained on."""
    EVIDENCE = 1
    """Thresholds and calibration rest on it, never the weights."""
    GATE = 2
    """No run trains on it or fits anything to it: two models are compared on it."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Activations of images of known classes.

    Attributes:
        packed: the lzma stream of uint8 `shape`, channels first: `(channels, N, h, w)`.
        scale: what 63 stands for, by channel, float32 `(channels,)`.
        labels: class indices of the model that keeps them, `(N,)`; a candidate's classes begin with
            those of the model that it comes from, so they stay true.
        uses: `Use`, `(N,)`.
        textures: of the same images, float16 `(N, 256)`; None from before novelty was measured on
            them.
    """

    packed: bytes
    shape: tuple[int, int, int, int]
    scale: NDArray[np.float32]
    labels: NDArray[np.int64]
    uses: NDArray[np.int64]
    textures: NDArray[np.float16] | None = None

    @classmethod
    def of(
        cls,
        maps: NDArray[np.float32],
        labels: NDArray[np.int64],
        uses: NDArray[np.int64],
        textures: NDArray[np.float32] | None = None,
    ) -> "Reference":
        """Keep activations `(N, channels, h, w)`, none below 0."""
        scale = np.maximum(maps.max(axis=(0, 2, 3)), 1e-6).astype(np.float32)
        steps = np.rint(maps / scale[:, None, None] * _STEPS).astype(np.uint8)
        by_channel = np.ascontiguousarray(
            steps.transpose(1, 0, 2, 3)
        )  # alike together: a quarter less
        channels, count, height, width = by_channel.shape
        return cls(
            packed=lzma.compress(by_channel.tobytes(), preset=6),
            shape=(channels, count, height, width),
            scale=scale,
            labels=labels.astype(np.int64),
            uses=uses.astype(np.int64),
            textures=None if textures is None else textures.astype(np.float16),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def maps(self, use: Use) -> NDArray[np.float32]:
        """The activations of the images of one use, `(n, channels, h, w)`."""
        chosen = self._steps.transpose(1, 0, 2, 3)[self.uses == use]
        values: NDArray[np.float32] = chosen.astype(np.float32)
        values *= (self.scale / _STEPS)[:, None, None]
        return np.ascontiguousarray(values)

    @cached_property
    def _steps(self) -> NDArray[np.uint8]:
        return np.frombuffer(lzma.decompress(self.packed), np.uint8).reshape(self.shape)

    def labels_of(self, use: Use) -> NDArray[np.int64]:
        chosen: NDArray[np.int64] = self.labels[self.uses == use]
        return chosen

    def textures_of(self, use: Use) -> NDArray[np.float32] | None:
        """Of the images of one use, `(n, 256)`."""
        return None if self.textures is None else self.textures[self.uses == use].astype(np.float32)

    def features_of(self, use: Use, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features of the images of one use: pooled ones `(n, 512)`, and their textures if kept."""
        textures = self.textures_of(use)
        return pooled if textures is None else np.concatenate([pooled, textures], axis=1)

    def to_bytes(self) -> bytes:
        """As the file in a model folder."""
        arrays: dict[str, NDArray[Any]] = {
            "packed": np.frombuffer(self.packed, np.uint8),
            "shape": np.array(self.shape, np.int64),
            "scale": self.scale,
            "labels": self.labels,
            "uses": self.uses,
        }
        if self.textures is not None:
            arrays["textures"] = self.textures
        return safetensors.numpy.save(arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Reference":
        """Raises KeyError or ValueError for arrays that do not belong together."""
        channels, count, height, width = (int(side) for side in arrays["shape"])
        labels, uses = arrays["labels"], arrays["uses"]
        textures = arrays.get("textures")
        if textures is not None and len(textures) != count:
            raise ValueError("its textures are of other images")
        if not len(labels) == len(uses) == count or arrays["scale"].shape != (channels,):
            raise ValueError("its arrays do not belong together")
        return cls(
            packed=arrays["packed"].tobytes(),
            shape=(channels, count, height, width),
            scale=arrays["scale"],
            labels=labels,
            uses=uses,
            textures=textures,
        )


def read_reference(folder: Path, metadata: Metadata) -> Reference | None:
    """What a model folder keeps; None for a model that keeps nothing.

    Raises:
        CheckpointError: if it is missing, altered or cannot be read.
    """
    if not metadata.reference_sha256:
        return None
    path = folder / REFERENCE
    arrays = load_arrays(path, metadata.reference_sha256)
    try:
        return Reference.from_arrays(arrays)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); restore it or retrain") from error
