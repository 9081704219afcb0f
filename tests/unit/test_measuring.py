from dataclasses import replace
from pathlib import Path

import numpy as np

from training.judging.label_errors import FOLDS
from training.retraining.labelled import Labelled
from training.retraining.measuring import suspects_of
from training.retraining.run_folder import Label

CLASSES = ("stain", "no_defect")


def line_of(labels: list[int]) -> Labelled:
    count = len(labels)
    return Labelled(
        classes=CLASSES,
        sources=tuple(
            Label(image_id=i, path=Path(f"{i}.jpg"), sha256="0" * 64, label=CLASSES[label])
            for i, label in enumerate(labels)
        ),
        pixels=np.zeros((count, 4, 4), np.uint8),
        labels=np.array(labels, dtype=np.int64),
        groups=("0",) * count,
        held_out=np.arange(count) % FOLDS == 0,
        skipped=(),
    )


def test_labels_that_stray_from_a_class_leave_it_in_doubt() -> None:
    """A third of the stains labelled clean, by someone in a hurry."""
    true = np.array([0] * 30 + [1] * 60)
    labels = true.copy()
    labels[:10] = 1
    probabilities = np.where(np.eye(2)[true] > 0, 0.9, 0.1)
    suspects, doubted = suspects_of(line_of(labels.tolist()), probabilities)
    assert {each.image_id for each in suspects} == set(range(10))
    assert {(each.label, each.suggested) for each in suspects} == {("no_defect", "stain")}
    assert doubted == {"stain": 10 / 30, "no_defect": 0.0}


def test_what_only_looks_more_like_another_class_is_listed_last_and_leaves_none_in_doubt() -> None:
    labels = np.array([0] * 20 + [1] * 60)
    probabilities = np.where(np.eye(2)[labels] > 0, 0.9, 0.1)
    probabilities[20:30, 0] = np.linspace(0.55, 0.95, 10)
    probabilities[20:30, 1] = 1 - probabilities[20:30, 0]
    suspects, doubted = suspects_of(line_of(labels.tolist()), probabilities)
    assert [each.image_id for each in suspects] == list(range(29, 19, -1))
    assert doubted["stain"] == 2 / 22


def test_what_surely_is_of_a_class_that_nobody_labelled_is_listed_before_what_is_hard_to_tell() -> (
    None
):
    """Scratches that somebody labelled clean, on a line whose other two classes are hard to tell."""
    classes = (*CLASSES, "scratches")
    labels = np.array([0] * 20 + [1] * 60)
    probabilities = np.tile([0.5, 0.4, 0.1], (80, 1))
    probabilities[20:] = [0.4, 0.5, 0.1]
    probabilities[:10] = [0.3, 0.6, 0.1]
    probabilities[77:] = [0.0, 0.1, 0.9]
    suspects, _ = suspects_of(replace(line_of(labels.tolist()), classes=classes), probabilities)
    assert [each.image_id for each in suspects[:3]] == [77, 78, 79]
    assert {each.image_id for each in suspects[3:]} == set(range(10))


def test_a_class_that_is_hard_to_tell_is_not_in_doubt_for_that_alone() -> None:
    labels = np.array([0] * 30 + [1] * 60)
    probabilities = np.tile([0.3, 0.7], (90, 1))
    probabilities[40:50] = [0.45, 0.55]
    suspects, doubted = suspects_of(line_of(labels.tolist()), probabilities)
    assert len(suspects) >= 10, "for a second look"
    assert doubted["stain"] == 0.0
