"""Made-up flaws, and what a network learns from them before it sees a line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.line_network import STAGES, LineNetwork
from models.network import SurfaceNetwork, load_network
from models.registry import PRETRAINED
from training.retraining.flaw_teaching import FlawRecipe, teach
from training.retraining.line_fitting import LineRecipe, Question, fit_line
from training.retraining.line_start import save_start, start_for
from training.synthetic.flaws import KINDS, PAINTERS, Drawing, draw_flawed
from training.synthetic.grounds import Fields, draw_ground

SIDE = 96


def fields(seed: int) -> Fields:
    return Fields(np.random.default_rng(seed), SIDE)


@pytest.fixture
def network() -> SurfaceNetwork:
    torch.manual_seed(0)
    return SurfaceNetwork(3).eval()


def test_a_seed_draws_the_same_pictures_again() -> None:
    once, again = ([draw_flawed(each) for _ in range(4)] for each in (fields(3), fields(3)))
    for (pixels, flaws), (others, there) in zip(once, again, strict=True):
        assert pixels.dtype == np.uint8
        assert pixels.shape == (SIDE, SIDE)
        np.testing.assert_array_equal(pixels, others)
        np.testing.assert_array_equal(flaws, there)


def test_a_third_is_sound_and_each_kind_shows_in_some() -> None:
    each = fields(1)
    shown = np.stack([draw_flawed(each)[1].any(axis=(1, 2)) for _ in range(300)])
    assert shown.shape == (300, len(KINDS))
    assert 0.25 < (~shown.any(axis=1)).mean() < 0.5
    assert (shown.sum(axis=0) >= 10).all()


@pytest.mark.parametrize("kind", ["spot", "crack", "flecks", "chip", "patch"])
def test_a_flaw_leaves_the_rest_of_the_surface_as_it_is(kind: str) -> None:
    on = fields(2)
    for _ in range(5):
        ground = draw_ground(on)
        drawing = Drawing(fields=on, ground=ground, canvas=ground.canvas, difference=-60.0)
        changed = PAINTERS[kind](drawing) != ground.canvas
        assert 0 < changed.mean() < 0.9


def test_what_it_is_taught_is_kept_for_the_first_stage_that_it_stands_on(
    network: SurfaceNetwork, tmp_path: Path
) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    losses: list[float] = []
    taught = teach(
        network,
        recipe=FlawRecipe(steps=24, batch=8, side=64),
        seed=1,
        on_step=lambda _, loss: losses.append(loss),
    )
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:6])
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())

    file = tmp_path / "start.safetensors"
    save_start(taught, network, file)
    found = start_for(network, file)
    assert found is not None
    stages = staged(taught)
    assert found.keys() == stages.keys()
    assert all(torch.equal(found[key], stages[key].to(found[key])) for key in found)

    network.backbone.fc.weight.data.add_(1)  # not below the line's own network
    assert start_for(network, file) is not None
    network.backbone.layer1[0].conv1.weight.data.add_(1)
    assert start_for(network, file) is None
    assert start_for(SurfaceNetwork(3), file) is None


@pytest.mark.parametrize("content", [None, b"", b"no weights"])
def test_without_a_start_the_first_network_is_one(
    network: SurfaceNetwork, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "start.safetensors"
    if content is not None:
        file.write_bytes(content)
    assert start_for(network, file) is None


def staged(line: LineNetwork) -> dict[str, torch.Tensor]:
    return {key: value for key, value in line.state_dict().items() if key.startswith(STAGES)}


def unfitted(network: SurfaceNetwork) -> dict[str, torch.Tensor]:
    own = np.array([1, 2])
    line = fit_line(
        network,
        np.zeros((2, 64, 64), np.uint8),
        own,
        Question(classes=3, own=own, alone=own, clean=np.array([1])),
        recipe=LineRecipe(steps=0),
        seed=1,
    )
    return staged(line)


def test_a_line_of_the_model_that_ships_starts_from_what_ships_beside_it() -> None:
    network = load_network(PRETRAINED)[0]
    start = start_for(network)
    assert start is not None
    began = unfitted(network)
    assert all(torch.equal(began[key], start[key].to(began[key])) for key in began)
    assert not torch.equal(began["layer4.0.conv1.weight"], network.backbone.layer4[0].conv1.weight)


def test_a_line_of_another_model_starts_from_that_model(network: SurfaceNetwork) -> None:
    began = unfitted(network)
    theirs = network.backbone.state_dict()
    assert all(
        torch.equal(began[key], theirs[key].half().to(began[key]))
        if began[key].dim() > 1
        else torch.equal(began[key], theirs[key])
        for key in began
    )
