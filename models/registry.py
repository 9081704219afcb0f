"""Models that can be served: found, loaded, and put together with their decisions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Arrays, CheckpointError, Metadata, load_evidence, load_metadata
from models.decision import Decider, Decision, Policy
from models.evidence import Evidence
from models.heatmap import heatmap
from models.runtimes.choosing import Chosen, choose
from models.runtimes.protocol import Outputs, Runtime

PRETRAINED: Final = Path(__file__).with_name("pretrained")
"""The model that ships with Millwatch."""
LINE_START: Final = Path(__file__).with_name("line-start.safetensors")
"""What a network of a line's own starts from, beside the model that ships."""


class NotFiniteError(Exception):
    """A network's output is infinite or no number at all."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network that is loaded, with what is needed to decide on its outputs.

    Attributes:
        remarks: why the runtime is not the first choice, for people; empty when it is.
    """

    metadata: Metadata
    runtime: Runtime
    decider: Decider
    remarks: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        return self.metadata.version

    @property
    def input_size(self) -> int:
        return self.metadata.input_size

    def judge(self, pixels: NDArray[np.uint8]) -> list[Decision]:
        """One decision for each uint8 grey picture `(N, input_size, input_size)`.

        Raises:
            NotFiniteError: when the network gives something that is no number.
        """
        outputs = self._infer(pixels)
        return self.decider.decide(outputs.logits, outputs.features)

    def explain(self, pixels: NDArray[np.uint8]) -> tuple[Decision, NDArray[np.float32]]:
        """The decision for one picture `(input_size, input_size)` and the heatmap of its class.

        Raises as `judge`.
        """
        outputs = self._infer(pixels[None], with_maps=True)
        if outputs.maps is None:
            raise RuntimeError(f"{self.runtime.name} gave no feature map when asked for one")
        (decision,) = self.decider.decide(outputs.logits, outputs.features)
        chosen = self.metadata.classes.index(decision.predicted_class)
        return decision, heatmap(outputs.maps[0], self.runtime.head[chosen])

    def _infer(self, pixels: NDArray[np.uint8], *, with_maps: bool = False) -> Outputs:
        outputs = self.runtime.infer(pixels, with_maps=with_maps)
        if not (np.isfinite(outputs.logits).all() and np.isfinite(outputs.features).all()):
            raise NotFiniteError(f"model {self.version} gave numbers that are none")
        return outputs


def load_model(folder: Path, *, policy: Policy, runtime: str = "auto") -> Model:
    """Load a model folder ready to serve. `runtime` is `auto`, `torch` or `openvino`.

    Raises:
        CheckpointError: if the folder is not whole.
        RuntimeUnavailableError: if the runtime cannot run here.
    """
    metadata = load_metadata(folder)
    chosen = choose(folder, metadata, runtime)
    evidence = _seen_by(chosen, folder, metadata)
    decider = Decider(classes=metadata.classes, evidence=evidence, policy=policy)
    return Model(metadata=metadata, runtime=chosen.runtime, decider=decider, remarks=chosen.remarks)


def serving_evidence(folder: Path, metadata: Metadata, *, runtime: str) -> Evidence:
    """The held-out images that decisions follow from where `load_model` loads this runtime.

    Raises as `load_model`.
    """
    return _seen_by(choose(folder, metadata, runtime), folder, metadata)


def read_evidence(folder: Path, metadata: Metadata) -> Evidence:
    """The held-out images that the decisions of a model folder follow from.

    As the trained network sees them, in float32: by torch or OpenVINO.

    Raises:
        CheckpointError: if they are missing, altered, or of other classes.
    """
    return _evidence_of(load_evidence(folder, metadata), folder, metadata)


def _seen_by(chosen: Chosen, folder: Path, metadata: Metadata) -> Evidence:
    if chosen.evidence is None:
        return read_evidence(folder, metadata)
    return _evidence_of(chosen.evidence, folder, metadata)


def _evidence_of(arrays: Arrays, folder: Path, metadata: Metadata) -> Evidence:
    try:
        evidence = Evidence.from_arrays(arrays)
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"the evidence in {folder} cannot be used ({error}); restore the folder or retrain"
        ) from error
    if evidence.logits.shape[1] != len(metadata.classes):
        raise CheckpointError(
            f"the evidence in {folder} is of {evidence.logits.shape[1]} classes, the model of "
            f"{len(metadata.classes)}; restore the folder or retrain"
        )
    return evidence
