"""What `training.model_folder.export` adds to a model folder, and what is read of it before it is served.

`openvino.json` is written last: a folder without it is a model that was never exported, whatever
else lies there.
"""

import hashlib
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from models.checkpoint import Arrays, CheckpointError, Metadata
from models.runtimes.protocol import Runtime

FORMAT: Final = 1
RECORD: Final = "openvino.json"
GRAPH: Final = "openvino-int8.xml"
GRAPH_WEIGHTS: Final = "openvino-int8.bin"
EVIDENCE: Final = "evidence-int8.safetensors"
SHEET: Final = "openvino-check.png"
FILES: Final = (GRAPH, GRAPH_WEIGHTS, EVIDENCE, SHEET)
SHEET_SIDE: Final = 8
"""Pictures in a row, and rows, of the sheet that a machine is checked with."""

_TOLERANCE: Final = 0.02
"""Of the spread of the expected logits: how far those of another processor may be on average.

Instruction sets from SSE4.1 to AMX differ by 0.0005 at most, INT8 from float32 by 0.09.
"""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """How a model folder is served by OpenVINO.

    Attributes:
        weights_sha256: of the weights that were exported.
        serves: `int8`, or `fp32` when INT8 did not agree with the trained network.
        reason: why, in words.
        files: SHA-256 of each file of INT8; empty when that is not served.
        expected: INT8's logits for the pictures of the sheet, `(64, classes)`.
        versions: of what made it.
        parity: the figures that decided.
    """

    weights_sha256: str
    serves: Literal["int8", "fp32"]
    reason: str
    files: dict[str, str] = field(default_factory=dict)
    expected: list[list[float]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def read_exported(folder: Path, metadata: Metadata) -> Exported | None:
    """None for a model that was not exported.

    Raises:
        CheckpointError: when the record is damaged, of other weights or of another version.
    """
    path = folder / RECORD
    try:
        fields = json.loads(path.read_text())
        exported = Exported(**fields)
        _refuse_senseless(exported)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); restore it, or export the model again"
        ) from error
    if exported.format != FORMAT:
        raise CheckpointError(
            f"{path} has format {exported.format}, this version reads {FORMAT}; "
            "export the model again"
        )
    if exported.weights_sha256 != metadata.weights_sha256:
        raise CheckpointError(
            f"{path} is of other weights than those in {folder}; export the model again"
        )
    return exported


def verify(folder: Path, exported: Exported) -> None:
    """Raises CheckpointError when a file of INT8 is missing or altered."""
    for name in FILES:
        _read(folder, name, exported)


def load_int8_evidence(folder: Path, exported: Exported) -> Arrays:
    """Raises CheckpointError when it is missing, altered or cannot be read."""
    try:
        return safetensors.numpy.load(_read(folder, EVIDENCE, exported))
    except SafetensorError as error:
        raise CheckpointError(
            f"{folder / EVIDENCE} cannot be read ({error}); restore it, or export the model again"
        ) from error


def disagreement(folder: Path, exported: Exported, runtime: Runtime) -> str | None:
    """Why INT8 cannot be believed on this processor; None when it gives what it gave at export.

    A processor without VNNI adds products in 16 bits, and what exceeds those is cut off in silence.

    Raises:
        CheckpointError: when the sheet of pictures is missing or altered.
    """
    pictures = cut_sheet(_read(folder, SHEET, exported))
    expected = np.array(exported.expected, dtype=np.float32)
    logits = runtime.infer(pictures).logits
    if logits.shape != expected.shape:
        return f"it gave {logits.shape} numbers where {expected.shape} were expected"
    if not np.isfinite(logits).all():
        return "it gave what is no number"
    off = float(np.abs(logits - expected).mean() / max(float(expected.std()), 1e-6))
    if off > _TOLERANCE:
        return (
            f"on the {len(pictures)} pictures that it was exported with, its numbers are off by "
            f"{off:.2f} of their spread, {_TOLERANCE} being allowed"
        )
    return None


def make_sheet(pictures: NDArray[np.uint8]) -> bytes:
    """64 grey pictures `(64, side, side)` as one PNG."""
    side = pictures.shape[1]
    grid = pictures.reshape(SHEET_SIDE, SHEET_SIDE, side, side).swapaxes(1, 2)
    file = io.BytesIO()
    whole = np.ascontiguousarray(grid.reshape(SHEET_SIDE * side, SHEET_SIDE * side))
    Image.fromarray(whole).save(file, "PNG", optimize=True)
    return file.getvalue()


def cut_sheet(data: bytes) -> NDArray[np.uint8]:
    """The pictures of a sheet, uint8 `(64, side, side)`."""
    with Image.open(io.BytesIO(data)) as image:
        whole = np.asarray(image)
    side = len(whole) // SHEET_SIDE
    grid = whole.reshape(SHEET_SIDE, side, SHEET_SIDE, side).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(SHEET_SIDE**2, side, side))


def _refuse_senseless(exported: Exported) -> None:
    """Raises ValueError for fields that no export writes."""
    if exported.serves not in ("int8", "fp32"):
        raise ValueError(f'serves must be "int8" or "fp32", it is {exported.serves!r}')
    if exported.serves == "int8" and set(exported.files) != set(FILES):
        raise ValueError(f"files must be {', '.join(FILES)}, they are {', '.join(exported.files)}")
    np.array(exported.expected, dtype=np.float32)  # refuses rows of several lengths, and words


def _read(folder: Path, name: str, exported: Exported) -> bytes:
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); restore it, or export the model again"
        ) from error
    if hashlib.sha256(data).hexdigest() != exported.files[name]:
        raise CheckpointError(
            f"{path} is not the file that {RECORD} describes (its SHA-256 differs); "
            "restore the folder from a backup, or export the model again"
        )
    return data
