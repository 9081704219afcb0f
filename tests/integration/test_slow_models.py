"""A new model that the line would wait for."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import Station, surface_file
from composed import by_hand
from promoting import kept, promoter_of

from daemon.retraining.promotion import TROUBLE
from daemon.store.models import model_versions


@pytest.mark.fault(33)
def test_a_new_model_that_is_slow_on_the_line_goes_back_by_itself_unless_a_person_wants_it(
    station: Station, commissioned_model: Path
) -> None:
    second = kept(station, commissioned_model, "tiny-7-0")
    with by_hand(station.settings()) as line:
        promoter = promoter_of(station, line)
        first = line.pipeline.model.version

        def judged_slowly() -> None:
            """As by a device that others use too: tried quickly, but then never free."""
            runtime = line.pipeline.model.runtime

            def infer(images: np.ndarray, **_: object) -> object:
                until = time.monotonic() + 0.2
                while time.monotonic() < until:
                    outputs = runtime.infer(images)
                return outputs

            known = {"name": runtime.name, "head": runtime.head, "infer": staticmethod(infer)}
            line.pipeline.serve_with(
                replace(line.pipeline.model, runtime=type("Slow", (), known)())
            )
            for number in range(station.count(), station.count() + 10):
                station.drop("top-1", f"{number}.jpg", surface_file(seed=number))
                line.work_until(lambda expected=number + 1: station.count() == expected)
            promoter.step(now=time.monotonic())
            line.work()

        promoter.promote(second, "eva")
        line.work()
        judged_slowly()
        assert line.pipeline.model.version == second
        promoter.roll_back("eva")
        line.work()
        promoter.promote(second, "the gate", if_as_fast=True)
        line.work()
        judged_slowly()
        assert line.pipeline.model.version == first
        assert "ms for a picture on the line" in line.health.troubles()[TROUBLE]
        last = model_versions(line.database)
    assert {each.version: each.status for each in last} == {first: "current", second: "rejected"}
