"""A network that is ready, with all that it is served with: evidence, figures, description."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from models.calibration import fit_temperature
from models.checkpoint import Metadata
from models.evidence import Evidence, collect_evidence
from models.network import SurfaceNetwork
from models.runtimes.protocol import Runtime
from models.runtimes.torch_runtime import Device, TorchRuntime
from training.data.dataset import Dataset, load_part
from training.data.manifest import Manifest, Part
from training.judging.evaluate import Evaluation, evaluate, run


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What `models.checkpoint.save` takes beside the weights, and the figures of the test part."""

    metadata: Metadata
    evidence: Evidence
    evaluation: Evaluation


def pack(
    network: SurfaceNetwork,
    manifest: Manifest,
    *,
    select_part: Dataset,
    test_part: Dataset,
    input_size: int,
    recipe: dict[str, Any],
    device: Device = "cpu",
) -> Packed:
    """Judge the manifest's parts as the network would serve, and describe it.

    Figures come from the test part alone; temperature and novelty from the select part, novelty
    against the fit part.

    Args:
        network: rounded as `half_precision` rounds it; its classes are the manifest's.
        select_part: decoded at `input_size`, as is `test_part`.
        recipe: how the network came to be, as JSON values.
        device: where the network is run, in float32; it is left there.

    Raises:
        ManifestError: if the fit part cannot be read.
    """
    served = TorchRuntime(network, device=device, half=False)
    known = load_part(manifest, Part.FIT, side=input_size)
    evidence = evidence_by(served, known, select_part)
    temperature = fit_temperature(evidence.logits, evidence.labels)
    logits = run(served, test_part).logits
    evaluation = evaluate(logits, test_part.labels, manifest.classes, temperature=temperature)
    created = datetime.now(UTC)
    metadata = Metadata(
        version=f"{created:%Y%m%d-%H%M%S}-{manifest.sha256[:8]}",
        classes=manifest.classes,
        input_size=input_size,
        normalisation=network.normalisation,
        created_at=f"{created:%Y-%m-%dT%H:%M:%SZ}",
        manifest_sha256=manifest.sha256,
        metrics=_metrics(manifest, evaluation, evidence, temperature),
        recipe=recipe,
    )
    return Packed(metadata=metadata, evidence=evidence, evaluation=evaluation)


def evidence_by(runtime: Runtime, fitted: Dataset, selected: Dataset) -> Evidence:
    """What the runtime sees of the images, from which its own thresholds follow."""
    outputs = run(runtime, selected)
    return collect_evidence(
        fitted_features=run(runtime, fitted).features,
        features=outputs.features,
        logits=outputs.logits,
        labels=selected.labels,
    )


def _metrics(
    manifest: Manifest, evaluation: Evaluation, evidence: Evidence, temperature: float
) -> dict[str, object]:
    counts = {part.value: sum(of.values()) for part, of in manifest.counts().items()}
    select = evaluate(evidence.logits, evidence.labels, manifest.classes, temperature=temperature)
    return {
        "images": counts,
        "temperature": temperature,
        "test": asdict(evaluation),
        "select_accuracy": select.accuracy,
    }
