"""A model folder judged in the form that it was trained in, with the thresholds of that form."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from models.checkpoint import Metadata, load_metadata
from models.decision import Policy
from models.evidence import Evidence
from models.registry import Model, load_model, read_evidence
from models.taxonomy import NO_DEFECT
from training.data.dataset import Dataset, load_part
from training.data.manifest import Manifest, ManifestError, Part
from training.judging.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from training.judging.evaluate import Evaluation, evaluate, run

AS_CONFIGURED: Final = Policy(
    normal_classes=(NO_DEFECT,),
    max_missed_defect_rate=0.005,
    min_defect_confidence=0.5,
    max_wrong_class_rate=0.02,
)
"""The policy of a line that sets none of its own: the defaults of `config.settings`."""


def caution(metadata: Metadata, fingerprint: str, part: Part) -> str:
    """Why figures of a part of a manifest may flatter a model; empty where they do not.

    Args:
        fingerprint: SHA-256 of the manifest.
    """
    if part is not Part.TEST:
        return (
            "This is not the test part: the model, its calibration or its thresholds were chosen on "
            "these images, so the figures flatter it."
        )
    if fingerprint != metadata.manifest_sha256:
        why = "This is not the manifest that the model was trained on"
    elif any(it.get("manifest_sha256", fingerprint) != fingerprint for it in _began_with(metadata)):
        why = "The model began with one that was trained on another manifest"
    elif any("imported" in it.get("recipe", {}) for it in _began_with(metadata)):
        why = (
            "The model, or one that it began with, was trained elsewhere, and nothing tells on what"
        )
    else:
        return ""
    return f"{why}: some of these images may have been in its training."


def _began_with(metadata: Metadata) -> Iterator[dict[str, Any]]:
    """What is known of the model itself, of the one that it began with, and so on."""
    start: dict[str, Any] | None = {"recipe": metadata.recipe}
    while start:
        yield start
        start = start.get("recipe", {}).get("started_from")


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model in the form that it was trained in, with the held-out images behind its decisions."""

    model: Model
    evidence: Evidence

    @classmethod
    def open(cls, folder: Path, manifest: Manifest) -> "Served":
        """Raises CheckpointError for the folder, ManifestError for a manifest of other classes."""
        metadata = load_metadata(folder)
        if metadata.classes != manifest.classes:
            raise ManifestError(
                f"{folder} knows {', '.join(metadata.classes)}; the manifest has "
                f"{', '.join(manifest.classes)}: evaluate a model on the classes that it was "
                "trained on"
            )
        return cls(
            model=load_model(folder, policy=AS_CONFIGURED, runtime="torch"),
            evidence=read_evidence(folder, metadata),
        )

    def images(self, manifest: Manifest, part: Part) -> Dataset:
        """Raises ManifestError."""
        return load_part(manifest, part, side=self.model.input_size)

    def judge(self, images: Dataset) -> Evaluation:
        logits = run(self.model.runtime, images).logits
        decider = self.model.decider
        return evaluate(logits, images.labels, decider.classes, temperature=decider.temperature)

    def judge_spoilt(self, images: Dataset) -> dict[str, list[Evaluation]]:
        """The same on spoilt copies: by kind of corruption, at severities 1 to 3.

        Images are spoilt at the size that the network sees.
        """
        return {
            kind: [
                self.judge(replace(images, pixels=corrupt(images.pixels, kind, severity, seed=0)))
                for severity in SEVERITIES
            ]
            for kind in CORRUPTIONS
        }
