"""A trained network in the form that serves: OpenVINO INT8, where it agrees with the network.

INT8 is post-training quantisation by nncf (Kozlov et al. 2020, arXiv:2002.08679), calibrated on the
images that were fitted. The normalisation and the first convolution stay in float32: with them in
INT8, the first-try model fell from 99.4 % to 93.6 %. So do the pooling and the linear layer, which
cost nothing, and which novelty and confidence are measured on. Of a line's own network the sums at the
end of each block stay too, which are most of what rounding does to it; and where it does not agree
even so, all of it does, so that the first network at least is the faster for it.
"""

import contextlib
import hashlib
import io
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from config.text import counted
from models.checkpoint import CheckpointError, Metadata, fsync, load_metadata, load_weights
from models.decision import Decider, Policy
from models.evidence import Evidence
from models.registry import read_evidence
from models.runtimes import exported as files
from models.runtimes.engine import openvino, silence_telemetry
from models.runtimes.exported import Exported
from models.runtimes.openvino_graph import (
    DOMAIN,
    FEATURES,
    FIRST_CONVOLUTION,
    JOIN,
    LINE,
    LINEAR,
    LOGITS,
    NORMALISE,
    POOL,
    SUM,
    TEXTURE,
    build_graph,
    remember_unseen,
)
from models.runtimes.openvino_runtime import OpenVinoRuntime, load_fp32, load_int8
from models.runtimes.protocol import Outputs, Runtime
from models.runtimes.torch_runtime import load as load_torch
from training.data.dataset import Dataset, load_part
from training.data.manifest import Manifest, ManifestError, Part
from training.judging.evaluate import run
from training.judging.serving import AS_CONFIGURED
from training.model_folder.packing import evidence_by
from training.model_folder.parity import Judged, Parity, compare
from training.synthetic import SURFACES, draw_surface

