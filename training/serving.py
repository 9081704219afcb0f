"""A model folder judged as it would serve."""

from dataclasses import dataclass, replace
from pathlib import Path

from models.checkpoint import load_metadata
from models.decision import fit_temperature
from models.registry import read_evidence
from models.runtimes.protocol import Runtime
from models.runtimes.torch_runtime import load
from training.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from training.dataset import Dataset, load_part
from training.evaluate import Evaluation, evaluate, run
from training.manifest import Manifest, ManifestError, Part


def evaluate_as_served(folder: Path, manifest: Manifest, part: Part) -> Evaluation:
    """Raises CheckpointError for the folder, ManifestError for the manifest or other classes."""
    served, images = _served(folder, manifest, part)
    return served.judge(images)


def evaluate_corrupted(
    folder: Path, manifest: Manifest, part: Part, *, seed: int = 0
) -> dict[str, list[Evaluation]]:
    """The same on spoilt copies of the images: by kind of corruption, at severities 1 to 3.

    Images are spoilt at the size that the network sees. Raises as `evaluate_as_served`.
    """
    served, images = _served(folder, manifest, part)
    return {
        kind: [
            served.judge(replace(images, pixels=corrupt(images.pixels, kind, severity, seed=seed)))
            for severity in SEVERITIES
        ]
        for kind in CORRUPTIONS
    }


@dataclass(frozen=True, kw_only=True)
class _Served:
    runtime: Runtime
    classes: tuple[str, ...]
    temperature: float

    def judge(self, images: Dataset) -> Evaluation:
        logits = run(self.runtime, images).logits
        return evaluate(logits, images.labels, self.classes, temperature=self.temperature)


def _served(folder: Path, manifest: Manifest, part: Part) -> tuple[_Served, Dataset]:
    metadata = load_metadata(folder)
    if metadata.classes != manifest.classes:
        raise ManifestError(
            f"{folder} knows {', '.join(metadata.classes)}; the manifest has "
            f"{', '.join(manifest.classes)}: evaluate a model on the classes that it was trained on"
        )
    evidence = read_evidence(folder, metadata)
    served = _Served(
        runtime=load(folder),
        classes=metadata.classes,
        temperature=fit_temperature(evidence.logits, evidence.labels),
    )
    return served, load_part(manifest, part, side=metadata.input_size)
