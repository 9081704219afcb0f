"""The best linear layer on features that are given: a convex problem, solved to its end."""

from collections.abc import Callable

import torch
from torch import Tensor

from training.retraining.run_folder import RunError

_LEAST_SPREAD = 1e-3
_MOST_STEPS = 150


def linear_optimum(
    features: Tensor,
    share: Tensor,
    *,
    outputs: int,
    shrink: float,
    loss: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Slopes `(outputs, D)` and offsets `(outputs,)`, by L-BFGS with the strong Wolfe conditions.

    Args:
        features: `(N, D)`; brought to unit variance meanwhile.
        share: what each row counts for, `(N,)`, in sum 1.
        shrink: of the squares of the slopes, for features of unit variance.
        loss: of logits `(N, outputs)`, for each row, `(N,)`.

    Raises:
        RunError: for features that are no numbers.
    """
    if not features.isfinite().all():
        raise RunError(
            "some activations are no numbers; the current model is as it was: roll back to a model "
            "whose figures are sound, or look at the labelled images"
        )
    centre, spread = features.mean(dim=0), features.std(dim=0) + _LEAST_SPREAD
    x = (features - centre) / spread
    slopes = torch.zeros(outputs, features.shape[1], requires_grad=True)
    offsets = torch.zeros(outputs, requires_grad=True)
    search = torch.optim.LBFGS(
        [slopes, offsets], max_iter=_MOST_STEPS, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        search.zero_grad()
        each = loss(torch.nn.functional.linear(x, slopes, offsets))
        total: Tensor = (each * share).sum() + shrink * slopes.square().sum()
        total.backward()
        return total

    search.step(closure)
    with torch.no_grad():
        found = slopes / spread
        return found, offsets - found @ centre
