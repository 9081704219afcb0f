"""Made-up flaws, and what a network learns from them before it sees a line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.line_network import STAGES
from models.network import SurfaceNetwork
from training.retraining.flaw_teaching import FlawRecipe, taken_again, teach
from training.retraining.line_start import load_start, save_start
from training.retraining.run_folder import RunError
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


def test_what_it_is_taught_is_kept(network: SurfaceNetwork, tmp_path: Path) -> None:
    losses: list[float] = []
    taught = teach(
        network,
        recipe=FlawRecipe(steps=24, batch=8, drawn=8, side=64),
        seed=1,
        on_step=lambda _, loss: losses.append(loss),
    )
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:6])
    theirs, ours = network.backbone, taught.state_dict()
    for name, first in (("conv1", theirs.conv1), ("bn1", theirs.bn1), ("layer1", theirs.layer1)):
        for key, value in first.state_dict().items():
            kept = value.half().to(value) if value.dim() > 1 else value
            assert torch.equal(ours[f"{name}.{key}"], kept), "the first stage is not taught"

    file = tmp_path / "start.safetensors"
    save_start(taught, file)
    found = load_start(file)
    below = {key: v for key, v in taught.state_dict().items() if not key.startswith("linear.")}
    assert {key for key in below if key.startswith(STAGES)} == found.keys()
    assert all(torch.equal(found[key], below[key].to(found[key])) for key in found)


def test_a_picture_that_is_taken_again_is_turned_and_mirrored_with_its_flaws() -> None:
    recipe = FlawRecipe(batch=32, drawn=2, kept=4, side=5)
    drawn = (torch.arange(50, dtype=torch.uint8).view(2, 5, 5) + 50 * n for n in range(4))
    pairs = ((pixels, (pixels % 7 == 0).unsqueeze(1)) for pixels in drawn)
    batches = list(taken_again(pairs, recipe, torch.device("cpu")))
    assert len(batches) == 4
    for number, (pixels, flaws) in enumerate(batches):
        assert pixels.shape == (32, 5, 5)
        assert torch.equal(flaws[:, 0], pixels % 7 == 0)
        begun = pixels.amin(dim=(1, 2)) // 25
        assert set(begun.tolist()) == set(range(max(0, 2 * number - 2), 2 * number + 2))
    newest = pixels[begun == 7]
    assert len({tuple(each.flatten().tolist()) for each in newest}) >= 4


@pytest.mark.parametrize("content", [None, b"", b"no weights"])
def test_without_a_start_a_run_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "start.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RunError, match="make line-start"):
        load_start(file)
