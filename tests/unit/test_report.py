from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.evaluate import Evaluation, evaluate
from training.fit import Epoch
from training.report import draw_confusion_matrix, draw_learning_curves


def epoch(number: int, select_loss: float, *, kept: bool, fit_loss: float = 0.5) -> Epoch:
    return Epoch(
        number=number,
        epochs=9,
        fit_loss=fit_loss,
        select_loss=select_loss,
        select_accuracy=0.9,
        kept=kept,
    )


def ink(path: Path) -> int:
    """How many pixels are not the paper's."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return int((np.asarray(image.convert("L")) < 250).sum())


@pytest.mark.parametrize(
    "history",
    [
        [epoch(1, 0.4, kept=True)],
        [epoch(1, 0.4, kept=True), epoch(2, 0.3, kept=True), epoch(3, 0.5, kept=False)],
        [epoch(1, 0.0, kept=True, fit_loss=0.0)],
        [epoch(1, 0.0, kept=True), epoch(2, 1e-9, kept=False)],
    ],
    ids=["one epoch", "three", "no loss left at all", "no loss left at first"],
)
def test_the_course_of_a_training_is_drawn(tmp_path: Path, history: list[Epoch]) -> None:
    draw_learning_curves(history, tmp_path / "curves.png")
    assert ink(tmp_path / "curves.png") > 1000


def evaluation(classes: int, images: int) -> Evaluation:
    random = np.random.default_rng(0)
    names = tuple(f"a class with a long name {number}" for number in range(classes))
    logits = random.normal(size=(images, classes)).astype(np.float32)
    return evaluate(logits, random.integers(classes, size=images), names)


@pytest.mark.parametrize(("classes", "images"), [(1, 3), (2, 1), (7, 500)])
def test_what_is_taken_for_what_is_drawn(tmp_path: Path, classes: int, images: int) -> None:
    draw_confusion_matrix(evaluation(classes, images), tmp_path / "confusion.png")
    assert ink(tmp_path / "confusion.png") > 1000


def test_more_classes_make_a_larger_picture(tmp_path: Path) -> None:
    widths = []
    for classes in (2, 7):
        draw_confusion_matrix(evaluation(classes, 50), tmp_path / "confusion.png")
        with Image.open(tmp_path / "confusion.png") as image:
            widths.append(image.width)
    assert widths[0] < widths[1]
