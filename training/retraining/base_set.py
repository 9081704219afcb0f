"""The images that a model came from, for a retraining: those it keeps, or those of `retraining.base_set`."""

from typing import Final

import numpy as np

from models.checkpoint import Metadata
from models.network import SurfaceNetwork
from models.novelty import KnownImages
from models.reference import Reference, Use, read_reference
from training.data.manifest import Manifest, Part, load_manifest
from training.model_folder.references import reference_of
from training.retraining.run_folder import Run, RunError

_THE_SAME: Final = 0.001
"""How far the textures of one picture may be apart, of length 1: they are kept in float16, which moves them
by half of that at most. The nearest two pictures of NEU-DET are 0.04 apart."""


def known_images(asked: Run, network: SurfaceNetwork, parent: Metadata) -> Reference:
    """Each for the use that it may be put to, for good.

    Raises:
        RunError: there are none, or the base set would hold out what was fitted before.
        CheckpointError, ManifestError: as `read_reference` and `reference_of`.
    """
    kept = read_reference(asked.current_model, parent)
    if asked.base_set is not None:
        base = load_manifest(asked.base_set)
        _refuse_moved(asked, base)
        reference = reference_of(network, parent, base)
        if kept is not None:
            _refuse_fitted(asked, kept, reference)
        return reference
    if kept is None:
        raise RunError(
            f"{asked.current_model} keeps nothing of the images that it came from, so a retraining "
            "would forget them; set retraining.base_set to the manifest of its training run"
        )
    return kept


def _refuse_moved(asked: Run, base: Manifest) -> None:
    """What a run was fitted to says nothing of how good the models after it are."""
    moved = sum(
        image.part is not Part.FIT and asked.earlier_base.get(image.sha256) is False
        for image in base.images
    )
    if moved:
        raise RunError(
            f"{asked.base_set} was prepared again with another split: {moved} of its images, of "
            f"{len(base.images)}, were fitted by runs before this one and are held out now. Prepare "
            "it as before (--select-percent, --test-percent), or remove retraining.base_set: the "
            "model keeps what it needs of the images that it came from"
        )


def _refuse_fitted(asked: Run, kept: Reference, base: Reference) -> None:
    """Nor does what the model itself was fitted to: it keeps the textures of many such images."""
    fitted = kept.textures_of(Use.FIT)
    if fitted is None or not len(fitted):
        return
    known, moved = KnownImages(fitted), 0
    for use in (Use.EVIDENCE, Use.GATE):
        textures = base.textures_of(use)
        if textures is not None and len(textures):
            moved += int(np.sum(known.distance(textures).min(axis=1) < _THE_SAME))
    if moved:
        raise RunError(
            f"{asked.base_set} has another split than the images that the model came from: at least "
            f"{moved} that it was fitted to are held out there, and would make thresholds and figures "
            "look better than they are. Prepare it as they were (those of the shipped model: "
            "--select-percent 10 --test-percent 5), or remove retraining.base_set: the model keeps what "
            "it needs of them"
        )
