"""ResNet18 on uint8 grey pictures, with normalisation inside the network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from models.checkpoint import (
    CheckpointError,
    Metadata,
    Normalisation,
    load_metadata,
    load_weights,
)
from models.domain_classifier import DomainClassifier
from models.line_network import LineNetwork
from models.pictures import normalise, shrunk
from models.resnet18 import ResNet18

_LEAST = 1e-12
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Of red, green and blue in 0..1, as torchvision's models and most tutorials take them."""


@dataclass(frozen=True, kw_only=True)
class Activations:
    """What one pass through the network gives.

    Attributes:
        logits: float `(N, classes)`.
        features: float `(N, 512 + 256)`, the globally pooled last feature map and the texture;
            `(N, 512)` from `SurfaceNetwork.top`, which sees no texture.
        maps: float `(N, 512, h, w)`, the last feature map itself.
    """

    logits: Tensor
    features: Tensor
    maps: Tensor


class SurfaceNetwork(nn.Module):
    """A ResNet18 that normalises grey pictures itself.

    As Millwatch trains it (`picture`), each picture is brought to zero mean and unit variance by
    itself, so that the exposure of the camera and the gain of its sensor do not matter; only what
    lies within the picture does. The other ways serve networks that were trained elsewhere, which
    saw a grey picture as three equal channels. Where those are normalised alike, one channel with
    the kernels summed gives the same answer. ImageNet's mean differs by channel, and the zeros
    around a picture stand for another grey in each: no one channel has the same edges, so there
    are three.
    """

    imagenet_mean: Tensor
    imagenet_deviation: Tensor

    def __init__(
        self,
        classes: int,
        *,
        normalisation: Normalisation = "picture",
        line: LineNetwork | None = None,
        domain: DomainClassifier | None = None,
    ) -> None:
        super().__init__()
        self.normalisation = normalisation
        self.line = line
        self.domain = domain
        self.backbone = ResNet18(channels=3 if normalisation == "imagenet" else 1, classes=classes)
        # As a processor's convolutions want it: 43 ms for a picture of 200 pixels instead of 55.
        self.to(memory_format=torch.channels_last)
        if normalisation != "imagenet":
            return
        # Not persistent: constants are no weights of a model folder.
        for name, values in (("mean", _IMAGENET_MEAN), ("deviation", _IMAGENET_DEVIATION)):
            constant = torch.tensor(values).view(1, 3, 1, 1)
            self.register_buffer(f"imagenet_{name}", constant, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` for grey pictures `(N, H, W)`, uint8 or float in 0..255."""
        return self.activations(images).logits

    def activations(self, images: Tensor) -> Activations:
        """The same pass, with the features and the last feature map kept."""
        second = self.backbone.layer2(self.first_stage(images))
        maps, pooled = self._above(self._below(second))
        texture = texture_of(second).to(pooled)
        logits = self.head(pooled, texture)
        if self.line is not None:
            logits = self.line.join(logits, self.line(images))
        return Activations(logits=logits, features=torch.cat([pooled, texture], dim=1), maps=maps)

    def first_stage(self, images: Tensor) -> Tensor:
        """The activations above the first stage, float `(N, 64, h, w)`.

        Where a line has a network of its own, pictures are as large as that one wants them.
        """
        net = self.backbone
        if self.line is not None:
            images = shrunk(images, self.line.first_side)
        low: Tensor = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(self.normalised(images))))))
        return low

    def first_side(self, input_size: int) -> int:
        """The side of the pictures that the first network sees, of pictures that large."""
        return input_size if self.line is None else self.line.first_side

    def middle_and_texture(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The activations below the last block, float `(N, 512, h, w)`, none below 0, and the texture, `(N, 256)`.

        A retraining on a line's own labels leaves all that is below them as it is.
        """
        second = self.backbone.layer2(self.first_stage(images))
        return self._below(second), texture_of(second)

    def top(self, middle: Tensor, texture: Tensor | None = None) -> Activations:
        """What is above: the last block, the pooling and the linear layer.

        A line's own network cannot see such images: it is taken to find each of them clean.

        Raises:
            ValueError: as `head`.
        """
        maps, pooled = self._above(middle)
        logits = self.head(pooled, texture)
        if self.line is not None:
            logits = self.line.join(logits)
        return Activations(logits=logits, features=pooled, maps=maps)

    def pooled(self, middle: Tensor) -> Tensor:
        """The globally pooled last feature map, float `(N, 512)`, for what lies below the last block."""
        return self._above(middle)[1]

    def head(self, pooled: Tensor, texture: Tensor | None = None) -> Tensor:
        """Logits `(N, classes)` for pooled features; a line's own network is not asked.

        Raises:
            ValueError: without the texture, float `(N, 256)`, where domains are told apart by it.
        """
        logits: Tensor = self.backbone.fc(pooled)
        if self.domain is None:
            return logits
        if texture is None:
            raise ValueError("domains are told apart by textures, and none are given")
        apart: Tensor = self.domain(logits, torch.cat([pooled, texture.to(pooled)], dim=1))
        return apart

    def _below(self, second_stage: Tensor) -> Tensor:
        net = self.backbone
        below: Tensor = net.layer4[0](net.layer3(second_stage))
        return below

    def _above(self, middle: Tensor) -> tuple[Tensor, Tensor]:
        net = self.backbone
        maps = net.layer4[1](middle)
        return maps, torch.flatten(net.avgpool(maps), 1)

    def normalised(self, images: Tensor) -> Tensor:
        """Grey `(N, H, W)` in 0..255 to what the first layer sees, float `(N, channels, H, W)`."""
        if self.normalisation == "picture":
            return normalise(images)
        x = images.to(torch.float32).unsqueeze(1) / 255
        if self.normalisation == "unit":
            return x
        return (x - self.imagenet_mean) / self.imagenet_deviation

    def take_weights_of(self, other: "SurfaceNetwork") -> None:
        """Start from another network; the head too, where it has as many classes.

        One with three channels has its first kernels summed over them: its answer to a picture that
        is normalised as this network does it, in each channel.
        """
        state = other.backbone.state_dict()
        if other.backbone.conv1.in_channels > self.backbone.conv1.in_channels:
            state["conv1.weight"] = state["conv1.weight"].sum(dim=1, keepdim=True)
        if other.backbone.fc.out_features != self.backbone.fc.out_features:
            state |= {k: v for k, v in self.backbone.state_dict().items() if k.startswith("fc.")}
        self.backbone.load_state_dict(state)

    def take_imagenet_weights(self, weights: Path) -> None:
        """Start from ResNet18 weights for three-channel pictures, the head left as it is.

        The first convolution's kernels are summed over colour: the answer to a grey picture
        copied into three channels is the same.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it does not hold torchvision's ResNet18.
        """
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            state["conv1.weight"] = state["conv1.weight"].sum(dim=1, keepdim=True)
            head = {key: value for key, value in self.backbone.state_dict().items() if "fc." in key}
            self.backbone.load_state_dict({**state, **head})
        except OSError:
            raise
        except Exception as error:
            # The unpickler raises almost anything on another file, and advises to unpickle it all.
            raise ValueError(
                f"{weights} does not hold torchvision's ResNet18 weights; "
                "pass the file that torchvision.models.ResNet18_Weights.DEFAULT downloads"
            ) from error


def texture_of(second_stage: Tensor) -> Tensor:
    """What a surface looks like, float `(N, 256)` of unit length: what novelty is measured on.

    Mean and standard deviation over all places of the 128 channels of the second stage, `(N, 128, h,
    w)`: the statistics by which Karras et al. 2019 (arXiv:1812.04948) change the style of a picture.
    """
    maps = second_stage.float()
    mean = maps.mean(dim=(2, 3))
    variance = (maps - mean[:, :, None, None]).square().mean(dim=(2, 3))
    both = torch.cat([mean, (variance + _LEAST).sqrt()], dim=1)
    return both / (both.square().sum(dim=1, keepdim=True) + _LEAST).sqrt()


def half_precision(network: nn.Module) -> None:
    """Round convolution and linear weights to fp16 in place, as the file will hold them.

    Batch-norm statistics stay float32: they are small, and may lie outside the range of fp16.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.copy_(parameter.half().float())


def stored_weights(network: nn.Module) -> dict[str, NDArray[Any]]:
    """The weights as a checkpoint holds them: fp16, but for vectors and counters."""
    return {
        key: (value.half() if value.dim() > 1 else value).cpu().contiguous().numpy()
        for key, value in network.state_dict().items()
    }


class _NothingDrawn(TorchFunctionMode):
    """Layers made here begin with whatever the memory holds.

    To draw eleven million random weights takes as long as to load the true ones.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in (nn.init.kaiming_uniform_, nn.init.uniform_, Tensor.normal_):
            return None
        return function(*args, **(kwargs or {}))


def load_network(folder: Path) -> tuple[SurfaceNetwork, Metadata]:
    """The network of a model folder, in float32 and evaluation mode.

    Raises:
        CheckpointError: if anything is missing, altered or of other shapes.
    """
    metadata = load_metadata(folder)
    weights = load_weights(folder, metadata)
    try:
        with _NothingDrawn():
            network = SurfaceNetwork(
                len(metadata.classes),
                normalisation=metadata.normalisation,
                line=LineNetwork.from_weights(weights),
                domain=DomainClassifier.from_weights(weights),
            )
        network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights in {folder} do not fit a ResNet18 of {len(metadata.classes)} classes "
            f"({error}); restore the folder or retrain"
        ) from error
    return network.eval(), metadata
