"""Every fitted image of a line judged once by a network that was not fitted to it.

With a few dozen labels of a class, none can be spared to fit thresholds to: so all of them serve.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.decision import distances_to_classes, fit_temperature, novelty_of, softmax
from models.line_network import LineNetwork
from models.network import SurfaceNetwork
from models.runtimes.protocol import Outputs
from models.runtimes.torch_runtime import TorchRuntime
from training.dataset import Dataset
from training.evaluate import run
from training.tops import Activated, TopRecipe, fit_top

FOLDS: Final = 3


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """What networks that were not fitted to these images say of them.

    Attributes:
        logits: `(N, classes)`.
        alone: the same without the line's own network, `(N, classes)`.
        novelty: `(N,)`, against what that network was fitted to.
        distances: `(N, classes)`, likewise.
    """

    logits: NDArray[np.float32]
    alone: NDArray[np.float32]
    novelty: NDArray[np.float32]
    distances: NDArray[np.float32]
    labels: NDArray[np.int64]

    def own_gains(self) -> float:
        """By how many nats an image is told better with the line's own network than without it.

        Cross-entropy, each at its own best temperature, as it would serve.
        """
        return _loss(self.alone, self.labels) - _loss(self.logits, self.labels)

    def without_own(self) -> "OutOfFold":
        return replace(self, logits=self.alone)


def _loss(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    scaled = logits / np.float32(fit_temperature(logits, labels))
    likelihoods = softmax(scaled)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(likelihoods, np.finfo(np.float32).tiny)).mean())


def _tell_nobody(_done: int, _of: int) -> None:
    pass


def crossfit(
    network: SurfaceNetwork,
    kept: Activated,
    line: Activated,
    pixels: NDArray[np.uint8],
    groups: Sequence[str],
    *,
    classes: int,
    recipe: TopRecipe,
    seed: int,
    own: Callable[[NDArray[np.bool_], int], LineNetwork | None],
    on_epoch: Callable[[int, int], None] = _tell_nobody,
) -> OutOfFold:
    """Fit as many networks as there are folds, each to the others.

    Args:
        pixels: of `line`, as a camera gives them.
        own: the line's own network, fitted to the chosen images with a seed; None without one.
        groups: a hash for each image of the line; those that share one fall into one fold.
    """
    labels = line.labels.numpy()
    fold = _folds(labels, groups)
    logits = np.empty((len(labels), classes), np.float32)
    alone = np.empty((len(labels), classes), np.float32)
    novelty = np.empty(len(labels), np.float32)
    distances = np.empty((len(labels), classes), np.float32)
    for number in range(FOLDS):
        out = fold == number
        if not out.any():
            continue
        fitted = line.of(~out)
        made = fit_top(
            network,
            kept,
            fitted,
            classes=classes,
            recipe=recipe,
            seed=seed + 1 + number,
            on_epoch=partial(_tell_of_fold, on_epoch, number),
        )
        alone[out] = _above(made, line.of(out)).logits
        made.line = own(~out, seed + 1 + number)
        runtime = TorchRuntime(made, device="cpu")
        known = torch.cat([kept.views[0], fitted.views[0]]).float().numpy()
        reference = runtime.infer_above(known).features.astype(np.float16).astype(np.float32)
        reference_labels = np.concatenate([kept.labels.numpy(), fitted.labels.numpy()])
        outputs = run(runtime, Dataset(pixels=pixels[out], labels=labels[out]))
        logits[out] = outputs.logits
        novelty[out] = novelty_of(outputs.features, reference)
        distances[out] = distances_to_classes(
            outputs.features, reference, reference_labels, classes=classes
        )
    return OutOfFold(
        logits=logits, alone=alone, novelty=novelty, distances=distances, labels=labels
    )


def _above(made: SurfaceNetwork, images: Activated) -> Outputs:
    return TorchRuntime(made, device="cpu").infer_above(images.views[0].float().numpy())


def _tell_of_fold(on_epoch: Callable[[int, int], None], number: int, done: int, of: int) -> None:
    on_epoch(number * of + done, FOLDS * of)


def _folds(labels: NDArray[np.int64], groups: Sequence[str]) -> NDArray[np.int64]:
    """A fold for each image: by turns within a class, so that none has all of a rare one."""
    chosen: dict[str, int] = {}
    for label in np.unique(labels):
        mine = sorted({groups[int(i)] for i in np.flatnonzero(labels == label)} - chosen.keys())
        chosen |= {group: (number + int(label)) % FOLDS for number, group in enumerate(mine)}
    return np.array([chosen[group] for group in groups], dtype=np.int64)
