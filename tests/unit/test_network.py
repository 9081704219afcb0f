from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.transforms import Normalize

from models.checkpoint import Normalisation
from models.network import (
    SurfaceNetwork,
    half_precision,
    normalise,
    stored_weights,
    texture_of,
)
from models.novelty import POOLED, TEXTURE
from training.synthetic import SURFACES, draw_surface


@pytest.fixture(scope="module")
def network() -> SurfaceNetwork:
    torch.manual_seed(0)
    return SurfaceNetwork(6).eval()


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Uint8 `(7, 64, 64)`, one of each surface."""
    drawn = [draw_surface(name, seed=3, height=64, width=64) for name in SURFACES]
    return torch.stack([torch.from_numpy(pixels) for pixels in drawn])


def stir(network: nn.Module) -> None:
    """Batch-norm statistics and scales as training leaves them, not as they begin."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.1)


@pytest.mark.parametrize(("gain", "offset"), [(0.5, 0.0), (1.0, 90.0), (0.5, 100.0), (2.0, -60.0)])
@torch.inference_mode()
def test_exposure_and_gain_of_the_camera_do_not_change_the_answer(
    network: SurfaceNetwork, pictures: Tensor, gain: float, offset: float
) -> None:
    ranks = pictures.flatten(1).argsort(dim=1).argsort(dim=1).view(pictures.shape)
    scene = 50 + 80 * ranks / ranks.max()  # every level equally often: contrast enough
    again = scene * gain + offset
    assert 0 <= again.min() < again.max() <= 255
    assert torch.allclose(network(again), network(scene), atol=1e-3)


@torch.inference_mode()
def test_the_network_still_tells_pictures_apart(network: SurfaceNetwork, pictures: Tensor) -> None:
    logits = network(pictures)
    assert torch.cdist(logits, logits).fill_diagonal_(1.0).min() > 1e-3


@pytest.mark.parametrize("level", [0, 128, 255])
@torch.inference_mode()
def test_a_blank_picture_gets_an_answer(network: SurfaceNetwork, level: int) -> None:
    out = network.activations(torch.full((2, 64, 64), level, dtype=torch.uint8))
    for values in (out.logits, out.features, out.maps):
        assert values.isfinite().all()


def test_the_noise_of_a_blank_surface_is_not_blown_up_into_a_texture() -> None:
    noise = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(1))
    assert normalise(128 + noise).std() < 0.2
    assert normalise(128 + 30 * noise).std() == pytest.approx(1.0, abs=0.01)


@torch.inference_mode()
def test_each_picture_is_normalised_by_itself(network: SurfaceNetwork, pictures: Tensor) -> None:
    together = network(pictures)
    alone = torch.cat([network(picture[None]) for picture in pictures])
    assert torch.allclose(together, alone, atol=1e-4)


@torch.inference_mode()
def test_bytes_and_floats_of_one_picture_are_one_picture(
    network: SurfaceNetwork, pictures: Tensor
) -> None:
    assert torch.equal(network(pictures), network(pictures.float()))


@torch.inference_mode()
def test_features_are_the_pooled_map_and_logits_follow_from_them(
    network: SurfaceNetwork, pictures: Tensor
) -> None:
    out = network.activations(pictures)
    assert out.maps.shape == (7, 512, 2, 2)
    pooled = out.features[:, :POOLED]
    assert torch.allclose(pooled, out.maps.mean(dim=(2, 3)), atol=1e-5)
    assert torch.allclose(out.logits, network.backbone.fc(pooled), atol=1e-5)


@torch.inference_mode()
def test_behind_them_lies_the_texture_as_it_is_kept_with_the_activations(
    network: SurfaceNetwork, pictures: Tensor
) -> None:
    texture = network.activations(pictures).features[:, POOLED:]
    assert texture.shape == (7, TEXTURE)
    assert torch.allclose(texture.norm(dim=1), torch.ones(7), atol=1e-5)
    _, kept = network.middle_and_texture(pictures)
    assert torch.allclose(kept, texture, atol=1e-6)


def test_a_texture_is_mean_and_deviation_of_each_channel_wherever_they_lie() -> None:
    maps = torch.rand((2, 128, 5, 5), generator=torch.Generator().manual_seed(3))
    places = maps.flatten(2)
    both = torch.cat([places.mean(dim=2), places.std(dim=2, unbiased=False)], dim=1)
    expected = both / both.norm(dim=1, keepdim=True)
    assert torch.allclose(texture_of(maps), expected, atol=1e-6)
    assert torch.allclose(texture_of(maps.roll((2, 3), dims=(2, 3))), expected, atol=1e-6)
    assert torch.allclose(texture_of(3 * maps), expected, atol=1e-6), "nor how strong they are"
    assert texture_of(torch.zeros((1, 128, 5, 5))).isfinite().all()


