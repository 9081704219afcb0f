"""A line's own network beside the first one, in torch and in OpenVINO."""

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import saved, suited
from numpy.typing import NDArray
from PIL import Image

from models.line_network import PREFIX, LineNetwork
from models.network import SurfaceNetwork, load_network
from models.pictures import shrunk
from models.runtimes import openvino_runtime, torch_runtime
from training.judging.evaluate import auroc
from training.retraining.line_fitting import (
    LineRecipe,
    Question,
    fit_line,
    mean_of,
    own_logits,
    question_of,
)
from training.retraining.line_start import load_start
from training.synthetic import SURFACES, draw_surface

CLASSES = ("patches", "scratches", "no_defect", "stain", "forgotten")
OWN = np.array([1, 2, 3])
"""Scratches were seen on this line as well, a forgotten class is no longer labelled."""
ALONE = np.array([2, 3, 4])
CLEAN = np.array([2])
SIDE = 64
FIRST_SIDE = 40


def line_network() -> LineNetwork:
    return LineNetwork.for_classes(
        len(CLASSES), OWN, first_side=FIRST_SIDE, alone=ALONE, clean=CLEAN
    )


def drawn(names: tuple[str, ...], seeds: range) -> NDArray[np.uint8]:
    return np.stack(
        [draw_surface(name, seed=seed, height=SIDE, width=SIDE) for name in names for seed in seeds]
    )


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    return drawn(SURFACES, range(2))


@pytest.fixture(scope="module")
def network(pictures: NDArray[np.uint8]) -> SurfaceNetwork:
    """Random, with batch norms that suit the pictures."""
    torch.manual_seed(0)
    line = line_network()
    return suited(SurfaceNetwork(len(CLASSES), line=line), pictures)


@pytest.fixture(scope="module")
def folder(network: SurfaceNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("two") / "model"
    return saved(network, made, classes=CLASSES, side=SIDE)


def test_it_shares_out_what_the_first_network_gives_to_the_line_and_nothing_else() -> None:
    line = line_network()
    first = torch.tensor([[0.5, 0.1, 0.05, 0.3, 0.05]])
    own = torch.tensor([[0.2, 0.7, 0.1]])
    together = line.join(first.log(), own.log()).exp()
    expected = torch.tensor([[0.5, 0.1 + 0.4 * 0.2, 0.4 * 0.7, 0.4 * 0.1, 0.0]])
    assert torch.allclose(together, expected, atol=1e-6)


def test_an_image_that_it_cannot_see_is_taken_for_as_clean_as_the_first_network_allows() -> None:
    line = line_network()
    first = torch.tensor([[0.5, 0.1, 0.05, 0.3, 0.05]])
    together = line.join(first.log()).exp()
    expected = torch.tensor([[0.5, 0.1, 0.4, 0.0, 0.0]])
    assert torch.allclose(together, expected, atol=1e-6)


def test_near_certainty_is_told_from_certainty() -> None:
    line = line_network()
    first = torch.tensor([[-40.0, -40.0, 0.0, -9.0, -9.0]]).repeat(2, 1)
    together = line.join(first, torch.tensor([[-50.0, 0.0, -20.0], [-50.0, 0.0, -30.0]]))
    odds = together[:, 2] - together[:, [0, 1, 3, 4]].logsumexp(dim=1)
    assert odds.tolist() == pytest.approx([20.0, 30.0], abs=0.01)


def test_it_comes_back_from_a_model_folder(network: SurfaceNetwork, folder: Path) -> None:
    again, _ = load_network(folder)
    assert again.line is not None
    assert again.line.first_side == FIRST_SIDE
    ours, theirs = again.state_dict(), network.state_dict()
    assert any(key.startswith(PREFIX) for key in ours)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_openvino_computes_what_torch_does(folder: Path, pictures: NDArray[np.uint8]) -> None:
    torch_here = torch_runtime.load(folder, device="cpu")
    openvino = openvino_runtime.load_fp32(folder)
    theirs, ours = torch_here.infer(pictures), openvino.infer(pictures)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-3)
    np.testing.assert_allclose(ours.features, theirs.features, atol=1e-3)
    np.testing.assert_allclose(np.exp(ours.logits).sum(axis=1), 1, atol=1e-4)


