import pytest
import torch

from models.network import SurfaceNetwork
from training.retraining.heads import HeadRecipe, Pooled, fit_head
from training.retraining.run_folder import RunError

RECIPE = HeadRecipe(views=1)


def pooled(seed: int, *, label: int) -> Pooled:
    """Eight made-up images of one class."""
    torch.manual_seed(seed)
    views = torch.rand(1, 8, 512) + 3.0 * label
    return Pooled(views=views, labels=torch.full((8,), label))


@pytest.mark.fault(33)
def test_activations_that_are_no_numbers_end_the_run_and_say_what_to_look_at() -> None:
    torch.manual_seed(0)
    network, line = SurfaceNetwork(2), pooled(2, label=1)
    made = fit_head(network, pooled(1, label=0), line, classes=2, recipe=RECIPE)
    assert made.head(line.views[0]).argmax(dim=1).tolist() == [1] * 8
    line.views[0, 3, 0] = torch.nan
    with pytest.raises(
        RunError, match="some activations are no numbers; the current model is as it was"
    ):
        fit_head(network, pooled(1, label=0), line, classes=2, recipe=RECIPE)


def test_a_rare_class_is_named_beside_a_hundred_times_as_many_of_the_first_images() -> None:
    torch.manual_seed(0)
    direction = torch.nn.functional.normalize(torch.rand(512), dim=0)
    kept = Pooled(views=torch.rand(1, 500, 512), labels=torch.zeros(500, dtype=torch.int64))
    line = Pooled(
        views=torch.rand(3, 5, 512) + 12.0 * direction, labels=torch.ones(5, dtype=torch.int64)
    )
    made = fit_head(SurfaceNetwork(1), kept, line, classes=2, recipe=RECIPE)
    fresh = torch.rand(40, 512) + 12.0 * direction
    assert made.head(fresh).argmax(dim=1).tolist() == [1] * 40


def test_nothing_below_the_head_changes() -> None:
    torch.manual_seed(0)
    network = SurfaceNetwork(1)
    made = fit_head(network, pooled(1, label=0), pooled(2, label=1), classes=2, recipe=RECIPE)
    before, after = network.backbone.state_dict(), made.backbone.state_dict()
    for name, weights in before.items():
        if not name.startswith("fc."):
            rounded = weights.half().float() if weights.dim() > 1 else weights
            assert torch.equal(after[name], rounded), name
