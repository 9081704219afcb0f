import numpy as np
import pytest

from training.crossfitting import OutOfFold

LABELS = np.array([0, 0, 1, 1], dtype=np.int64)
RIGHT = np.array([[4, 0], [3, 0], [0, 4], [1, 2]], dtype=np.float32)
GUESSED = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], dtype=np.float32)


def folds(*, joined: np.ndarray, alone: np.ndarray) -> OutOfFold:
    novelty = np.zeros(4, np.float32)
    return OutOfFold(
        logits=joined, alone=alone, novelty=novelty, distances=np.zeros((4, 2)), labels=LABELS
    )


def test_a_lines_own_network_gains_what_images_are_told_better_with_it() -> None:
    gained = folds(joined=RIGHT, alone=GUESSED).own_gains()
    assert gained > 0.2
    assert folds(joined=GUESSED, alone=RIGHT).own_gains() == pytest.approx(-gained)
    assert folds(joined=RIGHT, alone=RIGHT).own_gains() == 0.0


def test_logits_that_are_only_too_sure_are_no_loss_as_they_are_calibrated() -> None:
    assert folds(joined=10 * RIGHT, alone=RIGHT).own_gains() == pytest.approx(0.0, abs=1e-3)


def test_without_the_lines_own_the_first_network_s_logits_stand() -> None:
    assert folds(joined=RIGHT, alone=GUESSED).without_own().logits is GUESSED
