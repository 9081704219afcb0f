"""What boxes teach a network beside the labels: which places of a picture show the defect.

Labels alone let a network judge by what surrounds a defect. So while it is fitted, linear layers on
its third stage and on its last tell the class of each place, or background, and are fitted with it to
the boxes that people drew; they are not served. That another task on the same features makes them more
general is Caruana 1997, doi:10.1023/A:1007379606734.
"""

from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from models.network import SurfaceNetwork

FILE: Final = "box-head.safetensors"
_CHANNELS: Final = (256, 512)
_UNKNOWN: Final = 0.2
"""Cells of which more is unknown teach nothing."""


class BoxHead(nn.Module):
    """The class of each place of the third stage, `(N, 256, h, w)`, and of the last feature map, `(N, 512, h, w)`."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        third, last = _CHANNELS
        self.third = nn.Conv2d(third, classes + 1, kernel_size=1)
        self.last = nn.Conv2d(last, classes + 1, kernel_size=1)

    def forward(self, third_stage: Tensor, last_map: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `(N, classes + 1, h, w)` of each, background last."""
        return self.third(third_stage), self.last(last_map)

    def save(self, folder: Path) -> None:
        """Beside the weights, for a next phase to go on with."""
        state = self.state_dict().items()
        data = save({key: value.detach().cpu().numpy() for key, value in state})
        (folder / FILE).write_bytes(data)

    def take(self, folder: Path) -> None:
        """Go on with what `save` left there; begin anew where there is none of as many classes."""
        try:
            state = {
                key: torch.from_numpy(value) for key, value in load_file(folder / FILE).items()
            }
            self.load_state_dict(state)
        except (OSError, SafetensorError, RuntimeError):
            return


def logits_and_places(
    network: SurfaceNetwork, head: BoxHead, images: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One pass: the picture's logits `(N, classes)` and those of its places, as `BoxHead`."""
    net = network.backbone
    third = net.layer3(net.layer2(network.first_stage(images)))
    top = network.top(net.layer4[0](third))
    return top.logits, head(third, top.maps)


def box_loss(places: Tensor, labels: Tensor, boxed: Tensor) -> Tensor:
    """Mean cross-entropy of the places of which something is known, in nats.

    A cell that is boxed by a third is the picture's class to a third, else background.

    Args:
        places: float logits `(N, classes + 1, h, w)`, background last.
        labels: of the pictures, int64 `(N,)`.
        boxed: as `training.data.boxes.coverage`, at any resolution.
    """
    cells = functional.adaptive_avg_pool2d(boxed, (places.shape[-2], places.shape[-1]))
    inside, unknown = cells[:, 0], cells[:, 1]
    likelihood = places.log_softmax(dim=1)
    own = likelihood[torch.arange(len(labels), device=labels.device), labels]
    known = (unknown < _UNKNOWN).to(inside)
    losses = -(inside * own + (1 - inside) * likelihood[:, -1]) * known
    return losses.sum() / known.sum().clamp(min=1)
