"""Whether an image is this line's, decided on its texture too: in torch and in OpenVINO."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import saved, suited
from numpy.typing import NDArray

from models.domain_classifier import DomainClassifier
from models.line_network import LineNetwork
from models.network import SurfaceNetwork, load_network
from models.pictures import shrunk
from models.runtimes import openvino_runtime, torch_runtime
from training.retraining.frozen import frozen
from training.retraining.heads import HeadRecipe, Pooled, fit_head, judged
from training.retraining.line_fitting import own_logits
from training.synthetic import SURFACES, draw_surface

CLASSES = ("patches", "scratches", "no_defect", "stain")
ALONE = torch.tensor([0.0, 0.0, 1.0, 1.0])
SIDE = 64
FIRST_SIDE = 40


def test_it_decides_the_domain_and_the_logits_the_class_within_it() -> None:
    domain = DomainClassifier(ALONE, 2)
    with torch.no_grad():
        domain.weight.copy_(torch.tensor([1.0, 0.0]))
        domain.bias.fill_(1.0)
    logits = torch.tensor([[0.1, 0.3, 0.2, 0.4]]).log() + 7
    told = domain(logits, torch.tensor([[2.0, 9.0]])).exp()
    here = 1 / (1 + math.exp(-3.0))
    expected = torch.tensor([[0.25 * (1 - here), 0.75 * (1 - here), here / 3, here * 2 / 3]])
    assert torch.allclose(told, expected, atol=1e-6)


@pytest.mark.parametrize("odds", [-200.0, 200.0])
def test_the_other_domain_gets_no_more_than_it_leaves_and_no_infinity(odds: float) -> None:
    domain = DomainClassifier(ALONE, 1)
    with torch.no_grad():
        domain.bias.fill_(odds)
    with torch.inference_mode():
        told = domain(torch.tensor([[30.0, -30.0, 12.0, 5.0]]), torch.zeros(1, 1))
    assert told.isfinite().all()
    left = told.exp()[0, :2] if odds > 0 else told.exp()[0, 2:]
    assert float(left.sum()) < 1e-30
    assert float(told.exp().sum()) == pytest.approx(1)


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    drawn = [
        draw_surface(name, seed=n, height=SIDE, width=SIDE) for name in SURFACES for n in (1, 2)
    ]
    return np.stack(drawn)


@pytest.fixture(scope="module", params=[False, True], ids=["alone", "beside a line's own network"])
def network(pictures: NDArray[np.uint8], request: pytest.FixtureRequest) -> SurfaceNetwork:
    """Random, with batch norms that suit the pictures."""
    torch.manual_seed(0)
    own = np.array([2, 3])
    line = LineNetwork.for_classes(
        len(CLASSES), own, first_side=FIRST_SIDE, alone=own, clean=own[:1]
    )
    domain = DomainClassifier(ALONE, 512 + 256)
    torch.nn.init.normal_(domain.weight)
    return suited(
        SurfaceNetwork(len(CLASSES), line=line if request.param else None, domain=domain), pictures
    )


@pytest.fixture(scope="module")
def folder(network: SurfaceNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("domains") / "model"
    return saved(network, made, classes=CLASSES, side=SIDE)


def test_it_comes_back_from_a_model_folder_as_exact_as_it_was(
    network: SurfaceNetwork, folder: Path
) -> None:
    again, _ = load_network(folder)
    assert again.domain is not None
    assert network.domain is not None
    theirs = network.domain.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in again.domain.state_dict().items())


def test_openvino_computes_what_torch_does(folder: Path, pictures: NDArray[np.uint8]) -> None:
    theirs = torch_runtime.load(folder, device="cpu").infer(pictures)
    ours = openvino_runtime.load_fp32(folder).infer(pictures)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-3)
    np.testing.assert_allclose(np.exp(ours.logits).sum(axis=1), 1, atol=1e-4)
    given_to_the_line = np.exp(theirs.logits[:, 2:]).sum(axis=1)
    assert given_to_the_line.min() < 0.5 < given_to_the_line.max(), "both domains are seen"


def test_both_say_the_same_of_images_of_which_activations_and_texture_are_kept(
    network: SurfaceNetwork, folder: Path, pictures: NDArray[np.uint8]
) -> None:
    with torch.inference_mode():
        middle, texture = (
            each.numpy() for each in network.middle_and_texture(torch.from_numpy(pictures))
        )
    there = torch_runtime.load(folder, device="cpu")
    here = openvino_runtime.load_fp32(folder)
    theirs, ours = there.infer_above(middle, texture), here.infer_above(middle, texture)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-3)
    if network.line is None:
        np.testing.assert_allclose(theirs.logits, there.infer(pictures).logits, atol=1e-3)
    for runtime in (there, here):
        with pytest.raises(ValueError, match="textures"):
            runtime.infer_above(middle)


def test_what_a_run_sees_once_is_judged_as_by_a_pass_through_the_whole_network(
    network: SurfaceNetwork, pictures: NDArray[np.uint8]
) -> None:
    own, seen = None, pictures
    if network.line is not None:
        own = own_logits(network.line, pictures)
        seen = shrunk(torch.from_numpy(pictures), FIRST_SIDE).to(torch.uint8).numpy()
    below = frozen(network, seen)
    assert below.name == "openvino fp32 on cpu"
    found = judged(network, below.infer(seen).features, own)
    whole = torch_runtime.TorchRuntime(network, device="cpu").infer(pictures)
    np.testing.assert_allclose(found.features, whole.features, atol=1e-3)
    np.testing.assert_allclose(found.logits, whole.logits, atol=1e-3)


def test_torch_sees_them_where_openvino_sees_something_else(pictures: NDArray[np.uint8]) -> None:
    broken = SurfaceNetwork(2)
    with torch.no_grad():
        broken.backbone.conv1.weight[0] = torch.nan
    assert frozen(broken, pictures).name == "torch on cpu"


TEXTURES = torch.nn.functional.normalize(torch.eye(256)[:8] + 0.1, dim=1)


def pooled(label: int, *, textures: torch.Tensor | None) -> Pooled:
    """Eight images; the same features whatever the label."""
    views = torch.rand(1, 8, 512, generator=torch.Generator().manual_seed(1))
    return Pooled(views=views, labels=torch.full((8,), label), textures=textures)


RECIPE = HeadRecipe(views=1)


def test_what_only_texture_tells_apart_is_told_apart() -> None:
    torch.manual_seed(0)
    kept = pooled(0, textures=TEXTURES)
    line = pooled(1, textures=TEXTURES.flip(0, 1))
    made = fit_head(SurfaceNetwork(1), kept, line, classes=2, recipe=RECIPE)
    with torch.inference_mode():
        of_kept = made.head(kept.views[0], kept.textures)
        of_line = made.head(line.views[0], line.textures)
    assert of_kept.argmax(dim=1).tolist() == [0] * 8
    assert of_line.argmax(dim=1).tolist() == [1] * 8


@pytest.mark.parametrize(("label", "textures"), [(0, TEXTURES), (1, None)])
def test_without_a_class_of_its_own_or_without_textures_there_is_nothing_to_tell_apart(
    label: int, textures: torch.Tensor | None
) -> None:
    line = pooled(label, textures=TEXTURES)
    kept = pooled(0, textures=textures)
    made = fit_head(SurfaceNetwork(1), kept, line, classes=2, recipe=RECIPE)
    assert made.domain is None