@torch.inference_mode()
def test_imagenet_weights_answer_to_grey_as_they_answer_to_three_grey_channels(
    tmp_path: Path, pictures: Tensor
) -> None:
    torch.manual_seed(5)
    original = resnet18(num_classes=1000).eval()
    stir(original)
    file = tmp_path / "resnet18.pth"
    torch.save(original.state_dict(), file)
    network = SurfaceNetwork(6)
    head = network.backbone.fc.weight.clone()
    network.take_imagenet_weights(file)
    network.eval()
    original.fc = nn.Identity()
    expected = original(normalise(pictures).expand(-1, 3, -1, -1))
    assert torch.allclose(network.activations(pictures).features[:, :POOLED], expected, atol=1e-4)
    assert expected.std() > 0.01
    assert torch.equal(network.backbone.fc.weight, head)


def as_trained_elsewhere(pictures: Tensor, normalisation: Normalisation) -> Tensor:
    """What a training program with torchvision feeds its network, `(N, 3, H, W)`."""
    if normalisation == "picture":
        return normalise(pictures).expand(-1, 3, -1, -1)
    colour = (pictures.unsqueeze(1).expand(-1, 3, -1, -1) / 255).contiguous()
    if normalisation == "unit":
        return colour
    return Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(colour)


@pytest.mark.parametrize("normalisation", get_args(Normalisation))
@torch.inference_mode()
def test_a_network_of_three_channels_answers_as_where_it_was_trained(
    pictures: Tensor, normalisation: Normalisation
) -> None:
    torch.manual_seed(8)
    original = resnet18(num_classes=6).eval()
    stir(original)
    network = SurfaceNetwork(6, normalisation=normalisation).eval()
    state = original.state_dict()
    if network.backbone.conv1.in_channels == 1:
        state["conv1.weight"] = state["conv1.weight"].sum(dim=1, keepdim=True)
    network.backbone.load_state_dict(state)
    expected = original(as_trained_elsewhere(pictures, normalisation))
    assert expected.std() > 0.1
    assert (network(pictures) - expected).abs().max() <= 1e-3


@torch.inference_mode()
def test_training_can_start_from_a_network_of_three_channels(pictures: Tensor) -> None:
    torch.manual_seed(8)
    imported = SurfaceNetwork(6, normalisation="imagenet").eval()
    network = SurfaceNetwork(6).eval()
    network.take_weights_of(imported)
    net = imported.backbone
    x = net.relu(net.bn1(net.conv1(normalise(pictures).expand(-1, 3, -1, -1))))
    maps = net.layer4(net.layer3(net.layer2(net.layer1(net.maxpool(x)))))
    expected = net.fc(maps.mean(dim=(2, 3)))
    assert (network(pictures) - expected).abs().max() <= 1e-3


@pytest.mark.parametrize("normalisation", get_args(Normalisation))
def test_constants_are_no_weights(normalisation: Normalisation) -> None:
    stored = stored_weights(SurfaceNetwork(6, normalisation=normalisation))
    assert all(name.startswith("backbone.") for name in stored)


@pytest.mark.parametrize("classes", [6, 7])
@torch.inference_mode()
def test_a_network_that_starts_from_another_sees_what_it_saw(
    network: SurfaceNetwork, pictures: Tensor, classes: int
) -> None:
    torch.manual_seed(9)
    new = SurfaceNetwork(classes).eval()
    head = new.backbone.fc.weight.clone()
    new.take_weights_of(network)
    seen, known = new.activations(pictures), network.activations(pictures)
    assert torch.equal(seen.features, known.features)
    if classes == 6:
        assert torch.equal(seen.logits, known.logits)
    else:
        assert torch.equal(new.backbone.fc.weight, head)


def save_truncated(path: Path) -> None:
    torch.save(resnet18().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("not weights at all"),
        lambda path: path.write_bytes(b""),
        save_truncated,
        lambda path: torch.save(nn.Linear(3, 2).state_dict(), path),
        lambda path: torch.save({"conv1.weight": 3}, path),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save(torch.zeros(3), path),
        lambda path: torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path),
    ],
    ids=["text", "empty", "cut", "other network", "number", "list", "tensor", "one layer"],
)
def test_a_file_without_resnet18_weights_is_refused_in_plain_words(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    file = tmp_path / "weights.pth"
    write(file)
    with pytest.raises(ValueError, match="does not hold torchvision's ResNet18 weights; pass"):
        SurfaceNetwork(6).take_imagenet_weights(file)


def test_a_file_of_weights_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.pth"):
        SurfaceNetwork(6).take_imagenet_weights(tmp_path / "missing.pth")


def test_rounding_to_half_precision_changes_little_and_only_once(pictures: Tensor) -> None:
    torch.manual_seed(1)
    network = SurfaceNetwork(6).eval()
    stir(network)
    with torch.inference_mode():
        before = network(pictures)
    half_precision(network)
    once = {key: value.clone() for key, value in network.state_dict().items()}
    half_precision(network)
    assert all(torch.equal(value, once[key]) for key, value in network.state_dict().items())
    with torch.inference_mode():
        after = network(pictures)
    assert 0 < (after - before).abs().max() < 0.02 * before.std()


def test_stored_weights_have_the_shapes_of_the_network(network: SurfaceNetwork) -> None:
    stored = stored_weights(network)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert {key: value.shape for key, value in stored.items()} == shapes
    halves = {key for key, value in stored.items() if value.dtype == "float16"}
    assert halves == {key for key, shape in shapes.items() if len(shape) > 1}
