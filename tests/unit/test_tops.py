import pytest
import torch

from models.network import SurfaceNetwork
from training.retraining.run_folder import RunError
from training.retraining.tops import Activated, TopRecipe, fit_top

RECIPE = TopRecipe(views=1, epochs=1, batch=4)


def activated(seed: int, *, label: int) -> Activated:
    """Eight made-up images of one class, as they look below the last block."""
    torch.manual_seed(seed)
    maps = torch.rand(1, 8, 512, 2, 2) + 3.0 * label
    return Activated(views=maps.half(), labels=torch.full((8,), label))


@pytest.mark.fault(33)
def test_activations_that_are_no_numbers_end_the_run_and_say_what_to_look_at() -> None:
    torch.manual_seed(0)
    network, line = SurfaceNetwork(2), activated(2, label=1)
    made = fit_top(network, activated(1, label=0), line, classes=2, recipe=RECIPE, seed=1)
    assert made.top(line.views[0].float()).logits.argmax(dim=1).tolist() == [1] * 8
    line.views[0, 3, 0, 0, 0] = torch.nan
    with pytest.raises(
        RunError, match="some activations are no numbers; the current model is as it was"
    ):
        fit_top(network, activated(1, label=0), line, classes=2, recipe=RECIPE, seed=1)
