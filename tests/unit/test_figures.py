import json
from dataclasses import replace

import pytest

from models.figures import (
    ClassFigures,
    ClassLearning,
    FiguresError,
    ModelFigures,
    RunFigures,
    Suspect,
)


def some_figures() -> RunFigures:
    counts = ClassFigures(images=9, right=8, passed=0, defect=7, unsure=2, unknown=1)
    model = ModelFigures(
        version="one",
        classes=("scratches", "no_defect"),
        form="int8",
        held_out={"scratches": counts},
        reference={"scratches": counts},
        crossvalidated={"scratches": counts},
        calibration_error=0.01,
        evidence_defects=9,
        promised_missed_rate=0.28,
        pass_threshold=None,
        milliseconds_per_image=4.0,
    )
    suspect = Suspect(
        path="a.png", image_id=1, label="scratches", suggested="no_defect", confidence=0.9
    )
    return RunFigures(
        candidate=model,
        current=model,
        normal_classes=("no_defect",),
        fitted={"scratches": 20},
        suspects=(suspect,),
        seconds=3.0,
        learning={"scratches": ClassLearning(images=20, right=18, right_by_half=15)},
    )


def test_the_figures_of_a_run_are_read_as_they_were_written() -> None:
    assert RunFigures.from_json(some_figures().to_json()) == some_figures()


def test_the_figures_of_a_run_that_ended_just_before_an_upgrade_are_read() -> None:
    """Versions before this one wrote a rule that nothing could break."""
    old = json.loads(some_figures().to_json())
    for model in ("candidate", "current"):
        old[model]["parity"] = []
    assert RunFigures.from_json(json.dumps(old)) == some_figures()
    del old["learning"]
    assert RunFigures.from_json(json.dumps(old)) == replace(some_figures(), learning={})


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', '{"format": 1}', "[]", "null"])
def test_figures_that_cannot_be_used_are_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(FiguresError, match="retrain"):
        RunFigures.from_json(text)
