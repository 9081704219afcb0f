"""Whether an image shows this line's surface or what the model knew before: decided by itself.

The linear layer that tells all classes apart sees the last features, which the first images were made to fill: a held-out
one, or a blurred one, lies between those that it was fitted to, where a line's surface then lies as well.
Texture tells the surfaces themselves apart (docs/experiments.md). So the two domains are told apart on both, and
the linear layer says only which class it is within one of them.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

PREFIX: Final = "domain."
"""Of the weights' names in a model folder; a model without such weights has no domain classifier."""
NEVER: Final = -1e4
"""Added to the logit of a class of the other domain."""


class DomainClassifier(nn.Module):
    """From features and logits to logarithms of probabilities of all classes.

    Attributes:
        weight: of the features, float32 `(512 + 256,)`.
        bias: float32 `(1,)`.
        alone: 1 for each class that the model knows from this line alone, else 0, float32 `(classes,)`.
    """

    alone: Tensor

    def __init__(self, alone: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("alone", alone.float())
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(1))

    @classmethod
    def from_weights(cls, weights: Mapping[str, Any]) -> "DomainClassifier | None":
        """One of the shapes that a model folder holds, None where it holds none."""
        if f"{PREFIX}weight" not in weights:
            return None
        alone = torch.from_numpy(weights[f"{PREFIX}alone"])
        return cls(alone, len(weights[f"{PREFIX}weight"]))

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        """Logarithms of probabilities `(N, classes)`, for logits of that shape and features `(N, 768)`."""
        odds = (features.float() @ self.weight + self.bias).unsqueeze(1)
        logits, others = logits.float(), 1 - self.alone
        here = (logits + others * NEVER).log_softmax(dim=1) + functional.logsigmoid(odds)
        there = (logits + self.alone * NEVER).log_softmax(dim=1) + functional.logsigmoid(-odds)
        return self.alone * here + others * there