def test_both_say_the_same_of_images_of_which_only_activations_are_kept(
    network: SurfaceNetwork, folder: Path, pictures: NDArray[np.uint8]
) -> None:
    with torch.inference_mode():
        middle = network.middle_and_texture(torch.from_numpy(pictures))[0].numpy()
    theirs = torch_runtime.load(folder, device="cpu").infer_above(middle)
    ours = openvino_runtime.load_fp32(folder).infer_above(middle)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-3)
    seen = torch_runtime.load(folder, device="cpu").infer(pictures)
    assert (theirs.logits[:, 2] >= seen.logits[:, 2] - 1e-3).all()


def test_it_learns_what_is_clean() -> None:
    pixels = drawn(("no_defect", "patches"), range(24))
    labels = np.repeat(np.array([2, 3]), 24)
    question = Question(classes=5, own=np.array([2, 3]), alone=ALONE, clean=CLEAN)
    recipe = LineRecipe(steps=15, clean=4, defects=4, learning_rate=1e-3)
    line = fit_line(pixels, labels, question, first_side=FIRST_SIDE, recipe=recipe, seed=1)
    logits = own_logits(line, drawn(("no_defect", "patches"), range(100, 112)))
    dirtier = logits[:, 1] - logits[:, 0]
    assert auroc(dirtier[:12], dirtier[12:]) > 0.9


def test_it_starts_from_what_ships_and_is_fitted_from_the_first_layer_on() -> None:
    pixels = drawn(("no_defect", "patches"), range(2))
    question = Question(classes=5, own=np.array([2, 3]), alone=ALONE, clean=CLEAN)

    def fitted(steps: int) -> dict[str, torch.Tensor]:
        recipe = LineRecipe(steps=steps, clean=1, defects=1)
        labels = np.array([2, 2, 3, 3])
        return fit_line(
            pixels, labels, question, first_side=FIRST_SIDE, recipe=recipe, seed=1
        ).state_dict()

    start, begun, later = load_start(), fitted(0), fitted(2)
    assert all(torch.equal(begun[key], value.to(begun[key])) for key, value in start.items())
    weights = [key for key, value in start.items() if value.dim() > 1]
    assert not any(torch.equal(later[key], begun[key]) for key in weights)


def test_several_are_made_one_by_the_mean_of_their_weights() -> None:
    made = [line_network() for _ in range(3)]
    for number, each in enumerate(made):
        torch.nn.init.constant_(each.linear.weight, 2.0**number)
        each.bn1.running_mean.fill_(number)
    mean = mean_of(made)
    assert mean.linear.weight[0, 0].item() == pytest.approx(7 / 3, abs=1e-2)
    assert mean.bn1.running_mean.numpy() == pytest.approx(1, abs=1e-6)
    assert torch.equal(mean.place, made[0].place)
    assert made[0].linear.weight[0, 0].item() == 1, "which stays"


def test_the_first_network_sees_a_picture_as_pillow_makes_it_smaller(
    pictures: NDArray[np.uint8],
) -> None:
    ours = shrunk(torch.from_numpy(pictures), FIRST_SIDE).numpy()
    theirs = np.stack(
        [
            Image.fromarray(each).resize((FIRST_SIDE, FIRST_SIDE), Image.Resampling.BILINEAR)
            for each in pictures
        ]
    )
    assert np.abs(ours - theirs).max() <= 1


NORMAL = np.array([False, False, True, False])
RECIPE = LineRecipe(fewest_clean=4, fewest_defects=3)


def asked(counts: tuple[int, ...], kept: tuple[int, ...] = (0, 1)) -> Question | None:
    labels = np.repeat(np.arange(len(counts)), counts)
    return question_of(labels, classes=4, kept=np.array(kept), normal=NORMAL, recipe=RECIPE)


def test_a_line_gets_a_network_when_it_has_clean_images_and_defects_to_learn_from() -> None:
    question = asked((0, 1, 4, 2))
    assert question is not None
    assert question.own.tolist() == [1, 2, 3]
    assert question.alone.tolist() == [2, 3]
    assert question.clean.tolist() == [2]
    assert asked((0, 1, 3, 2)) is None
    assert asked((0, 1, 4, 1)) is None


def test_a_clean_surface_among_the_first_images_needs_no_second_network() -> None:
    assert asked((0, 1, 4, 2), kept=(0, 1, 2)) is None
