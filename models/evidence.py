"""Held-out images of a training run: what all of a model's thresholds follow from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.novelty import (
    POOLED,
    TEXTURE,
    KnownImages,
    alike,
    distances_to_classes,
    exceeded_by,
    novelty_of,
    texture_of,
)

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Held-out images of a training run, as the runtime that serves sees them.

    Attributes:
        reference: features of fitted images, `(R, 512 + 256)`, pooled ones and texture; what is known.
            `(R, 512)` of a model from before novelty was measured on textures.
        logits: of the held-out images, `(N, classes)`.
        novelty: of the held-out images, `(N,)`.
        labels: their true classes, integers `(N,)`.
        reference_labels: classes of the reference, integers `(R,)`; None where they are not known,
            as in a model without a normal class.
        distances: of the held-out images to the nearest reference images of each class, by pooled
            features, `(N, classes)`; None with `reference_labels`.
        own: whether each held-out image is of the line that the model serves, bool `(N,)`, and not of
            the images that its first network came from; None where all come from one set.

    Raises:
        ValueError: when the arrays do not belong together, are empty, or hold what is no number
            (a threshold that is no number would let everything through).
    """

    reference: Floats
    logits: Floats
    novelty: Floats
    labels: NDArray[np.int64]
    reference_labels: NDArray[np.int64] | None = None
    distances: Floats | None = None
    own: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        images = len(self.labels)
        fits = (
            images > 0
            and self.labels.shape == self.novelty.shape == (images,)
            and self.logits.ndim == self.reference.ndim == 2
            and len(self.logits) == images
            and len(self.reference) > 0
            and 0 <= self.labels.min() <= self.labels.max() < self.logits.shape[1]
            and (self.reference_labels is None) == (self.distances is None)
            and self.reference.shape[1] <= POOLED + TEXTURE
            and self._knows_classes_of_its_own()
            and (self.distances is None or self.distances.shape == self.logits.shape)
            and (self.own is None or (self.own.dtype.kind, self.own.shape) == ("b", (images,)))
        )
        if not fits:
            raise ValueError(
                f"logits {self.logits.shape}, novelty {self.novelty.shape}, labels "
                f"{self.labels.shape} and reference {self.reference.shape} do not belong together"
            )
        for name in ("reference", "logits", "novelty", "distances"):
            values = getattr(self, name)
            if values is not None and not np.isfinite(values).all():
                raise ValueError(f"{name} holds what is no number")

    def _knows_classes_of_its_own(self) -> bool:
        """Whether the classes of the reference, if they are known, are classes of the model."""
        known = self.reference_labels
        return known is None or (
            known.dtype.kind == "i"
            and known.shape == (len(self.reference),)
            and bool(0 <= known.min() <= known.max() < self.logits.shape[1])
        )

    @property
    def is_own(self) -> NDArray[np.bool_]:
        """`own`; all of them where they come from one set."""
        return np.full(len(self.labels), fill_value=True) if self.own is None else self.own

    def novelty_limit(self, share: float) -> float:
        """The novelty that a new image of a known kind exceeds at most this often, at 95 %."""
        return exceeded_by(self.known_novelty(share), share)

    def known_novelty(self, share: float) -> Floats:
        """What that limit rests on: the novelty of held-out images, and of each fitted one against the others.

        Of the held-out ones alone where those speak against it, as they do where near-copies are among the
        fitted ones: such lie nearer to each other than a new image will. A line's labels are full of them.
        """
        fitted = self._novelty_among_fitted
        if not alike(self.novelty, fitted, share):
            return self.novelty
        return np.concatenate([self.novelty, fitted])

    @cached_property
    def _novelty_among_fitted(self) -> Floats:
        """On texture, which a network that was fitted to images sees of them as it does of others."""
        if self.reference.shape[1] <= POOLED or self.reference_labels is not None:
            return np.empty(0, np.float32)
        return KnownImages(texture_of(self.reference)).novelty_among_themselves()

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """For the model folder; the reference is rounded to fp16.

        Of one whose classes are not known only textures: nothing is measured on the pooled features.
        """
        reference = self.reference.astype(np.float16)
        name, kept = "reference", reference
        if self.reference_labels is None and reference.shape[1] > POOLED:
            name, kept = "textures", reference[:, POOLED:]
        arrays: dict[str, NDArray[np.generic]] = {
            name: np.ascontiguousarray(kept),
            "logits": self.logits,
            "novelty": self.novelty,
            "labels": self.labels,
        }
        if self.reference_labels is not None and self.distances is not None:
            arrays |= {"reference_labels": self.reference_labels, "distances": self.distances}
        if self.own is not None:
            arrays["own"] = self.own
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Evidence":
        """Raises KeyError when an array is missing, ValueError when they do not fit."""
        if "textures" in arrays:
            textures = arrays["textures"].astype(np.float32)
            reference = np.hstack([np.zeros((len(textures), POOLED), np.float32), textures])
        else:
            reference = arrays["reference"].astype(np.float32)
        return cls(
            reference=reference,
            logits=arrays["logits"].astype(np.float32),
            novelty=arrays["novelty"].astype(np.float32),
            labels=arrays["labels"].astype(np.int64),
            reference_labels=arrays.get("reference_labels"),
            distances=arrays.get("distances"),
            own=arrays.get("own"),
        )


def collect_evidence(
    *,
    fitted_features: Floats,
    features: Floats,
    logits: Floats,
    labels: NDArray[np.int64],
    fitted_labels: NDArray[np.int64] | None = None,
) -> Evidence:
    """Evidence from the features of the fitted images and the outputs for the held-out ones.

    `fitted_labels` `(R,)` where a normal class is among them: what is far from it may not pass.
    """
    # Rounded first, so that novelty is measured against what the file will hold.
    reference = fitted_features.astype(np.float16).astype(np.float32)
    distances = None
    if fitted_labels is not None:
        distances = distances_to_classes(
            features, reference, fitted_labels, classes=logits.shape[1]
        )
    return Evidence(
        reference=reference,
        logits=logits.astype(np.float32),
        novelty=novelty_of(features, reference),
        labels=labels,
        reference_labels=fitted_labels,
        distances=distances,
    )
