"""A line's own network: a second one, for what the first cannot tell apart on that line's surface.

The network that ships knows its six classes by features that do not tell a line's clean surface from
that line's own defects (docs/experiments.md). So a line may get a network of its own, which sees larger
pictures and is fitted to its labels. It has a say only over images that the first one takes for this
line's: what the first gives to classes that it knows from this line alone, the second shares out.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.pictures import normalise
from models.resnet18 import stage

PREFIX: Final = "line."
"""Of the weights' names in a model folder; a model without such weights has no network of a line."""
FIRST_STAGE: Final = ("conv1", "bn1", "layer1")
STAGES: Final = (*FIRST_STAGE, "layer2", "layer3", "layer4")
"""All that lies below its linear layer, under the names that it has in ResNet18."""
POOLED: Final = 2 * (256 + 512)
"""Mean and maximum of the last two stages: a small defect is lost in a mean."""
FLOOR: Final = -80.0
"""The logarithm of no probability at all, as near as float32 comes to it."""
_CERTAIN: Final = 30.0


class LineNetwork(nn.Module):
    """From pictures to logits of the classes that a line has labelled: a ResNet18 with a head of its own.

    Attributes:
        first_side: of the smaller pictures that the first network sees, in pixels.
        place: for each class of the model its index among the logits, their number for a class that
            is not among them, int64 `(classes,)`.
        alone: 1 for each class that the model knows from this line alone, else 0, float32
            `(classes,)`.
        unseen: logits for an image that this network cannot see, because only its activations in
            the other one are kept: certain that it is clean, so that what follows from such images
            errs on the safe side; float32 `(own classes,)`.
    """

    place: Tensor
    alone: Tensor
    unseen: Tensor

    def __init__(self, classes: int, own: int, *, first_side: int) -> None:
        """`classes` of the whole model, `own` of this network."""
        super().__init__()
        self.first_side = first_side
        self.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(64, 64, stride=1)
        self.layer2 = stage(64, 128, stride=2)
        self.layer3 = stage(128, 256, stride=2)
        self.layer4 = stage(256, 512, stride=2)
        self.linear = nn.Linear(POOLED, own)
        self.register_buffer("place", torch.full((classes,), own, dtype=torch.int64))
        self.register_buffer("alone", torch.zeros(classes))
        self.register_buffer("unseen", torch.zeros(own))
        self.register_buffer("smaller", torch.tensor(first_side))

    @classmethod
    def for_classes(
        cls,
        classes: int,
        own: NDArray[np.int64],
        *,
        first_side: int,
        alone: NDArray[np.int64],
        clean: NDArray[np.int64],
    ) -> "LineNetwork":
        """One that is not fitted yet. All are indices among the classes of the model.

        Args:
            own: what it shall tell apart, in the order of its logits.
            alone: what the model knows from this line alone.
            clean: those of `own` that are no defects.
        """
        made = cls(classes, len(own), first_side=first_side)
        made.place[torch.from_numpy(own)] = torch.arange(len(own))
        made.alone[torch.from_numpy(alone)] = 1.0
        made.unseen[torch.from_numpy(np.isin(own, clean))] = _CERTAIN
        return made

    @classmethod
    def from_weights(cls, weights: dict[str, Any]) -> "LineNetwork | None":
        """One of the shapes that a model folder holds, None where it holds none."""
        if f"{PREFIX}linear.bias" not in weights:
            return None
        return cls(
            len(weights[f"{PREFIX}place"]),
            len(weights[f"{PREFIX}linear.bias"]),
            first_side=int(weights[f"{PREFIX}smaller"]),
        )

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Take those of its stages, under the names that they have in ResNet18; others are left."""
        stages = {key: value for key, value in weights.items() if key.startswith(STAGES)}
        self.load_state_dict({**self.state_dict(), **stages})

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, own classes)` for grey pictures `(N, H, W)` in 0..255."""
        return self.told(*self.maps(images)[1:])

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The activations of the second, the third and the last stage, float `(N, channels, h, w)`."""
        low = functional.relu(self.bn1(self.conv1(normalise(images))))
        low = functional.max_pool2d(low, kernel_size=3, stride=2, padding=1)
        second = self.layer2(self.layer1(low))
        third = self.layer3(second)
        return second, third, self.layer4(third)

    def told(self, third: Tensor, last: Tensor) -> Tensor:
        """Logits `(N, own classes)` for activations of the last two stages."""
        pooled: list[Tensor] = []
        for x in (third, last):
            pooled += [x.mean(dim=(2, 3)), x.amax(dim=(2, 3))]
        logits: Tensor = self.linear(torch.cat(pooled, dim=1))
        return logits

    @torch.no_grad()
    def cool(self, temperature: float) -> None:
        """Divide the logits that it gives from now on: what it is fitted to, it is too sure of."""
        self.linear.weight.div_(temperature)
        self.linear.bias.div_(temperature)

    def join(self, logits: Tensor, own: Tensor | None = None) -> Tensor:
        """What both say together, as logarithms of probabilities `(N, classes)`.

        Args:
            logits: of the first network, `(N, classes)`.
            own: of this one, `(N, own classes)`; None where it cannot see the images.
        """
        first = logits.float().log_softmax(dim=1)
        mine = (self.unseen.unsqueeze(0) if own is None else own.float()).log_softmax(dim=1)
        share = ((first.exp() * self.alone).sum(dim=1, keepdim=True) + 1e-30).log()
        absent = self.place == mine.shape[1]
        placed = mine[:, self.place.masked_fill(absent, 0)] + absent * FLOOR
        return torch.logaddexp(first + self.alone * FLOOR, share + placed)
