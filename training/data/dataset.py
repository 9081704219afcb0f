"""The images of a manifest, in memory."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.preprocessing import UnreadableError, decode
from training.data.manifest import LabelledImage, Manifest, ManifestError, Part


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One part of a manifest.

    Attributes:
        pixels: uint8 grey `(N, side, side)`.
        labels: index into the manifest's classes, int64 `(N,)`.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


def load_part(manifest: Manifest, part: Part, *, side: int) -> Dataset:
    """Decode every image of a part to a square of `side` pixels.

    Raises:
        ManifestError: if the part has no image, or one is missing or has changed since `prepare`.
    """
    images = manifest.of_part(part)
    if not images:
        raise ManifestError(
            f"the manifest has no image in its part {part.value!r}; prepare it with more images "
            "or another split"
        )
    pixels = np.empty((len(images), side, side), dtype=np.uint8)
    for index, image in enumerate(images):
        pixels[index] = read_image(manifest, image, side=side)
    number = {name: index for index, name in enumerate(manifest.classes)}
    labels = np.array([number[image.label] for image in images], dtype=np.int64)
    return Dataset(pixels=pixels, labels=labels)


def read_image(
    manifest: Manifest, image: LabelledImage, *, side: int | None = None
) -> NDArray[np.uint8]:
    """The same of one image, at its own size when no side is given."""
    path = manifest.root / image.path
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise ManifestError(f"{path} has changed since it was prepared; prepare the data again")
        return decode(data, size=side).pixels
    except (OSError, UnreadableError) as error:
        raise ManifestError(f"{path} cannot be read ({error}); prepare the data again") from error
