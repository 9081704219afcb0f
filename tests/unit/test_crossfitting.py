import numpy as np
import pytest
import torch

from models.line_network import LineNetwork
from models.network import SurfaceNetwork
from training.retraining.crossfitting import OutOfFold, crossfit, joined_at_its_temperature
from training.retraining.heads import HeadRecipe, Pooled

LABELS = np.array([0, 0, 1, 1], dtype=np.int64)
RIGHT = np.array([[4, 0], [3, 0], [0, 4], [1, 2]], dtype=np.float32)
GUESSED = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], dtype=np.float32)


def folds(*, joined: np.ndarray, alone: np.ndarray) -> OutOfFold:
    novelty = np.zeros(4, np.float32)
    return OutOfFold(
        logits=joined,
        alone=alone,
        halved=GUESSED,
        novelty=novelty,
        distances=np.zeros((4, 2)),
        labels=LABELS,
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


def test_what_twice_as_many_labels_brought_is_told_by_class() -> None:
    random = torch.Generator().manual_seed(1)
    kept = Pooled(
        views=torch.rand((1, 40, 512), generator=random) + 9,
        labels=torch.zeros(40, dtype=torch.int64),
    )
    labels = torch.tensor([1, 2]).repeat_interleave(60)
    views = torch.randn((1, 120, 512), generator=random)
    views[0, :, 0] += 3.0 * (labels == 2)
    folds = crossfit(
        SurfaceNetwork(1),
        kept,
        Pooled(views=views, labels=labels),
        np.zeros((120, 8, 8), np.uint8),
        [str(number // 2) for number in range(120)],
        classes=3,
        recipe=HeadRecipe(views=0),
        seed=1,
        own=lambda _, __: None,
    )
    learning = folds.learning(("crazing", "clean", "scratches"))
    assert {name: each.images for name, each in learning.items()} == {"clean": 60, "scratches": 60}
    for each in learning.values():
        assert 30 < each.right_by_half < each.right < 60


def test_a_lines_own_network_is_cooled_to_how_often_it_is_right() -> None:
    own = LineNetwork.for_classes(
        4, np.array([2, 3]), first_side=16, alone=np.array([2, 3]), clean=np.array([3])
    ).eval()
    labels = np.array([2, 2, 2, 3, 3, 3], dtype=np.int64)
    alone = np.tile(np.float32([-5, -5, 4, 4]), (6, 1))
    # Certain each time, and wrong of one in three.
    said = np.float32([[40, 0], [40, 0], [0, 40], [0, 40], [0, 40], [40, 0]])
    joined, temperature = joined_at_its_temperature(own, alone, said, labels)
    sure = np.exp(joined - np.logaddexp.reduce(joined, axis=1, keepdims=True)).max(axis=1)
    assert temperature == pytest.approx(20, rel=0.01), "the highest that is looked for"
    assert sure == pytest.approx(1 / (1 + np.exp(-2)), abs=0.01)
    own.linear.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    own.linear.bias.data.fill_(3.0)
    images = 255 * torch.rand((2, 16, 16), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before = own(images)
        own.cool(temperature)
        assert own(images).numpy() == pytest.approx(before.numpy() / temperature, rel=1e-4)
