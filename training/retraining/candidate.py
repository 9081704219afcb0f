"""What a run fits to a line's labels: the candidate, and what the folds and the whole say of the images."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.evidence import Evidence, collect_evidence
from models.line_network import LineNetwork
from models.network import SurfaceNetwork, half_precision
from models.pictures import shrunk
from models.reference import Reference, Use
from models.runtimes.protocol import Halved, Outputs
from training.data.dataset import Dataset
from training.judging.evaluate import run
from training.model_folder.references import features_kept, judge_kept
from training.retraining.crossfitting import FOLDS, OutOfFold, crossfit
from training.retraining.frozen import frozen
from training.retraining.heads import (
    HeadRecipe,
    Pooled,
    fit_head,
    judged,
    pool_kept,
    pool_line,
)
from training.retraining.labelled import Labelled
from training.retraining.line_fitting import LineRecipe, Question, fit_line, mean_of, own_logits
from training.retraining.run_folder import Run, telling

_CHECKED: Final = 300
"""Images of the line that both forms of the candidate judge."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The images of a run, by what they are used for.

    Attributes:
        side: of the pictures that the candidate wants, in pixels.
        known: features of the first images, by use.
        trained: what the candidate says of the line's images, as it was trained.
    """

    line: Labelled
    side: int
    reference: Reference
    known: Mapping[Use, NDArray[np.float32]]
    folds: OutOfFold
    trained: Outputs

    @property
    def fitted(self) -> Dataset:
        return self.of_line(~self.line.held_out)

    @property
    def checked(self) -> NDArray[np.intp]:
        """Which of the line's images parity is judged by: held-out ones first, as many as are enough."""
        return np.argsort(~self.line.held_out, kind="stable")[:_CHECKED]

    def of_line(self, chosen: NDArray[Any]) -> Dataset:
        return Dataset(pixels=self.line.pixels[self.side][chosen], labels=self.line.labels[chosen])

    def evidence_by(self, runtime: Halved) -> Evidence:
        known = judge_kept(runtime, self.reference, Use.FIT).features
        held_out = judge_kept(runtime, self.reference, Use.EVIDENCE)
        return self._evidence(known, held_out, run(runtime, self.fitted).features)

    def evidence_as_trained(self, made: SurfaceNetwork) -> Evidence:
        held_out = judged(made, self.known[Use.EVIDENCE])
        seen = self.trained.features[~self.line.held_out]
        return self._evidence(self.known[Use.FIT], held_out, seen)

    def _evidence(
        self, known: NDArray[np.float32], held_out: Outputs, seen: NDArray[np.float32]
    ) -> Evidence:
        """What thresholds follow from: held-out images of the first set, and the line's by folds.

        The line's own held-out images are left out: the gate judges the thresholds by them.

        Args:
            known: features of the fitted images of the first set.
            seen: of the line's.
        """
        # Cut to what is kept of the first images, which is no texture in older models.
        features = np.concatenate([known, seen[:, : known.shape[1]]])
        fitted = self.line.labels[~self.line.held_out]
        labels = np.concatenate([self.reference.labels_of(Use.FIT), fitted])
        evidence = collect_evidence(
            fitted_features=features,
            features=held_out.features,
            logits=held_out.logits,
            labels=self.reference.labels_of(Use.EVIDENCE),
            fitted_labels=labels,
        )
        if evidence.distances is None:
            raise RuntimeError("evidence with the labels of its reference has no distances")
        return replace(
            evidence,
            logits=np.concatenate([evidence.logits, self.folds.logits]),
            novelty=np.concatenate([evidence.novelty, self.folds.novelty]),
            distances=np.concatenate([evidence.distances, self.folds.distances]),
            labels=np.concatenate([evidence.labels, self.folds.labels]),
            own=np.repeat([False, True], [len(evidence.labels), len(self.folds.labels)]),
        )


