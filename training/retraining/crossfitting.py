"""Every fitted image of a line judged once by a network that was not fitted to it.

With a few dozen labels of a class, none can be spared to fit thresholds to: so all of them serve.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.calibration import fit_temperature, softmax
from models.figures import ClassLearning
from models.line_network import LineNetwork
from models.network import SurfaceNetwork
from models.novelty import distances_to_classes, novelty_of
from training.retraining.heads import HeadRecipe, Pooled, fit_head
from training.retraining.line_fitting import own_logits

FOLDS: Final = 3


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """What networks that were not fitted to these images say of them.

    Attributes:
        logits: `(N, classes)`, with the line's own network at `own_temperature`.
        alone: the same without it, `(N, classes)`.
        halved: as `alone`, by networks that were fitted to half as many of them, `(N, classes)`.
        novelty: `(N,)`, against what that network was fitted to.
        distances: `(N, classes)`, likewise.
        own_temperature: at which the line's own network is as sure as it is right: fitted to a few
            dozen images, it is far surer.
    """

    logits: NDArray[np.float32]
    alone: NDArray[np.float32]
    halved: NDArray[np.float32]
    novelty: NDArray[np.float32]
    distances: NDArray[np.float32]
    labels: NDArray[np.int64]
    own_temperature: float = 1.0

    def own_gains(self) -> float:
        """By how many nats an image is told better with the line's own network than without it.

        Cross-entropy, each at its own best temperature, as it would serve.
        """
        return _loss(self.alone, self.labels) - _loss(self.logits, self.labels)

    def learning(self, classes: Sequence[str]) -> dict[str, ClassLearning]:
        """What twice as many labels brought, for each class that has some."""
        whole, half = (logits.argmax(axis=1) == self.labels for logits in (self.alone, self.halved))
        of_class = {classes[index]: self.labels == index for index in np.unique(self.labels)}
        return {
            name: ClassLearning(
                images=int(mine.sum()),
                right=int(whole[mine].sum()),
                right_by_half=int(half[mine].sum()),
            )
            for name, mine in of_class.items()
        }

    def without_own(self) -> "OutOfFold":
        return replace(self, logits=self.alone)


def _loss(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    scaled = logits / np.float32(fit_temperature(logits, labels))
    likelihoods = softmax(scaled)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(likelihoods, np.finfo(np.float32).tiny)).mean())


def crossfit(
    network: SurfaceNetwork,
    kept: Pooled,
    line: Pooled,
    pixels: NDArray[np.uint8],
    groups: Sequence[str],
    *,
    classes: int,
    recipe: HeadRecipe,
    seed: int,
    own: Callable[[NDArray[np.bool_], int], LineNetwork | None],
    on_fold: Callable[[int, int], None] = lambda _, __: None,
) -> OutOfFold:
    """Fit as many networks as there are folds, each to the others.

    Args:
        pixels: of `line`, as `own` sees them.
        own: the line's own network, fitted to the chosen images with a seed; None without one. If
            one fold has none, no fold's is asked.
        groups: a hash for each image of the line; those that share one fall into one fold.
    """
    labels = line.labels.numpy()
    ranks = _ranks(labels, groups)
    fold, half = ranks % FOLDS, ranks // FOLDS % 2 == 0
    alone, halved = (np.empty((len(labels), classes), np.float32) for _ in range(2))
    novelty = np.empty(len(labels), np.float32)
    distances = np.empty((len(labels), classes), np.float32)
    lines = _Lines(pixels=pixels, labels=labels)
    for number in range(FOLDS):
        out = fold == number
        if not out.any():
            continue
        fitted = line.of(~out)
        made = fit_head(network, kept, fitted, classes=classes, recipe=recipe)
        held = line.of(out)
        fewer = fit_head(network, kept, line.of(~out & half), classes=classes, recipe=recipe)
        with torch.inference_mode():
            alone[out] = made.head(held.views[0], held.textures).numpy()
            halved[out] = fewer.head(held.views[0], held.textures).numpy()
        features = _features(held, textured=kept.textures is not None)
        known = _one_view(kept, fitted)
        reference = _features(known, textured=kept.textures is not None)
        reference = reference.astype(np.float16).astype(np.float32)
        novelty[out] = novelty_of(features, reference)
        distances[out] = distances_to_classes(
            features, reference, known.labels.numpy(), classes=classes
        )
        lines.ask(own(~out, seed + 1 + number), out)
        on_fold(number + 1, FOLDS)
    logits, temperature = lines.join(alone)
    return OutOfFold(
        logits=logits,
        alone=alone,
        halved=halved,
        novelty=novelty,
        distances=distances,
        labels=labels,
        own_temperature=temperature,
    )


@dataclass(kw_only=True)
class _Lines:
    """What the folds' own networks of the line say, each of the images that it was not fitted to."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    last: LineNetwork | None = None
    said: NDArray[np.float32] | None = None
    lacking: bool = False

    def ask(self, own: LineNetwork | None, out: NDArray[np.bool_]) -> None:
        self.lacking |= own is None
        if own is None:
            return
        if self.said is None:
            self.said = np.empty((len(self.labels), own.linear.out_features), np.float32)
        self.said[out] = own_logits(own, self.pixels[out])
        self.last = own

    def join(self, alone: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """With the logits `(N, classes)` of the networks without them; and at which temperature."""
        if self.lacking or self.last is None or self.said is None:
            return alone, 1.0
        return joined_at_its_temperature(self.last, alone, self.said, self.labels)


def joined_at_its_temperature(
    own: LineNetwork,
    alone: NDArray[np.float32],
    said: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> tuple[NDArray[np.float32], float]:
    """Logits with a line's own network at the temperature that fits it; and that temperature.

    The two networks need one each: the first is fitted to many images of its own, and is about as
    sure as it is right, long before the line's own is.

    Args:
        own: any that was fitted to the same question; it says only which classes are meant.
        alone: logits of the first networks, `(N, classes)`.
        said: of the line's own, `(N, own classes)`, of images that they were not fitted to.
        labels: among the classes of the model, `(N,)`.
    """
    temperature = fit_temperature(said, own.place.numpy()[labels])
    cooled = torch.from_numpy(said / np.float32(temperature))
    joined: NDArray[np.float32] = own.join(torch.from_numpy(alone), cooled).numpy()
    return joined, temperature


def _one_view(*parts: Pooled) -> Pooled:
    """The images themselves, without their augmented copies."""
    return Pooled(
        views=torch.cat([part.views[0] for part in parts]).unsqueeze(0),
        labels=torch.cat([part.labels for part in parts]),
        textures=None
        if any(part.textures is None for part in parts)
        else torch.cat([part.textures for part in parts if part.textures is not None]),
    )


def _features(images: Pooled, *, textured: bool) -> NDArray[np.float32]:
    """Pooled ones and textures, if those of all that a model comes from are kept."""
    pooled: NDArray[np.float32] = images.views[0].numpy()
    if not textured or images.textures is None:
        return pooled
    return np.concatenate([pooled, images.textures.numpy()], axis=1)


def _ranks(labels: NDArray[np.int64], groups: Sequence[str]) -> NDArray[np.int64]:
    """A number for each image, by turns within a class, so that no fold or half has all of a rare one."""
    chosen: dict[str, int] = {}
    for label in np.unique(labels):
        mine = sorted({groups[int(i)] for i in np.flatnonzero(labels == label)} - chosen.keys())
        chosen |= {group: number + int(label) for number, group in enumerate(mine)}
    return np.array([chosen[group] for group in groups], dtype=np.int64)