_LINE: Final = re.escape(LINE)
_KEPT: Final = "|".join((NORMALISE, FIRST_CONVOLUTION, rf".*\.{SUM}$", POOL, LINEAR, LOGITS, JOIN))
_FORMS: Final = {
    "INT8": rf"^{_LINE}({_KEPT}).*",
    "INT8 of all but the line's own network": rf"^{_LINE}.*",
}
"""What stays in float32 of a line's own network, as a pattern of names; the first that agrees serves."""
CALIBRATION_IMAGES: Final = 300
"""nncf's own default; spread over the fitted images, which a manifest lists by class."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """What an export came to.

    Attributes:
        serves: the form that OpenVINO will serve, `int8` or `fp32`.
        reason: why, in words.
        folder_bytes: size of the model folder afterwards.
    """

    serves: str
    reason: str
    int8: Parity
    fp32: Parity
    versions: dict[str, str] = field(default_factory=dict)
    folder_bytes: int = 0


def export(folder: Path, manifest: Manifest) -> Export:
    """Add INT8 to a model folder, or the record that it must not serve and why.

    Files of an earlier export are replaced. Killed at any moment, the folder is a whole model: the
    record that names the files goes first and comes last.

    Raises:
        CheckpointError: for a model folder that is not whole or has no room, or an FP32 form that
            disagrees.
        ManifestError: for a manifest that is not the one that the model was trained on.
        RuntimeUnavailableError: when OpenVINO cannot run here.
        OSError: when the files cannot be written.
    """
    metadata = load_metadata(folder)
    _refuse_other_manifest(folder, metadata, manifest)
    fitted = load_part(manifest, Part.FIT, side=metadata.input_size)
    selected = load_part(manifest, Part.SELECT, side=metadata.input_size)
    return export_with(
        folder,
        calibration=fitted.pixels,
        selected=selected,
        evidence_of=lambda runtime: evidence_by(runtime, fitted, selected),
    )


def export_with(
    folder: Path,
    *,
    calibration: NDArray[np.uint8],
    selected: Dataset,
    evidence_of: Callable[[OpenVinoRuntime], Evidence],
    trained: Outputs | None = None,
    policy: Policy = AS_CONFIGURED,
) -> Export:
    """The same with pictures that no manifest names.

    Args:
        calibration: uint8 grey `(N, side, side)`, for the ranges of INT8.
        selected: pictures that both forms judge.
        evidence_of: what the exported form is served with.
        trained: what the trained network says of the selected pictures, where it was asked already.
        policy: under which verdicts are compared.
    """
    metadata = load_metadata(folder)
    kept = read_evidence(folder, metadata)
    weights = load_weights(folder, metadata)
    has_line = any(name.startswith(LINE) for name in weights)
    if trained is None:
        trained = run(load_torch(folder, device="cpu"), selected)
    expected = _judged(trained, kept, metadata, policy)
    float32 = _judged(run(load_fp32(folder), selected), kept, metadata, policy)
    fp32 = compare(expected, float32, selected.labels, metadata.classes)
    if not fp32.holds:
        raise CheckpointError(
            f"OpenVINO does not compute what torch does for {folder} ({'; '.join(fp32.refusals)}); "
            'set model.runtime to "torch" and report it'
        )
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
        made, refused = Path(scratch), ""
        for form, kept_of_line in _FORMS.items():
            graph = _quantised(weights, metadata, calibration, kept_of_line)
            runtime = _written(graph, made / files.GRAPH)
            evidence = evidence_of(runtime)
            judged = _judged(run(runtime, selected), evidence, metadata, policy)
            int8 = compare(expected, judged, selected.labels, metadata.classes)
            exported = _record(metadata, int8, form, refused)
            if int8.holds:
                exported = _write_beside(made, exported, evidence, runtime, metadata.input_size)
            if int8.holds or not has_line:
                break
            refused = f"{form} does not: {exported.reason}"
        _put_in_place(made, folder, exported)
    return Export(
        serves=exported.serves,
        reason=exported.reason,
        int8=int8,
        fp32=fp32,
        versions=exported.versions,
        folder_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    )


def _refuse_other_manifest(folder: Path, metadata: Metadata, manifest: Manifest) -> None:
    if manifest.sha256 != metadata.manifest_sha256:
        raise ManifestError(
            f"{folder} was trained on another manifest, so that images which would check its "
            "export may have been trained on; name the manifest of its training run"
        )


def _judged(outputs: Outputs, evidence: Evidence, metadata: Metadata, policy: Policy) -> Judged:
    """Images as the runtime that these are the outputs of would serve them."""
    decider = Decider(classes=metadata.classes, evidence=evidence, policy=policy)
    return Judged(
        logits=outputs.logits,
        temperature=decider.temperature,
        decisions=decider.decide(outputs.logits, outputs.features),
    )


def _written(graph: Any, path: Path) -> OpenVinoRuntime:
    try:
        openvino().save_model(graph, path, compress_to_fp16=False)
    except RuntimeError as error:  # its writer's stream says no more of a full disk
        raise CheckpointError(
            f"the graph cannot be written to {path.parent.parent} ({error}); make room there and try again"
        ) from error
    return load_int8(path)


def _quantised(
    weights: Mapping[str, NDArray[Any]],
    metadata: Metadata,
    pictures: NDArray[np.uint8],
    kept_of_line: str,
) -> Any:
    """The graph in INT8, calibrated one image at a time."""
    silence_telemetry()
    with _quiet():
        import nncf  # noqa: PLC0415 -- takes seconds, and only an export needs it
    graph = build_graph(
        weights, input_size=metadata.input_size, normalisation=metadata.normalisation
    )
    count = min(CALIBRATION_IMAGES, len(pictures))
    chosen = np.linspace(0, len(pictures) - 1, count).astype(int)
    with _quiet():
        made = nncf.quantize(
            graph,
            nncf.Dataset([pictures[i : i + 1] for i in chosen]),
            subset_size=count,
            ignored_scope=nncf.IgnoredScope(
                names=[FIRST_CONVOLUTION, POOL, LINEAR, FEATURES],
                patterns=[rf"^({NORMALISE}|{TEXTURE}|{DOMAIN}).*", kept_of_line],
                validate=False,
            ),
        )
    remember_unseen(made, weights)
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without nncf's progress bars and remarks, which would stand between the lines of `--json`."""
    loggers = [logging.getLogger(name) for name in ("nncf", "torch.utils.cpp_extension")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _record(metadata: Metadata, parity: Parity, form: str, refused: str) -> Exported:
    """What became of a form; `refused` is what was said of the one before it, in words."""
    reason = "; ".join(parity.refusals)
    if parity.holds:
        held_out = counted(parity.images, "held-out image")
        reason = f"{form} agrees with the trained network on {held_out}"
        if refused:
            reason = f"{reason}; {refused}"
    return Exported(
        weights_sha256=metadata.weights_sha256,
        serves="int8" if parity.holds else "fp32",
        reason=reason,
        versions={name: version(name) for name in ("openvino", "nncf")},
        parity=asdict(parity),
    )


def _write_beside(
    made: Path, record: Exported, evidence: Evidence, runtime: Runtime, side: int
) -> Exported:
    """Write what INT8 is served with, and return the record with every file's hash."""
    pictures = sheet_pictures(side)
    (made / files.SHEET).write_bytes(files.make_sheet(pictures))
    (made / files.EVIDENCE).write_bytes(safetensors.numpy.save(evidence.arrays()))
    return Exported(
        **{
            **asdict(record),
            "expected": runtime.infer(pictures).logits.round(4).tolist(),
            "files": {
                name: hashlib.sha256((made / name).read_bytes()).hexdigest() for name in files.FILES
            },
        }
    )


@cache
def sheet_pictures(side: int) -> NDArray[np.uint8]:
    """The drawn surfaces that a machine is checked with, `(64, side, side)`: seeded, all kinds."""
    count = files.SHEET_SIDE**2
    names = [SURFACES[number % len(SURFACES)] for number in range(count)]
    return np.stack(
        [draw_surface(name, seed=i, height=side, width=side) for i, name in enumerate(names)]
    )


def _put_in_place(made: Path, folder: Path, record: Exported) -> None:
    """Move the files of an export into the model folder; its record says so when they are there."""
    (folder / files.RECORD).unlink(missing_ok=True)
    fsync(folder)
    for name in files.FILES:
        (folder / name).unlink(missing_ok=True)
        if name in record.files:
            _publish(made / name, folder / name)
    (made / files.RECORD).write_text(record.to_json())
    fsync(folder)
    _publish(made / files.RECORD, folder / files.RECORD)
    fsync(folder)
    for leftover in folder.glob(".export-*"):
        if leftover != made:
            shutil.rmtree(leftover, ignore_errors=True)  # of an export that was killed


def _publish(source: Path, target: Path) -> None:
    source.chmod(0o644)  # the service is another user
    fsync(source)
    source.rename(target)