def fit_candidate(
    asked: Run,
    network: SurfaceNetwork,
    line: Labelled,
    reference: Reference,
    question: Question | None,
    *,
    first_side: int,
    recipe: HeadRecipe,
    line_recipe: LineRecipe,
) -> tuple[SurfaceNetwork, Parts]:
    """A network that knows the line's labels as well, with one of the line's own where that gains something.

    Args:
        network: to start from.
        question: for the line's own network; None without one.
        first_side: of the pictures that `network` sees, without one of a line's own.
    """
    own_side = line_recipe.side_above(first_side)
    pixels = line.pixels[first_side if question is None else own_side]
    own = _Own(
        asked=asked,
        pixels=pixels[~line.held_out],
        labels=line.labels[~line.held_out],
        question=question,
        first_side=first_side,
        recipe=line_recipe,
    )
    # As the candidate will see them: a line's own network wants larger ones, of which it makes the first's.
    small = shrunk(torch.from_numpy(pixels), first_side).to(torch.uint8).numpy()
    known, seen, kept, images = _looked_at(asked, network, line, reference, small, recipe)
    made = fit_head(network, kept, images, classes=len(line.classes), recipe=recipe)
    folds = crossfit(
        network,
        kept,
        images,
        own.pixels,
        [group for group, out in zip(line.groups, line.held_out, strict=True) if not out],
        classes=len(line.classes),
        recipe=recipe,
        seed=asked.seed,
        own=own.fit,
        on_fold=telling(asked.folder, "cross-validating"),
    )
    made.line = own.mean(folds)
    if question is not None and made.line is None:
        # Once more, with the pictures that it is then served with.
        return fit_candidate(
            asked,
            network,
            line,
            reference,
            None,
            first_side=first_side,
            recipe=recipe,
            line_recipe=line_recipe,
        )
    said = None if made.line is None else own_logits(made.line, pixels)
    return made, Parts(
        line=line,
        side=pixels.shape[-1],
        reference=reference,
        known=known,
        folds=folds,
        trained=judged(made, seen, said),
    )


def _looked_at(
    asked: Run,
    network: SurfaceNetwork,
    line: Labelled,
    reference: Reference,
    small: NDArray[np.uint8],
    recipe: HeadRecipe,
) -> tuple[dict[Use, NDArray[np.float32]], NDArray[np.float32], Pooled, Pooled]:
    """What lies below the head sees all images once, pictures of the line as large as `network` sees them.

    Returns:
        The features of the first images by use, those of all images of the line, and what the head is
        fitted to: of the first images, and of the line's that are not held out.
    """
    below = frozen(network, small)
    known = {use: features_kept(below, reference, use) for use in Use}
    seen = run(below, Dataset(pixels=small, labels=line.labels)).features
    fitted = ~line.held_out
    images = pool_line(
        below,
        small[fitted],
        seen[fitted],
        line.labels[fitted],
        recipe=recipe,
        seed=asked.seed,
        on_batch=telling(asked.folder, "looking"),
    )
    return known, seen, pool_kept(reference, known[Use.FIT]), images


@dataclass(kw_only=True)
class _Own:
    """Fits networks of the line's own: one for each fold, and at last one to all images.

    Attributes:
        fitted: those.
    """

    asked: Run
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    question: Question | None
    first_side: int
    recipe: LineRecipe
    fitted: list[LineNetwork] = field(default_factory=list)

    def fit(self, chosen: NDArray[np.bool_], seed: int) -> LineNetwork | None:
        """One that is fitted to some of the images; None where they do not call for one."""
        # All defects of a line that near-copies tie together fall into one fold: the fit lacks them.
        if self.question is None or not self.question.has_both(self.labels[chosen]):
            return None
        tell, before = telling(self.asked.folder, "fitting the line's own"), len(self.fitted)
        made = fit_line(
            self.pixels[chosen],
            self.labels[chosen],
            self.question,
            first_side=self.first_side,
            recipe=self.recipe,
            seed=seed,
            # All told as one piece of work.
            on_step=lambda done, of: tell(before * of + done, (FOLDS + 1) * of),
        )
        self.fitted.append(made)
        return made

    def mean(self, folds: OutOfFold) -> LineNetwork | None:
        """That of all of them, as sure as it is right; None where the folds' networks gained too little."""
        if folds.own_gains() <= self.recipe.must_gain:
            return None
        if self.fit(np.ones(len(self.labels), dtype=np.bool_), self.asked.seed) is None:
            return None
        made = mean_of(self.fitted)
        made.cool(folds.own_temperature)
        half_precision(made)
        return made
