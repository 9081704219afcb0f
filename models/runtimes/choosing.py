"""Which runtime serves a model folder on this machine.

`auto` is CUDA where there is a GPU with room for it, else OpenVINO INT8, else OpenVINO FP32, else torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

from models.checkpoint import Arrays, Metadata
from models.runtimes import exported as files
from models.runtimes.exported import Exported, read_exported
from models.runtimes.openvino_runtime import OpenVinoRuntime, load_fp32, load_int8
from models.runtimes.protocol import Runtime, RuntimeUnavailableError

_GPU_DEVICES: Final = (Path("/dev/nvidia0"), Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""One of them is there when a driver is: a look costs nothing, to import torch takes seconds."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A runtime, loaded.

    Attributes:
        evidence: what it saw at export of the held-out images; None for the network as trained,
            whose evidence the model folder has anyway.
        remarks: why it is not the first choice, for people.
    """

    runtime: Runtime
    evidence: Arrays | None = None
    remarks: tuple[str, ...] = ()


def choose(folder: Path, metadata: Metadata, wanted: str) -> Chosen:
    """Load the runtime that is wanted: `auto`, `torch` or `openvino`.

    Raises:
        CheckpointError: if the folder is not whole.
        RuntimeUnavailableError: if the runtime cannot run here.
    """
    loaders: list[Callable[[], Chosen]]
    processor = partial(_load_torch, folder, "cpu")
    openvino = partial(_load_openvino, folder, metadata)
    match wanted:
        case "torch":
            loaders = [partial(_load_torch, folder, "auto"), processor]
        case "openvino":
            loaders = [openvino]
        case "auto":
            gpu = [partial(_load_torch, folder, "cuda")] if _has_gpu() else []
            loaders = [*gpu, openvino, processor]
        case _:
            raise RuntimeUnavailableError(
                f'this version has no runtime "{wanted}"; '
                'set model.runtime to "auto", "torch" or "openvino"'
            )
    return first_that_runs(loaders)


def first_that_runs(loaders: Sequence[Callable[[], Chosen]]) -> Chosen:
    """The first choice that can run here, with what kept those before it from serving.

    Raises as the last one.
    """
    first, *others = loaders
    try:
        return first()
    except RuntimeUnavailableError as error:
        if not others:
            raise
        remark = f"another runtime serves: {error}"
    chosen = first_that_runs(others)
    return replace(chosen, remarks=(remark, *chosen.remarks))


def _load_openvino(folder: Path, metadata: Metadata) -> Chosen:
    """INT8 where it was exported and gives here what it gave there, else FP32."""
    exported = read_exported(folder, metadata)
    if exported is None:
        remark = (
            f"{folder} was not exported to INT8; `millwatch export` makes it several times faster"
        )
    elif exported.serves == "int8":
        chosen, remark = _load_int8(folder, exported)
        if chosen is not None:
            return chosen
    else:
        remark = f"INT8 is not used: {exported.reason}"
    return Chosen(runtime=load_fp32(folder), remarks=(f"FP32 serves: {remark}",))


def _load_int8(folder: Path, exported: Exported) -> tuple[Chosen | None, str]:
    files.verify(folder, exported)
    runtime: OpenVinoRuntime = load_int8(folder / files.GRAPH)
    trouble = files.disagreement(folder, exported, runtime)
    if trouble is not None:
        return None, f"INT8 cannot be believed on this processor: {trouble}"
    evidence = files.load_int8_evidence(folder, exported)
    return Chosen(runtime=runtime, evidence=evidence), ""


def _has_gpu() -> bool:
    if not any(device.exists() for device in _GPU_DEVICES):
        return False
    import torch  # noqa: PLC0415 -- takes seconds, and has nothing to say without a driver

    return torch.cuda.is_available()


def _load_torch(folder: Path, device: Literal["auto", "cpu", "cuda"]) -> Chosen:
    from models.runtimes.torch_runtime import load  # noqa: PLC0415 -- torch takes seconds to import

    return Chosen(runtime=load(folder, device=device))
