import math

import numpy as np
import pytest
from numpy.typing import NDArray

from models.binomial import interval
from models.runtimes.protocol import Outputs
from training.data.dataset import Dataset
from training.judging.evaluate import Evaluation, Rate, error_by_chance, evaluate, reliability, run

CLASSES = ("crazing", "patches", "scratches")


def logits_of(probabilities: list[list[float]]) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = np.log(np.array(probabilities)).astype(np.float32)
    return logits


@pytest.fixture
def small() -> Evaluation:
    """Five images: two crazing (one taken for patches), two patches, one scratches (missed)."""
    logits = logits_of(
        [
            [0.8, 0.1, 0.1],
            [0.3, 0.6, 0.1],
            [0.1, 0.8, 0.1],
            [0.2, 0.7, 0.1],
            [0.5, 0.3, 0.2],
        ]
    )
    return evaluate(logits, np.array([0, 0, 1, 1, 2]), CLASSES)


def test_the_figures_of_a_small_case_are_those_by_hand(small: Evaluation) -> None:
    assert small.images == 5
    assert small.accuracy == pytest.approx(3 / 5)
    assert small.confusion == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert small.mistakes == [1, 4]
    figures = {name: (f.precision, f.recall, f.images) for name, f in small.classes.items()}
    assert figures == {
        "crazing": (pytest.approx(1 / 2), pytest.approx(1 / 2), 2),
        "patches": (pytest.approx(2 / 3), pytest.approx(1.0), 2),
        "scratches": (0.0, 0.0, 1),
    }
    likelihoods = (0.8, 0.3, 0.8, 0.7, 0.2)
    expected = -sum(math.log(p) for p in likelihoods) / 5
    assert small.cross_entropy == pytest.approx(expected, abs=1e-6)


def test_the_calibration_error_of_a_small_case_is_that_by_hand(small: Evaluation) -> None:
    """Bins are fifteenths: 0.5 in the 8th, 0.6 in the 10th, 0.7 in the 11th, twice 0.8 in the 13th."""
    gaps = [1 * abs(0.5 - 0), 1 * abs(0.6 - 0), 1 * abs(0.7 - 1), 2 * abs(0.8 - 1)]
    assert small.expected_calibration_error == pytest.approx(sum(gaps) / 5, abs=1e-6)


def test_images_of_one_bin_are_weighed_together() -> None:
    logits = logits_of([[0.81, 0.19], [0.85, 0.15], [0.83, 0.17], [0.83, 0.17]])
    evaluation = evaluate(logits, np.array([0, 0, 0, 1]), ("a", "b"))
    assert evaluation.expected_calibration_error == pytest.approx(abs(0.83 - 0.75), abs=1e-6)


@pytest.mark.parametrize("sure", [0.55, 0.8, 0.95])
def test_a_model_that_is_as_sure_as_it_is_right_has_no_calibration_error(sure: float) -> None:
    right = round(100 * sure)
    labels = np.array([0] * right + [1] * (100 - right))
    logits = logits_of([[sure, 1 - sure]] * 100)
    evaluation = evaluate(logits, labels, ("a", "b"))
    assert evaluation.expected_calibration_error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("correct", [0, 1, 17, 20])
def test_the_accuracy_lies_in_its_interval(correct: int) -> None:
    logits = logits_of([[0.9, 0.1]] * 20)
    labels = np.array([0] * correct + [1] * (20 - correct))
    evaluation = evaluate(logits, labels, ("a", "b"))
    lower, upper = evaluation.accuracy_interval
    assert lower <= evaluation.accuracy == correct / 20 <= upper
    assert (lower, upper) == interval(correct, 20)
    assert upper - lower < 0.5


def test_temperature_changes_what_is_confident_and_not_what_is_chosen() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (50, 3)).astype(np.float32)
    labels = random.integers(3, size=50)
    cold, warm = (evaluate(logits, labels, CLASSES, temperature=t) for t in (1.0, 3.0))
    assert warm.confusion == cold.confusion
    assert warm.cross_entropy < cold.cross_entropy
    assert warm.expected_calibration_error < cold.expected_calibration_error


def test_a_certain_mistake_costs_much_and_not_infinity() -> None:
    evaluation = evaluate(np.array([[1000, -1000]], np.float32), np.array([1]), ("a", "b"))
    assert 20 < evaluation.cross_entropy < 100


def test_a_rate_of_nothing_is_not_known() -> None:
    nothing = Rate.measured(0, 0)
    assert (nothing.share, nothing.interval) == (0.0, (0.0, 1.0))
    some = Rate.measured(3, 4)
    assert (some.share, some.interval) == (0.75, interval(3, 4))


def test_images_are_told_by_how_sure_the_network_was_of_them() -> None:
    confidence = np.array([0.5, 0.52, 0.99, 1.0], dtype=np.float32)
    bins = reliability(confidence, np.array([True, False, True, True]))
    assert len(bins) == 15
    filled = {index: each for index, each in enumerate(bins) if each.images}
    assert {index: each.images for index, each in filled.items()} == {7: 2, 14: 2}
    assert filled[7].confidence == pytest.approx(0.51)
    assert filled[7].accuracy == 0.5
    assert filled[14].accuracy == 1.0
    assert (bins[14].low, bins[14].high) == (pytest.approx(14 / 15), 1.0)


class Ruler:
    """A runtime whose answer is the first pixel of each picture."""

    name = "ruler"
    head = np.zeros((1, 1), dtype=np.float32)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def infer(self, images: NDArray[np.uint8], *, with_maps: bool = False) -> Outputs:
        assert not with_maps
        self.batches.append(len(images))
        first = images[:, 0, :1].astype(np.float32)
        return Outputs(logits=first, features=-first)


@pytest.mark.parametrize(
    ("images", "batches"), [(1, [1]), (32, [32]), (33, [32, 1]), (70, [32, 32, 6])]
)
def test_a_part_is_judged_batch_by_batch_and_in_order(images: int, batches: list[int]) -> None:
    pixels = np.zeros((images, 4, 4), dtype=np.uint8)
    pixels[:, 0, 0] = np.arange(images)
    ruler = Ruler()
    outputs = run(ruler, Dataset(pixels=pixels, labels=np.zeros(images, dtype=np.int64)))
    assert ruler.batches == batches
    assert outputs.logits.ravel().tolist() == list(range(images))
    assert outputs.features.ravel().tolist() == [-number for number in range(images)]


@pytest.mark.parametrize("images", [30, 300])
def test_true_confidences_exceed_what_chance_may_come_to_once_in_twenty(images: int) -> None:
    random = np.random.default_rng(7)
    confidence = random.uniform(0.5, 1.0, images).astype(np.float32)
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1))
    chance = error_by_chance(confidence)
    exceeded = 0
    for _ in range(400):
        labels = (random.random(images) > confidence).astype(np.int64)
        exceeded += evaluate(logits, labels, ("a", "b")).expected_calibration_error > chance
    assert 400 * 0.02 < exceeded < 400 * 0.09


def test_what_chance_may_come_to_shrinks_with_more_images() -> None:
    sure = np.full(900, 0.8, np.float32)
    few, many = error_by_chance(sure[:36]), error_by_chance(sure)
    assert few == pytest.approx(5 * many, rel=0.2)
