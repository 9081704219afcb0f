"""Figures of a run whose candidate the gate promotes."""

from dataclasses import replace

from daemon.retraining.gate import Rules
from models.figures import ClassFigures, ModelFigures, RunFigures, Suspect
from models.taxonomy import KNOWN_DEFECTS, NO_DEFECT

NEW = "blowhole"
RULES = Rules(max_missed_defect_rate=0.005)


def row(images: int, *, right: int | None = None, passed: int = 0) -> ClassFigures:
    return ClassFigures(
        images=images,
        right=images if right is None else right,
        passed=passed,
        defect=images - passed,
        unsure=0,
        unknown=0,
    )


REFERENCE = {name: row(12) for name in KNOWN_DEFECTS}
CURRENT = ModelFigures(
    version="old",
    classes=KNOWN_DEFECTS,
    form="int8",
    held_out={NO_DEFECT: row(30, right=0), NEW: row(15, right=0)},
    reference=REFERENCE,
    calibration_error=0.03,
    evidence_defects=72,
    promised_missed_rate=0.04,
    pass_threshold=None,
    milliseconds_per_image=5.0,
)
CANDIDATE = replace(
    CURRENT,
    version="new",
    classes=(*KNOWN_DEFECTS, NEW, NO_DEFECT),
    held_out={NO_DEFECT: row(30, passed=30), NEW: row(15)},
    crossvalidated={NO_DEFECT: row(150, passed=149), NEW: row(70)},
    pass_threshold=0.9,
)
GOOD = RunFigures(
    candidate=CANDIDATE,
    current=CURRENT,
    normal_classes=(NO_DEFECT,),
    fitted={NO_DEFECT: 120, NEW: 55},
    suspects=(),
    seconds=60.0,
)


def with_candidate(**fields: object) -> RunFigures:
    return replace(GOOD, candidate=replace(CANDIDATE, **fields))  # type: ignore[arg-type]


def suspects(images: int) -> tuple[Suspect, ...]:
    """Images of the new defect that people called sound."""
    return tuple(
        Suspect(path=f"{n}.jpg", image_id=n, label=NO_DEFECT, suggested=NEW, confidence=0.9)
        for n in range(images)
    )
