"""What a retraining run measured of two models, each as it would serve: what the gate decides on.

`training` writes it, the daemon reads it; neither imports the other.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

FORMAT: Final = 1


class FiguresError(Exception):
    """The figures of a run are missing or cannot be used; the message says why."""


@dataclass(frozen=True, kw_only=True)
class ClassFigures:
    """What became of the images of one true class. All are counts.

    Attributes:
        right: first choice is the true class, whatever the verdict.
        passed: verdict `pass`: for a defect, a miss.
        defect: verdict `defect`, of whatever class.
        unsure: verdict `unsure`.
        unknown: those of the unsure that are called unknown.
    """

    images: int
    right: int
    passed: int
    defect: int
    unsure: int
    unknown: int


def total(rows: Iterable[ClassFigures]) -> ClassFigures:
    """Of several classes together; zeros without any."""
    kept = list(rows)
    names = [each.name for each in fields(ClassFigures)]
    return ClassFigures(**{name: sum(getattr(row, name) for row in kept) for name in names})


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """One model, in the form that would serve on this machine.

    Attributes:
        classes: that it knows, in the order of its outputs.
        form: `int8`, `fp32` or `torch`.
        held_out: by true class, this line's labelled images that no run ever trains on.
        crossvalidated: by true class, all of this line's labelled images, each judged by a network of
            this run that was not fitted to it; empty for a model that was not made in this run.
        reference: by true class, the images of the six defects that no run ever trains on.
        calibration_error: expected calibration error (15 bins) on the held-out images, 0..1, those of
            classes that it does not know among them; None when there are none.
        calibration_chance: the calibration error that so few images show once in twenty though every
            confidence is true; 0 where that was not worked out.
        evidence_defects: how many defects the pass threshold rests on.
        promised_missed_rate: the missed-defect rate that this line's among them exclude at 95 %, 0..1.
        pass_threshold: calibrated confidence, 0..1; None when nothing may pass.
        milliseconds_per_image: of the processor, for the network in its form, in batches.
        finite: whether every output was a number.
    """

    version: str
    classes: tuple[str, ...]
    form: str
    held_out: Mapping[str, ClassFigures]
    reference: Mapping[str, ClassFigures]
    crossvalidated: Mapping[str, ClassFigures] = field(default_factory=dict)
    calibration_error: float | None
    evidence_defects: int
    promised_missed_rate: float
    pass_threshold: float | None
    milliseconds_per_image: float
    calibration_chance: float = 0.0
    finite: bool = True


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A label that is likely wrong: for a second look.

    Attributes:
        image_id: of the database; None for an image of the base set.
        confidence: that `suggested` is the class, 0..1.
    """

    path: str
    image_id: int | None
    label: str
    suggested: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class ClassLearning:
    """What twice as many labels brought for one class. All are counts.

    Attributes:
        images: of this line that are fitted to, each judged by a head that was not fitted to it.
        right: named rightly by heads that were fitted to two thirds of them.
        right_by_half: by heads that were fitted to a third.
    """

    images: int
    right: int
    right_by_half: int


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """`evaluation.json` of a run folder.

    Attributes:
        fitted: labelled images that were trained on, by class.
        doubted: by class, of the labelled images that carry its name or likely should, the share
            that likely should and do not, 0..1. Held-out labels may be as wrong as the others: this
            is told by networks that were fitted to neither.
        seconds: that the run took.
        learning: by class; empty for a run of an older version.
    """

    candidate: ModelFigures
    current: ModelFigures
    normal_classes: tuple[str, ...]
    fitted: Mapping[str, int]
    suspects: tuple[Suspect, ...]
    seconds: float
    doubted: Mapping[str, float] = field(default_factory=dict)
    learning: Mapping[str, ClassLearning] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "RunFigures":
        """Raises FiguresError."""
        try:
            document = json.loads(text)
            if document.pop("format") != FORMAT:
                raise FiguresError("the figures are of another version of Millwatch; retrain")
            return cls(
                candidate=_model(document.pop("candidate")),
                current=_model(document.pop("current")),
                normal_classes=tuple(document.pop("normal_classes")),
                suspects=tuple(Suspect(**each) for each in document.pop("suspects")),
                learning={
                    name: ClassLearning(**row) for name, row in document.pop("learning", {}).items()
                },
                **document,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FiguresError(
                f"the figures of the run cannot be read ({error}); retrain"
            ) from error


def _model(document: dict[str, Any]) -> ModelFigures:
    for name in ("held_out", "reference", "crossvalidated"):
        document[name] = {label: ClassFigures(**row) for label, row in document[name].items()}
    document["classes"] = tuple(document["classes"])
    document.pop("parity", None)  # of a run that an older version made
    return ModelFigures(**document)
