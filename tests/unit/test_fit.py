import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from fits import CONSTANT, CPU, SURFACES, TINY, drawn, train, upper_halves
from torch.nn import functional
from torchvision.models import resnet18

from models.calibration import fit_temperature, softmax
from models.network import load_network, stored_weights
from models.runtimes.torch_runtime import TorchRuntime
from training.data.dataset import Dataset
from training.fitting.box_teaching import logits_and_places
from training.fitting.fit import Epoch, FitError, Fitted
from training.judging.evaluate import run


@pytest.fixture(scope="module")
def fit_part() -> Dataset:
    return drawn(range(8), side=56)


@pytest.fixture(scope="module")
def select_part() -> Dataset:
    return drawn(range(100, 104))


def calibrated_loss(fitted: Fitted, part: Dataset) -> float:
    """Cross-entropy on a part at its best temperature, as the network would serve."""
    logits = run(TorchRuntime(fitted.network, device="cpu"), part).logits
    temperature = fit_temperature(logits, part.labels)
    likelihoods = softmax(logits / temperature)[np.arange(len(part)), part.labels]
    return float(-np.log(likelihoods).mean())


@pytest.fixture(scope="module")
def few() -> Dataset:
    """One image more than a batch."""
    return drawn(range(3))


@pytest.fixture(scope="module")
def told() -> list[Epoch]:
    """The epochs that were told while `fitted` was trained."""
    return []


@pytest.fixture(scope="module")
def fitted(fit_part: Dataset, select_part: Dataset, told: list[Epoch]) -> Fitted:
    return train(fit_part, select_part, seen=told)


def test_training_lowers_the_loss(fit_part: Dataset, select_part: Dataset) -> None:
    steady = replace(CONSTANT, epochs=8, learning_rate=3e-4)
    last = train(fit_part, select_part, steady).history[-3:]
    # Seeds and processors give 0.48 to 0.55 here; a network that guesses has ln 3 = 1.10.
    assert fmean(epoch.fit_loss for epoch in last) < 0.75 * math.log(len(SURFACES))


def test_the_same_seed_trains_the_same_network_and_another_does_not(
    few: Dataset, select_part: Dataset
) -> None:
    short = replace(TINY, epochs=1)
    first, again, other = (
        stored_weights(train(few, select_part, short, seed=seed).network) for seed in (3, 3, 4)
    )
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(first["backbone.fc.weight"], other["backbone.fc.weight"])


