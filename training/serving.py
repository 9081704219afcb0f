"""A model folder judged as it would serve."""

from pathlib import Path

from models.checkpoint import load_metadata
from models.decision import fit_temperature
from models.registry import read_evidence
from models.runtimes.torch_runtime import load
from training.dataset import load_part
from training.evaluate import Evaluation, evaluate, run
from training.manifest import Manifest, ManifestError, Part


def evaluate_as_served(folder: Path, manifest: Manifest, part: Part) -> Evaluation:
    """Raises CheckpointError for the folder, ManifestError for the manifest or other classes."""
    metadata = load_metadata(folder)
    if metadata.classes != manifest.classes:
        raise ManifestError(
            f"{folder} knows {', '.join(metadata.classes)}; the manifest has "
            f"{', '.join(manifest.classes)}: evaluate a model on the classes that it was trained on"
        )
    evidence = read_evidence(folder, metadata)
    images = load_part(manifest, part, side=metadata.input_size)
    return evaluate(
        run(load(folder), images).logits,
        images.labels,
        metadata.classes,
        temperature=fit_temperature(evidence.logits, evidence.labels),
    )
