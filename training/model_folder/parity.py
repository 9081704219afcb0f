"""Whether an exported form of a network may serve in place of the trained one: figures, no files.

Both judge the same held-out images, each with the calibration and the thresholds that follow from
its own outputs, as each would serve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.text import percent
from models.decision import Decision
from models.taxonomy import Verdict
from training.judging.evaluate import evaluate

CLASSES_CHANGED: Final = 0.005
"""The share of images whose class may differ; one image may in any case."""
ACCURACY_LOST: Final = 0.001
"""The share of images by which accuracy may fall; by one image it may in any case."""
CALIBRATION_LOST: Final = 0.01
"""How much the expected calibration error may rise; by what one image can move it, in any case.

One image that changes its bin of confidence moves the error by up to 2 / N.
"""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one runtime makes of the held-out images.

    Attributes:
        logits: float32 `(N, classes)`, not calibrated.
        temperature: that calibrates them.
        decisions: one for each image.
    """

    logits: NDArray[np.float32]
    temperature: float
    decisions: Sequence[Decision]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How the exported form differs from the trained network on the same images.

    Attributes:
        defects_passed: images that were `defect` and would now be `pass`.
        classes_changed: images whose first choice differs.
        verdicts_changed: images whose verdict differs; told, not judged.
        accuracies: of the trained network and of the exported one.
        calibration_errors: likewise, expected calibration error.
        refusals: each rule that is broken, in words; empty when the exported form may serve.
    """

    images: int
    defects_passed: int
    classes_changed: int
    verdicts_changed: int
    accuracies: tuple[float, float]
    calibration_errors: tuple[float, float]
    refusals: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.refusals


def compare(
    trained: Judged, exported: Judged, labels: NDArray[np.int64], classes: tuple[str, ...]
) -> Parity:
    """Hold an exported form against the trained network on images with true `labels`, `(N,)`."""
    pairs = list(zip(trained.decisions, exported.decisions, strict=True))
    before = evaluate(trained.logits, labels, classes, temperature=trained.temperature)
    after = evaluate(exported.logits, labels, classes, temperature=exported.temperature)
    passed = sum(a.verdict is Verdict.DEFECT and b.verdict is Verdict.PASS for a, b in pairs)
    changed = sum(a.predicted_class != b.predicted_class for a, b in pairs)
    lost = len(after.mistakes) - len(before.mistakes)
    risen = after.expected_calibration_error - before.expected_calibration_error
    number = len(labels)
    return Parity(
        images=number,
        defects_passed=passed,
        classes_changed=changed,
        verdicts_changed=sum(a.verdict is not b.verdict for a, b in pairs),
        accuracies=(before.accuracy, after.accuracy),
        calibration_errors=(before.expected_calibration_error, after.expected_calibration_error),
        refusals=_refusals(number, passed=passed, changed=changed, lost=lost, risen=risen),
    )


def _refusals(
    number: int, *, passed: int, changed: int, lost: int, risen: float
) -> tuple[str, ...]:
    refusals = []
    if passed:
        refusals.append(f"{passed} of {number} images that were a defect would pass")
    if changed > max(1, CLASSES_CHANGED * number):
        refusals.append(
            f"{changed} of {number} images get another class, "
            f"one or {percent(CLASSES_CHANGED, 1)} being allowed"
        )
    if lost > max(1, ACCURACY_LOST * number):
        refusals.append(
            f"{lost} more of {number} images are wrong, one or {percent(ACCURACY_LOST, 1)} being allowed"
        )
    margin = max(2 / number, CALIBRATION_LOST)
    if risen > margin:
        refusals.append(f"the calibration error rises by {risen:.4f}, {margin:.4f} being allowed")
    return tuple(refusals)