def test_every_epoch_is_told(fitted: Fitted, told: list[Epoch]) -> None:
    assert tuple(told) == fitted.history
    assert [(epoch.number, epoch.epochs) for epoch in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_last_epoch_is_kept_when_the_learning_rate_falls_to_nothing(
    fitted: Fitted, select_part: Dataset
) -> None:
    assert [epoch.kept for epoch in fitted.history] == [False, False, False, True]
    last = fitted.history[-1].select_loss
    assert calibrated_loss(fitted, select_part) == pytest.approx(last, rel=0.02)


def test_else_the_epoch_with_the_least_loss_on_the_select_part_is_kept(
    fit_part: Dataset, select_part: Dataset
) -> None:
    result = train(fit_part, select_part, replace(CONSTANT, ema_decay=0.5))
    losses = [epoch.select_loss for epoch in result.history]
    best_so_far = [loss < min(losses[:n], default=np.inf) for n, loss in enumerate(losses)]
    assert [epoch.kept for epoch in result.history] == best_so_far
    assert calibrated_loss(result, select_part) == pytest.approx(min(losses), rel=0.02)


def test_what_was_learned_after_the_best_epoch_is_forgotten(
    fit_part: Dataset, select_part: Dataset
) -> None:
    # Labels turned round: the better it learns the one part, the worse it does on the other.
    against = replace(select_part, labels=(select_part.labels + 1) % len(SURFACES))
    for seed in range(1, 7):
        result = train(fit_part, against, CONSTANT, seed=seed)
        if not result.history[-1].kept:
            break
    best = max(epoch.number for epoch in result.history if epoch.kept)
    assert best < CONSTANT.epochs
    stopped = train(fit_part, against, replace(CONSTANT, epochs=best), seed=seed)
    kept, expected = stored_weights(result.network), stored_weights(stopped.network)
    assert all(np.array_equal(kept[key], expected[key]) for key in expected)


def test_the_network_comes_back_as_the_file_will_hold_it(fitted: Fitted) -> None:
    assert not fitted.network.training
    for parameter in fitted.network.parameters():
        assert parameter.device == CPU
        if parameter.dim() > 1:
            assert torch.equal(parameter, parameter.half().float())


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_a_loss_that_is_no_number_ends_the_training_in_words_that_say_what_to_do(
    fit_part: Dataset, select_part: Dataset, ema_decay: float
) -> None:
    seen: list[Epoch] = []
    wild = replace(TINY, optimiser="adam", learning_rate=1e30, ema_decay=ema_decay)
    with pytest.raises(FitError, match=r"no longer a number in epoch 1 .* another recipe or seed"):
        train(fit_part, select_part, wild, seen=seen)
    assert seen == []


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_a_handful_of_images_is_enough_to_begin_with(select_part: Dataset, epochs: int) -> None:
    result = train(drawn(range(1)), select_part, replace(TINY, epochs=epochs))
    assert len(result.history) == epochs


def test_what_fills_no_batch_is_left_out_of_an_epoch(few: Dataset, select_part: Dataset) -> None:
    """Nine images, of which eight are a batch: one can be any picture."""
    assert len(few) == TINY.batch + 1
    short = replace(TINY, epochs=1)
    learned = stored_weights(train(few, select_part, short).network)
    alike = 0
    for index in range(len(few)):
        other = replace(few, pixels=few.pixels.copy())
        other.pixels[index] = 255 - other.pixels[index][::-1]
        weights = stored_weights(train(other, select_part, short).network)
        alike += all(np.array_equal(weights[key], learned[key]) for key in learned)
    assert alike == 1


def test_training_can_start_from_imagenet_weights(
    tmp_path: Path, few: Dataset, select_part: Dataset
) -> None:
    torch.manual_seed(11)
    original = resnet18()
    torch.save(original.state_dict(), tmp_path / "resnet18.pth")
    still = replace(TINY, epochs=1, learning_rate=1e-12, weight_decay=0.0)
    result = train(few, select_part, still, weights=tmp_path / "resnet18.pth")
    kept = result.network.state_dict()
    expected = original.state_dict()["layer3.0.conv1.weight"]
    assert torch.allclose(kept["backbone.layer3.0.conv1.weight"], expected, atol=1e-3)
    summed = original.state_dict()["conv1.weight"].sum(dim=1, keepdim=True)
    assert torch.allclose(kept["backbone.conv1.weight"], summed, atol=1e-3)


def test_training_can_start_from_a_model_folder(
    model: Path, few: Dataset, select_part: Dataset
) -> None:
    still = replace(TINY, epochs=1, learning_rate=1e-12, weight_decay=0.0)
    result = train(few, select_part, still, weights=model)
    kept, known = result.network.state_dict(), load_network(model)[0].state_dict()
    for layer in ("backbone.conv1.weight", "backbone.layer4.1.conv2.weight"):
        assert torch.allclose(kept[layer], known[layer], atol=1e-3)


def test_a_file_without_weights_is_refused_before_training(
    tmp_path: Path, fit_part: Dataset, select_part: Dataset
) -> None:
    (tmp_path / "weights.pth").write_text("nothing")
    with pytest.raises(ValueError, match="does not hold torchvision's ResNet18"):
        train(fit_part, select_part, weights=tmp_path / "weights.pth")


def test_label_smoothing_is_part_of_the_fit_loss(few: Dataset, select_part: Dataset) -> None:
    """With steps of no length, the first epoch's loss is that of the network as it began."""
    still = replace(TINY, epochs=1, learning_rate=1e-12, weight_decay=0.0)
    plain, smooth = (
        train(few, select_part, replace(still, label_smoothing=amount)).history[0].fit_loss
        for amount in (0.0, 0.5)
    )
    assert plain != pytest.approx(smooth, rel=1e-4)
    uniform = functional.cross_entropy(torch.zeros(1, 3), torch.tensor([0])).item()
    assert 0.3 * uniform < plain < 4 * uniform


def test_boxes_teach_the_network_which_places_show_the_defect(
    fit_part: Dataset, select_part: Dataset
) -> None:
    """The upper half of every picture is made bright, and boxed."""
    marked = replace(fit_part, pixels=fit_part.pixels.copy())
    marked.pixels[:, :28] = 255 - marked.pixels[:, :28] // 8
    longer = replace(TINY, epochs=10, train_size=64, first_size=64)
    result = train(marked, select_part, longer, boxed=upper_halves(marked))
    assert result.box_head is not None
    head = result.box_head.eval()
    with torch.inference_mode():
        pictures = torch.from_numpy(marked.pixels)
        _, stages = logits_and_places(result.network, head, pictures)
    for places in stages:
        background = places.softmax(dim=1)[:, -1]
        assert background[:, -1].mean() - background[:, 0].mean() > 0.3


def test_boxes_are_part_of_the_fit_loss_by_their_weight(few: Dataset, select_part: Dataset) -> None:
    still = replace(TINY, epochs=1, learning_rate=1e-12, weight_decay=0.0)
    none, half, full = (
        train(few, select_part, replace(still, box_weight=weight), boxed=upper_halves(few))
        .history[0]
        .fit_loss
        for weight in (1e-9, 0.5, 1.0)
    )
    assert full - none == pytest.approx(2 * (half - none), rel=1e-3)
    uniform = math.log(len(SURFACES) + 1)
    assert 0.3 * uniform < full - none < 4 * uniform


@pytest.mark.parametrize("without", ["boxes", "weight"])
def test_without_boxes_or_their_weight_labels_alone_teach(
    few: Dataset, select_part: Dataset, without: str
) -> None:
    short = replace(TINY, epochs=1, box_weight=0.0 if without == "weight" else 0.5)
    boxed = None if without == "boxes" else upper_halves(few)
    result = train(few, select_part, short, boxed=boxed)
    plain = train(few, select_part, replace(short, box_weight=0.0))
    assert result.box_head is None
    assert result.history == plain.history


def test_crops_grow_from_the_first_epoch_to_the_last() -> None:
    growing = replace(TINY, epochs=5, first_size=40, train_size=75)
    assert [growing.size_in(epoch) for epoch in range(1, 6)] == [40, 48, 56, 64, 75]
    assert replace(growing, epochs=1).size_in(1) == 75
