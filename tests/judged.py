"""A model folder judged as `millwatch evaluate` does."""

from pathlib import Path

from training.evaluate import Evaluation
from training.manifest import Manifest, Part
from training.serving import Served


def judged(folder: Path, manifest: Manifest, part: Part) -> Evaluation:
    served = Served.open(folder, manifest)
    return served.judge(served.images(manifest, part))
