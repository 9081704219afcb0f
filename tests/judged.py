"""A model folder judged as `millwatch evaluate` does."""

from pathlib import Path

from training.data.manifest import Manifest, Part
from training.judging.evaluate import Evaluation
from training.judging.serving import Served


def judged(folder: Path, manifest: Manifest, part: Part) -> Evaluation:
    served = Served.open(folder, manifest)
    return served.judge(served.images(manifest, part))
