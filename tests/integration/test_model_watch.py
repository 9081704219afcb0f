"""While a new model is watched, what is told of it is so, and is told no longer than it is."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from builders import Station, surface_file
from composed import by_hand
from promoting import kept, promoter_of
from records import another_process

from daemon.retraining.promotion import TROUBLE


@pytest.mark.fault(24)
def test_a_database_that_cannot_be_read_is_no_reason_to_roll_a_model_back(
    station: Station, commissioned_model: Path
) -> None:
    second = kept(station, commissioned_model, "tiny-7-0")
    with by_hand(station.settings(), busy_seconds=0.1) as line:
        promoter = promoter_of(station, line)
        promoter.promote(second, "the gate")
        now = time.monotonic()
        line.database.engine.dispose()
        exclusive = ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "SELECT * FROM image")
        with another_process(line.database.path, *exclusive):
            promoter.step(now=now)
            (told,) = line.health.troubles().items()
            assert "whether people contradict the new model cannot be looked up" in told[1]
            assert told[0] != TROUBLE
        promoter.step(now=now + 60)
        assert line.health.troubles() == {}


@pytest.mark.fault(33)
def test_a_model_that_could_not_be_gone_back_from_is_told_of_until_it_judges_again(
    station: Station, commissioned_model: Path, tmp_path: Path
) -> None:
    station.model = shutil.copytree(station.model, tmp_path / "model")
    station.write_config()
    second = kept(station, commissioned_model, "tiny-7-0")
    with by_hand(station.settings()) as line:
        promoter = promoter_of(station, line)
        promoter.promote(second, "the gate")
        line.work()
        shutil.rmtree(station.model)
        whole = line.pipeline.model

        def lost(*_: object, **__: object) -> None:
            raise RuntimeError("the device is lost")

        known = {"name": whole.runtime.name, "head": whole.runtime.head, "infer": lost}
        line.pipeline.serve_with(replace(whole, runtime=type("Lost", (), known)()))
        station.drop("top-1", "one.jpg", surface_file())
        line.work_until(lambda: "judging" in line.health.troubles())
        assert "`millwatch models rollback`" in line.health.troubles()["judging"]
        now = time.monotonic()
        promoter.step(now=now)
        told = line.health.troubles()[TROUBLE]
        assert "should be rolled back" in told
        assert "the device is lost" in told
        line.pipeline.serve_with(whole)
        line.work_until(lambda: station.count() == 1)
        promoter.step(now=now + 1)
        assert TROUBLE not in line.health.troubles()
