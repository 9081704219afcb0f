import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.heatmap import enlarge, grad_cam, heatmap, overlay
from models.network import SurfaceNetwork
from models.runtimes.torch_runtime import TorchRuntime
from training.synthetic import SURFACES, draw_surface


@pytest.fixture(scope="module")
def network() -> SurfaceNetwork:
    torch.manual_seed(0)
    return SurfaceNetwork(8).eval()


def gradient_grad_cam(
    network: SurfaceNetwork, pixels: NDArray[np.uint8], class_index: int
) -> NDArray[np.float32]:
    """Selvaraju et al. 2017, equations 1 and 2, at the last block; scaled to a peak of 1."""
    out = network.activations(torch.from_numpy(pixels)[None])
    (gradient,) = torch.autograd.grad(out.logits[0, class_index], out.maps)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    cam = torch.relu((weights * out.maps).sum(dim=1))[0].detach()
    peak = cam.max()
    scaled: NDArray[np.float32] = (cam / peak if peak > 0 else cam).numpy()
    return scaled


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("side", [64, 96])
def test_grad_cam_needs_no_gradients(network: SurfaceNetwork, surface: str, side: int) -> None:
    runtime = TorchRuntime(network, device="cpu")
    pixels = draw_surface(surface, seed=1, height=side, width=side)
    maps = runtime.infer(pixels[None], with_maps=True).maps
    assert maps is not None
    warm = []
    for class_index, class_weights in enumerate(runtime.head):
        evidence = grad_cam(maps[0], class_weights)
        by_gradient = gradient_grad_cam(network, pixels, class_index)
        np.testing.assert_allclose(evidence, by_gradient, atol=2e-3)
        assert evidence.dtype == np.float32
        warm.append(evidence.any())
    assert any(warm)


def evened_out(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """By the binomial kernel of three by three, place after place."""
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    padded = np.pad(evidence, 1)
    places = np.ndindex(*evidence.shape)
    return np.array(
        [(padded[row : row + 3, column : column + 3] * weights).sum() for row, column in places]
    ).reshape(evidence.shape)


@pytest.mark.parametrize("surface", SURFACES)
def test_the_heatmap_is_gradient_grad_cam_where_single_features_respond(
    network: SurfaceNetwork, surface: str
) -> None:
    pixels = draw_surface(surface, seed=2, height=96, width=96)
    outputs = TorchRuntime(network, device="cpu").infer(pixels[None], with_maps=True)
    assert outputs.maps is not None
    attention = (outputs.maps[0].astype(np.float64) ** 4).sum(axis=0)
    runtime_head = network.backbone.fc.weight.detach().numpy()
    for class_index in range(len(runtime_head)):
        expected = evened_out(gradient_grad_cam(network, pixels, class_index) * attention)
        expected /= max(expected.max(), 1e-12)
        heat = heatmap(outputs.maps[0], runtime_head[class_index])
        np.testing.assert_allclose(heat, expected, atol=2e-3)
        assert heat.dtype == np.float32


TWO_CHANNELS = np.array([[[1.0, 2.0], [4.0, 0.0]], [[0.0, 3.0], [0.0, 1.0]]], dtype=np.float32)
FOR_AND_AGAINST = np.array([1.0, -1.0], dtype=np.float32)


def test_the_strongest_place_is_one_and_what_speaks_against_the_class_is_zero() -> None:
    evidence = grad_cam(TWO_CHANNELS, FOR_AND_AGAINST)
    np.testing.assert_allclose(evidence, [[0.25, 0.0], [1.0, 0.0]])
    heat = heatmap(TWO_CHANNELS, FOR_AND_AGAINST)
    assert heat.argmax() == 2
    assert heat.max() == 1.0


def test_a_lone_hot_place_is_less_than_three_together_and_what_lies_beside_it_is_warm() -> None:
    maps = np.zeros((1, 7, 7), dtype=np.float32)
    maps[0, 1, 1], maps[0, 5, 3:6] = 1.0, 0.97
    heat = heatmap(maps, np.ones(1, dtype=np.float32))
    assert np.unravel_index(heat.argmax(), heat.shape) == (5, 4)
    alone = heat[1, 1]
    np.testing.assert_allclose(
        heat[:3, :3], alone * np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]), rtol=1e-5
    )


def test_of_two_places_with_the_same_evidence_the_one_that_the_network_responds_to_is_hot() -> None:
    maps = np.array([[[1.0, 3.0, 0.0]], [[0.0, 2.0, 0.0]]], dtype=np.float32)
    assert grad_cam(maps, FOR_AND_AGAINST).tolist() == [[1.0, 1.0, 0.0]]
    weak = 1 / (3**4 + 2**4)
    expected = np.array([[weak / 2 + 1 / 4, weak / 4 + 1 / 2, 1 / 4]])
    np.testing.assert_allclose(heatmap(maps, FOR_AND_AGAINST), expected / expected.max(), rtol=1e-5)


def test_a_network_with_huge_activations_still_has_a_heatmap() -> None:
    heat = heatmap(TWO_CHANNELS * np.float32(1e12), FOR_AND_AGAINST)
    np.testing.assert_allclose(heat, heatmap(TWO_CHANNELS, FOR_AND_AGAINST), rtol=1e-5)


def test_an_enlarged_heatmap_keeps_its_peak_in_the_middle_of_its_cell() -> None:
    heat = np.zeros((5, 7), dtype=np.float32)
    heat[1, 4] = 1.0
    large = enlarge(heat, 100, 210)
    assert large.shape == (100, 210)
    row, column = np.unravel_index(large.argmax(), large.shape)
    assert abs(row + 0.5 - 1.5 * 20) <= 1
    assert abs(column + 0.5 - 4.5 * 30) <= 1


def test_a_picture_in_which_nothing_speaks_for_the_class_stays_cold() -> None:
    heat = heatmap(np.ones((3, 2, 2), dtype=np.float32), -np.ones(3, dtype=np.float32))
    assert not heat.any()


SURFACE = draw_surface("scratches", seed=1, height=90, width=150)


@pytest.mark.parametrize("cells", [(1, 1), (5, 5), (7, 4)])
def test_without_heat_the_overlay_is_the_grey_picture(cells: tuple[int, int]) -> None:
    laid = overlay(SURFACE, np.zeros(cells, dtype=np.float32))
    assert laid.shape == (90, 150, 3)
    assert laid.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_array_equal(laid[..., channel], SURFACE)


def test_the_overlay_is_red_where_the_heat_is_and_grey_elsewhere() -> None:
    heat = np.zeros((5, 5), dtype=np.float32)
    heat[0, 4] = 1.0
    laid = overlay(SURFACE, heat).astype(int)
    red, green, blue = laid[5, 145]
    assert red > green
    assert red > blue
    np.testing.assert_array_equal(laid[60:, :70], np.repeat(SURFACE[60:, :70, None], 3, axis=2))


def test_the_warmer_the_place_the_redder_the_tint() -> None:
    grey = np.full((20, 20), 100, dtype=np.uint8)
    tints = [
        overlay(grey, np.full((2, 2), heat, dtype=np.float32))[10, 10] for heat in (0.2, 0.6, 1)
    ]
    redness = [int(tint[0]) - int(tint[1]) for tint in tints]
    assert redness == sorted(redness)
    assert redness[0] < redness[-1]
    assert all(tint[2] < 100 for tint in tints)
