"""A ResNet18 that was trained elsewhere, made a model folder that serves it as it was trained."""

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from config.text import counted
from models.checkpoint import CheckpointError, Metadata, Normalisation, save
from models.network import SurfaceNetwork, half_precision, stored_weights
from training.data.dataset import load_part
from training.data.manifest import Manifest, Part
from training.judging.evaluate import Evaluation
from training.model_folder.packing import pack

INPUT_SIZE: Final = 224
"""What torchvision's models are trained at."""
_WITHIN: Final = ("state_dict", "model_state_dict", "model")
"""Where training programs put the weights, beside epoch, optimiser and figures."""
_FIRST: Final = "conv1.weight"
_HOW_TO_SAVE: Final = (
    "in the program that trained it, write `torch.save(model.state_dict(), 'weights.pth')` and "
    "import that file"
)
_WENT_WRONG: Final = "the training that wrote it went wrong; import an earlier state of it"


class ImportRefusedError(Exception):
    """A file of weights cannot be made a model; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A model folder that was written.

    Attributes:
        likely_classes: the order of classes that the held-out images speak for, where it is not
            the one that was stated; else None.
    """

    metadata: Metadata
    evaluation: Evaluation
    likely_classes: tuple[str, ...] | None


def import_weights(
    file: Path,
    out: Path,
    *,
    classes: Sequence[str],
    manifest: Manifest,
    input_size: int = INPUT_SIZE,
    normalisation: Normalisation = "imagenet",
) -> Imported:
    """Write `out`: a model folder that serves the ResNet18 in `file`.

    Its calibration, thresholds and novelty come from the manifest's fit and select parts and its
    figures from the test part, as those of a training run. The classes of the model folder stand in
    the manifest's order.

    Args:
        file: a state dict of torchvision's ResNet18 with three channels, or one where that is not
            normalised as `imagenet`, alone or in a dict under `state_dict`, `model_state_dict` or
            `model`. Names may begin with `module.`, `backbone.` and the like; a dropout before the
            last layer does not matter.
        classes: in the order of the network's outputs.
        input_size: side of the pictures that it was trained on, in pixels.
        normalisation: how those were normalised.

    Raises:
        CheckpointError: if `out` exists.
        ImportRefusedError: for the file or the classes.
        ManifestError: for the manifest or its images. Nothing is written then, nor before.
    """
    if out.exists():
        raise CheckpointError(f"{out} exists; a model is never overwritten, name another folder")
    _refuse_other_classes(classes, manifest)
    state = read_state_dict(file)
    network = network_of(
        state, file=file, stated=classes, order=manifest.classes, normalisation=normalisation
    )
    try:
        packed = pack(
            network,
            manifest,
            select_part=load_part(manifest, Part.SELECT, side=input_size),
            test_part=load_part(manifest, Part.TEST, side=input_size),
            input_size=input_size,
            recipe={
                "imported": file.name,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "classes_as_stated": list(classes),
            },
        )
    except ValueError as error:  # of `Evidence`
        raise ImportRefusedError(
            f"{file} computes what is no number from the manifest's images ({error}): {_WENT_WRONG}"
        ) from error
    metadata = save(out, stored_weights(network), packed.metadata, packed.evidence.arrays())
    likely = _likely_order(classes, packed.evaluation)
    return Imported(metadata=metadata, evaluation=packed.evaluation, likely_classes=likely)


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """The weights in a file, under the names that torchvision's ResNet gives them.

    Nothing in the file is executed (`weights_only`).

    Raises:
        ImportRefusedError: if there are none, or other things than tensors among them.
    """
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ImportRefusedError(f"{file} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # The unpickler raises almost anything on another file, and advises to unpickle it all.
        if isinstance(error, pickle.UnpicklingError) and "Unsupported global" in str(error):
            raise ImportRefusedError(
                f"{file} holds more than weights (a whole model, perhaps, or figures as numpy "
                f"numbers): to read it would run code from it; {_HOW_TO_SAVE}"
            ) from error
        raise ImportRefusedError(
            f"{file} is no file of weights, or is damaged (torch.load cannot read it); "
            f"{_HOW_TO_SAVE}"
        ) from error
    for key in _WITHIN:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise ImportRefusedError(
            f"{file} holds no state dict, alone or under {', '.join(_WITHIN)}; {_HOW_TO_SAVE}"
        )
    for key, value in loaded.items():
        if not (isinstance(key, str) and isinstance(value, Tensor)):
            raise ImportRefusedError(
                f"{file} holds no state dict: {key!r} is no tensor's name; {_HOW_TO_SAVE}"
            )
    return _named_as_torchvision(dict(loaded))


def network_of(
    state: Mapping[str, Tensor],
    *,
    file: Path,
    stated: Sequence[str],
    order: Sequence[str],
    normalisation: Normalisation,
) -> SurfaceNetwork:
    """The network with these weights, rounded as a model folder holds them, in evaluation mode.

    Args:
        state: from `read_state_dict`.
        file: named in errors.
        stated: the classes in the order of the weights.
        order: the same classes in the order that the network's outputs are to have.

    Raises:
        ImportRefusedError: if they are not a ResNet18's of so many classes.
    """
    _refuse_other_network(state, file, len(stated), normalisation)
    weights = {key: value.float() for key, value in state.items() if "num_batches" not in key}
    network = SurfaceNetwork(len(stated), normalisation=normalisation)
    if normalisation != "imagenet":  # if three, equal: see SurfaceNetwork
        weights[_FIRST] = weights[_FIRST].sum(dim=1, keepdim=True)
    counters = {k: v for k, v in network.backbone.state_dict().items() if "num_batches" in k}
    network.backbone.load_state_dict({**counters, **weights})
    rows = [list(stated).index(name) for name in order]
    with torch.no_grad():
        for parameter in network.backbone.fc.parameters():
            parameter.copy_(parameter[rows].clone())
    half_precision(network)
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        raise ImportRefusedError(
            f"{file} holds weights that are no numbers, or too large for half precision: "
            f"{_WENT_WRONG}"
        )
    return network.eval()


def _named_as_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what stands before every name (`module.`), the last layer called `fc`."""
    first = [key for key in state if key.endswith(_FIRST) and "layer" not in key]
    prefix = first[0].removesuffix(_FIRST) if len(first) == 1 else ""
    named = {key.removeprefix(prefix): value for key, value in state.items()}
    # Sequential(Dropout, Linear): what can stand before a linear layer and has no weights leaves
    # the pooled features, which are not negative, as they are.
    last = [key for key in named if key.startswith("fc.") and key.endswith(".weight")]
    if len(last) == 1:
        inner = last[0].removesuffix("weight")
        named = {
            f"fc.{key.removeprefix(inner)}" if key.startswith(inner) else key: value
            for key, value in named.items()
        }
    return named


def _refuse_other_classes(classes: Sequence[str], manifest: Manifest) -> None:
    if len(set(classes)) < len(classes):
        raise ImportRefusedError(f"a class is stated twice: {', '.join(classes)}; name each once")
    if set(classes) != set(manifest.classes):
        raise ImportRefusedError(
            f"the classes stated are {', '.join(classes)}; the manifest has "
            f"{', '.join(manifest.classes)}: state the network's classes in the order of its "
            "outputs, by the manifest's names, or prepare a manifest of its classes"
        )


def _refuse_other_network(
    state: Mapping[str, Tensor], file: Path, classes: int, normalisation: Normalisation
) -> None:
    def refuse(what: str, remedy: str) -> ImportRefusedError:
        return ImportRefusedError(f"{file} {what}; {remedy}")

    only_18 = "only torchvision's ResNet18 can be imported: train one, as `millwatch train` does"
    if "layer1.0.conv3.weight" in state:
        raise refuse("is of a deeper ResNet (50, 101 or 152 layers)", only_18)
    if "layer1.2.conv1.weight" in state:
        raise refuse("is of a ResNet34", only_18)
    template = SurfaceNetwork(classes, normalisation="imagenet").backbone.state_dict()
    wanted = {key: value.shape for key, value in template.items() if "num_batches" not in key}
    missing = sorted(set(wanted) - set(state))
    beyond = sorted(set(state) - set(template))
    if missing or beyond:
        odd = f"lacks {missing[0]!r}" if missing else f"also holds {beyond[0]!r}"
        raise refuse(f"is of another network: it {odd}", only_18)
    channels = state[_FIRST].shape[1:2].numel()
    if channels == 1 and normalisation == "imagenet":
        raise refuse(
            "is of a network for grey pictures, which have no channels to normalise as ImageNet's",
            "say how they were: `--normalisation unit` or `--normalisation picture`",
        )
    if channels not in (1, 3):
        raise refuse(
            f"is of a network for pictures of {counted(channels, 'channel')}",
            "only one that takes grey pictures, as one channel or three equal ones, can be imported",
        )
    wanted[_FIRST] = torch.Size((*wanted[_FIRST][:1], channels, *wanted[_FIRST][2:]))
    if (outputs := state["fc.weight"].shape[:1].numel()) != classes:
        raise refuse(
            f"is of {counted(outputs, 'class')} and {classes} were stated",
            "state each of its classes, in the order of its outputs",
        )
    for key, shape in wanted.items():
        if (found := state[key].shape) != shape:
            odd = f"{key!r} has the shape {tuple(found)}, not {tuple(shape)}"
            raise refuse(f"is of another network: {odd}", only_18)


def _likely_order(stated: Sequence[str], evaluation: Evaluation) -> tuple[str, ...] | None:
    """The order that would be right if most images of each class are called one class of others."""
    names = list(evaluation.classes)
    called = {
        name: names[row.index(max(row))]
        for name, row in zip(names, evaluation.confusion, strict=True)
    }
    truly = {choice: name for name, choice in called.items()}
    if len(truly) < len(names) or all(name == choice for name, choice in called.items()):
        return None
    return tuple(truly[name] for name in stated)
