import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.network import SurfaceNetwork
from training.fitting.box_teaching import FILE, BoxHead, box_loss, logits_and_places

CLASSES = 3


def places(*probabilities: list[float]) -> Tensor:
    """Logits `(1, 4, 1, n)` of n cells, given by the probabilities of each; background last."""
    return torch.tensor(probabilities).clamp(min=1e-9).log().T[None, :, None, :]


def boxed(*cells: tuple[float, float]) -> Tensor:
    """`(1, 2, 1, n)`: of each cell what is boxed and what is unknown."""
    return torch.tensor(cells).T[None, :, None, :]


def loss(told: Tensor, known: Tensor, label: int = 1) -> float:
    return float(box_loss(told, torch.tensor([label]), known))


@pytest.mark.parametrize(
    ("probabilities", "cell", "expected"),
    [
        ([0.0, 1.0, 0.0, 0.0], (1.0, 0.0), 0.0),
        ([0.0, 0.0, 0.0, 1.0], (0.0, 0.0), 0.0),
        ([0.25, 0.25, 0.25, 0.25], (1.0, 0.0), math.log(4)),
        ([0.0, 0.5, 0.0, 0.5], (0.5, 0.0), math.log(2)),
        ([0.0, 0.25, 0.0, 0.75], (1.0, 0.0), math.log(4)),
    ],
    ids=["its class in a box", "background beside it", "nothing told", "at an edge", "unsure"],
)
def test_a_place_costs_the_cross_entropy_of_what_is_boxed(
    probabilities: list[float], cell: tuple[float, float], expected: float
) -> None:
    assert loss(places(probabilities), boxed(cell)) == pytest.approx(expected, abs=1e-6)


def test_a_place_half_boxed_costs_least_when_it_is_told_half() -> None:
    costs = [
        loss(places([0.0, share, 0.0, 1 - share]), boxed((0.5, 0.0)))
        for share in (0.1, 0.4, 0.5, 0.6, 0.9)
    ]
    assert costs.index(min(costs)) == 2


def test_a_place_of_which_nothing_is_known_costs_nothing() -> None:
    told = places([0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0])
    assert loss(told, boxed((1.0, 0.0), (0.0, 1.0))) == pytest.approx(0.0, abs=1e-6)
    assert loss(told, boxed((1.0, 0.0), (0.0, 0.0))) > 5


def test_a_picture_of_which_nothing_is_known_teaches_nothing() -> None:
    told = places([0.2, 0.3, 0.1, 0.4]).requires_grad_()
    cost = box_loss(told, torch.tensor([1]), boxed((0.0, 1.0)))
    cost.backward()
    assert float(cost.detach()) == 0
    assert told.grad is not None
    assert told.grad.abs().max() == 0


def test_the_class_of_a_place_is_its_own_picture_s() -> None:
    told = torch.cat([places([1.0, 0.0, 0.0, 0.0]), places([0.0, 0.0, 1.0, 0.0])])
    inside = boxed((1.0, 0.0)).expand(2, -1, -1, -1)
    assert float(box_loss(told, torch.tensor([0, 2]), inside)) == pytest.approx(0.0, abs=1e-6)
    assert float(box_loss(told, torch.tensor([2, 0]), inside)) > 5


def test_maps_of_any_resolution_are_averaged_over_each_place() -> None:
    fine = torch.zeros(1, 2, 4, 8)
    fine[:, 0, :, :4] = 1
    told = places([0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])
    assert loss(told, fine) == pytest.approx(0.0, abs=1e-6)


def test_the_network_judges_as_without_the_head() -> None:
    torch.manual_seed(1)
    network, head = SurfaceNetwork(CLASSES).eval(), BoxHead(CLASSES)
    images = torch.rand(2, 64, 96) * 255
    with torch.inference_mode():
        logits, (third, last) = logits_and_places(network, head, images)
        assert torch.equal(logits, network(images))
    assert third.shape == (2, CLASSES + 1, 4, 6)
    assert last.shape == (2, CLASSES + 1, 2, 3)


def test_a_head_goes_on_where_it_was(tmp_path: Path) -> None:
    first, second = BoxHead(CLASSES), BoxHead(CLASSES)
    assert not torch.equal(first.third.weight, second.third.weight)
    first.save(tmp_path)
    second.take(tmp_path)
    mine, taken = first.state_dict(), second.state_dict()
    assert all(torch.equal(mine[name], taken[name]) for name in mine)


@pytest.mark.parametrize("left", ["nothing", "another number of classes", "a damaged file"])
def test_a_head_begins_anew_where_there_is_none_that_fits(tmp_path: Path, left: str) -> None:
    if left == "another number of classes":
        BoxHead(CLASSES + 1).save(tmp_path)
    if left == "a damaged file":
        (tmp_path / FILE).write_bytes(b"no head")
    head = BoxHead(CLASSES)
    before = head.third.weight.clone()
    head.take(tmp_path)
    assert torch.equal(head.third.weight, before)
