"""What training commands show: how far they are, and what came out."""

from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from config.text import counted, percent
from daemon.cli.options import console_of_answers, table_of_answers

if TYPE_CHECKING:
    from training.fitting.fit import Epoch
    from training.judging.evaluate import Evaluation
    from training.judging.pointing import Pointing

_LINE_EACH: Final = 1000


class Display:
    """A bar on a terminal, plain lines elsewhere; on the standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task("reading images", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()


class ImageDisplay(Display):
    """How many images are read; a plain line a thousand."""

    def show(self, done: int, of: int) -> None:
        if self._bar:
            self._bar.update(self._task, total=of, completed=done)
        elif done % _LINE_EACH == 0:
            self._console.print(f"{done} of {counted(of, 'image')} read", highlight=False)


class EpochDisplay(Display):
    """How many epochs are done; a plain line each."""

    def show(self, epoch: "Epoch", where: str = "") -> None:
        text = (
            f"{where}epoch {epoch.number}/{epoch.epochs}  loss {epoch.fit_loss:.3f}  "
            f"held out: loss {epoch.select_loss:.3f}, accuracy {percent(epoch.select_accuracy)}"
            f"{'  kept' if epoch.kept else ''}"
        )
        if self._bar:
            self._bar.update(
                self._task, description=text, total=epoch.epochs, completed=epoch.number
            )
        else:
            self._console.print(text, highlight=False)


def print_evaluation(evaluation: "Evaluation") -> None:
    low, high = evaluation.accuracy_interval
    console = console_of_answers()
    console.print(
        f"accuracy {percent(evaluation.accuracy)} of {counted(evaluation.images, 'image')} "
        f"(95 % interval {percent(low)} to {percent(high)}), "
        f"calibration error {evaluation.expected_calibration_error:.3f}",
        highlight=False,
    )
    table = table_of_answers("true class", "precision", "recall", *map(escape, evaluation.classes))
    for (name, figures), counts, called in zip(
        evaluation.classes.items(),
        evaluation.confusion,
        zip(*evaluation.confusion, strict=True),
        strict=True,
    ):
        # Of no image no share is known, though it is kept as 0.
        precision = f"{figures.precision:.3f}" if any(called) else "-"
        recall = f"{figures.recall:.3f}" if figures.images else "-"
        table.add_row(escape(name), precision, recall, *map(str, counts))
    console.print(table)


def print_corruptions(accuracies: dict[str, list[float]]) -> None:
    table = table_of_answers("accuracy on spoilt images", "slightly", "clearly", "badly")
    for kind, by_severity in accuracies.items():
        table.add_row(kind, *(percent(accuracy) for accuracy in by_severity))
    every = [accuracy for by_severity in accuracies.values() for accuracy in by_severity]
    console = console_of_answers()
    console.print(table)
    console.print(f"mean over all of them: {percent(sum(every) / len(every))}", highlight=False)


def print_pointing(pointing: "Pointing") -> None:
    table = table_of_answers(
        "heatmap's peak in or near a box", "images", "near", "chance", "heat in boxes"
    )
    for name, of in {**pointing.classes, "mean over classes": pointing.mean}.items():
        count = str(pointing.images[name]) if name in pointing.images else ""
        shares = (percent(share, 1) for share in (of.near, of.chance_near, of.heat))
        table.add_row(escape(name), count, *shares)
    console_of_answers().print(table)
