"""A model on disk: a folder with weights as safetensors and everything else as JSON. Never pickle."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from models.preprocessing import PREPROCESSING_VERSION

FORMAT: Final = 3
"""3: the features in the evidence have a texture behind them. 2, without it, is read too."""
_READ: Final = (2, 3)
WEIGHTS: Final = "model.safetensors"
METADATA: Final = "model.json"
EVIDENCE: Final = "evidence.safetensors"
REFERENCE: Final = "reference.safetensors"

Arrays = dict[str, NDArray[Any]]

Normalisation = Literal["picture", "imagenet", "unit"]
"""How a network brings grey levels into its range; `models.network` does it, and says why.

`picture`: each picture to zero mean and unit variance by itself. `imagenet`: three equal channels in
0..1, less ImageNet's mean, over its deviation. `unit`: 0..1.
"""


class CheckpointError(Exception):
    """A model folder cannot be served as it is; the message says which, why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What is known of a model besides its weights.

    Attributes:
        version: name that the database records with every prediction.
        classes: in the order of the logits.
        input_size: side of the square the network is served at, in pixels.
        normalisation: how the network normalises a picture; it was trained so.
        preprocessing: `PREPROCESSING_VERSION` it was trained with.
        manifest_sha256: of the manifest of its training run.
        weights_sha256: of the weights file.
        evidence_sha256: of the evidence file, from which thresholds follow.
        reference_sha256: of what is kept of the images that it came from (`models.reference`);
            empty for a model that keeps nothing, which cannot be retrained on labels alone.
        metrics: figures of its training run, from the test part unless named otherwise.
        recipe: the settings of its training run, seed included.
    """

    version: str
    classes: tuple[str, ...]
    input_size: int
    created_at: str
    manifest_sha256: str
    weights_sha256: str = ""
    evidence_sha256: str = ""
    reference_sha256: str = ""
    preprocessing: int = PREPROCESSING_VERSION
    normalisation: Normalisation = "picture"
    architecture: str = "resnet18"
    format: int = FORMAT
    metrics: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)


def save(
    folder: Path,
    weights: Arrays,
    metadata: Metadata,
    evidence: Arrays,
    *,
    reference: bytes = b"",
) -> Metadata:
    """Write a model folder whole or not at all, and return its metadata with the files' hashes.

    Args:
        folder: must not exist.
        weights: from `models.network.stored_weights`.
        metadata: its hashes are filled in.
        evidence: arrays from held-out images that decisions are derived from (`models.decision`).
        reference: from `models.reference.Reference.to_bytes`; empty to keep nothing.

    Raises:
        CheckpointError: if the folder exists, or cannot be written for want of room.
        OSError: if it cannot be written.
    """
    if folder.exists():
        raise CheckpointError(f"{folder} exists; a model is never overwritten, name another folder")
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        complete = _write(partial, weights, metadata, evidence, reference)
        partial.rename(folder)
    except SafetensorError as error:  # whatever the system says to its writer
        raise CheckpointError(
            f"{folder} cannot be written ({error}); make room there and repeat the command"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    fsync(folder.parent)
    return complete


def _write(
    folder: Path, weights: Arrays, metadata: Metadata, evidence: Arrays, reference: bytes
) -> Metadata:
    save_file(weights, folder / WEIGHTS)
    save_file(evidence, folder / EVIDENCE)
    if reference:
        (folder / REFERENCE).write_bytes(reference)
    complete = replace(
        metadata,
        weights_sha256=_sha256(folder / WEIGHTS),
        evidence_sha256=_sha256(folder / EVIDENCE),
        reference_sha256=hashlib.sha256(reference).hexdigest() if reference else "",
    )
    (folder / METADATA).write_text(json.dumps(asdict(complete), indent=2) + "\n")
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors writes for the owner alone; the service is another user
    for path in (*folder.iterdir(), folder):
        fsync(path)
    return complete


def load_metadata(folder: Path) -> Metadata:
    """Raises CheckpointError when the folder is not a model that this version can serve."""
    path = folder / METADATA
    try:
        fields = json.loads(path.read_text())
        metadata = Metadata(**{**fields, "classes": tuple(fields["classes"])})
        _refuse_senseless(metadata)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} is not a model folder: {METADATA} is missing; name a folder that "
            "`millwatch train` wrote"
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); restore it or retrain") from error
    if metadata.format not in _READ or metadata.preprocessing != PREPROCESSING_VERSION:
        raise CheckpointError(
            f"{folder} was made for format {metadata.format}, preprocessing "
            f"{metadata.preprocessing}; this version serves {FORMAT} and {PREPROCESSING_VERSION}: "
            "retrain, or run the version of Millwatch that made it"
        )
    return metadata


def load_weights(folder: Path, metadata: Metadata) -> Arrays:
    """The stored weights, checked against their hash.

    Raises:
        CheckpointError: if they are missing, altered or cannot be read.
    """
    return load_arrays(folder / WEIGHTS, metadata.weights_sha256)


def load_evidence(folder: Path, metadata: Metadata) -> Arrays:
    """The held-out arrays that `save` was given, checked against their hash.

    Raises:
        CheckpointError: if they are missing, altered or cannot be read.
    """
    return load_arrays(folder / EVIDENCE, metadata.evidence_sha256)


def load_arrays(path: Path, sha256: str) -> Arrays:
    try:
        if _sha256(path) == sha256:
            return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); restore it or retrain") from error
    raise CheckpointError(
        f"{path} is not the file that {METADATA} describes (its SHA-256 differs); "
        "restore the folder from a backup or retrain"
    )


def _refuse_senseless(metadata: Metadata) -> None:
    """Raises ValueError for fields that no training run writes."""
    names = metadata.classes
    if (
        not names
        or len(set(names)) < len(names)
        or not all(isinstance(name, str) for name in names)
    ):
        raise ValueError(f"classes must be distinct names, they are {names}")
    if type(metadata.input_size) is not int or metadata.input_size < 1:
        raise ValueError(f"input_size must be a number of pixels, it is {metadata.input_size!r}")
    for name in ("version", "created_at", "manifest_sha256", "weights_sha256", "evidence_sha256"):
        if not isinstance(text := getattr(metadata, name), str) or not text.isprintable():
            raise ValueError(f"{name} must be text on one line, it is {text!r}")
    if not metadata.version:
        raise ValueError("version is empty")
    described = (metadata.metrics, metadata.recipe)
    if not all(isinstance(each, dict) for each in (*described, *_figures_in(metadata.metrics))):
        raise ValueError(
            "metrics, the figures of its test part in them, and recipe must be objects"
        )
    known = get_args(Normalisation)
    if metadata.normalisation not in known:
        raise ValueError(
            f"normalisation must be one of {', '.join(known)}, it is {metadata.normalisation!r}"
        )


def _figures_in(metrics: Any) -> list[Any]:
    """Those of the test part, if there are any."""
    return [metrics["test"]] if isinstance(metrics, dict) and "test" in metrics else []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
