"""The pictures of a training run: how it went and what it confuses."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from training.evaluate import Evaluation
from training.fit import Epoch

_LEAST_LOSS = 1e-6
"""A logarithmic axis has no 0, and a small training set can be learned until no loss is left."""


def draw_learning_curves(history: Sequence[Epoch], path: Path) -> None:
    """Losses and held-out accuracy by epoch, the kept epoch marked, as PNG."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    numbers = [epoch.number for epoch in history]
    losses.plot(
        numbers, [max(epoch.fit_loss, _LEAST_LOSS) for epoch in history], label="fit (augmented)"
    )
    losses.plot(numbers, [max(epoch.select_loss, _LEAST_LOSS) for epoch in history], label="select")
    losses.set(xlabel="epoch", ylabel="cross-entropy, nats", yscale="log")
    accuracy.plot(numbers, [epoch.select_accuracy for epoch in history], label="select")
    accuracy.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.01))
    kept = max(epoch.number for epoch in history if epoch.kept)
    for axes in (losses, accuracy):
        axes.axvline(kept, color="grey", linestyle=":", label=f"kept: epoch {kept}")
        axes.legend()
    figure.savefig(path, dpi=120)


def draw_confusion_matrix(evaluation: Evaluation, path: Path) -> None:
    """Counts of true against predicted class, as PNG."""
    names = list(evaluation.classes)
    side = 2 + 0.8 * len(names)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(evaluation.confusion, cmap="Blues")
    axes.set(
        xlabel="predicted",
        ylabel="true",
        title=f"{evaluation.accuracy:.2%} of {evaluation.images} test images",
    )
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    most = max(max(row) for row in evaluation.confusion)
    for row, counts in enumerate(evaluation.confusion):
        for column, count in enumerate(counts):
            colour = "white" if count > most / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.savefig(path, dpi=120)
