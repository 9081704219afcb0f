"""What a new model goes back for by itself, and for how long."""

import io
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from builders import Station, surface_file
from composed import ByHand, by_hand
from PIL import Image
from promoting import current, promoter_of
from records import finding, record

from daemon.clock import now_utc
from daemon.retraining.promotion import TROUBLE, Promoter
from daemon.serving import load_serving_model, registry_folder
from daemon.store.labels import labels_in_force, put_label
from daemon.store.models import promoted_at


@pytest.mark.parametrize("folder", ["there", "deleted"])
def test_a_new_model_that_fails_on_the_line_goes_back_by_itself(
    station: Station, second: str, folder: str
) -> None:
    with by_hand(station.settings()) as line:
        promoter, first = promoted(station, line, second)
        runtime = line.pipeline.model.runtime

        def lost(*_: object, **__: object) -> None:
            raise RuntimeError("the device is lost")

        broken = type("Lost", (), {"name": runtime.name, "head": runtime.head, "infer": lost})()
        line.pipeline.serve_with(replace(line.pipeline.model, runtime=broken))
        station.drop("top-1", "one.jpg", surface_file())
        line.work_until(lambda: "judging" in line.health.troubles())
        if folder == "deleted":
            shutil.rmtree(registry_folder(station.settings()) / second)
        promoter.step(now=time.monotonic())
        line.work_until(lambda: station.count() == 1)
        assert line.pipeline.model.version == first
        assert "rolled back by itself" in line.health.troubles()[TROUBLE]
    assert station.query("SELECT model_version FROM inspections") == [(first,)]
    assert current(station) == [first]


def test_a_new_model_that_fails_on_some_pictures_goes_back_by_itself(
    station: Station, second: str
) -> None:
    with by_hand(station.settings()) as line:
        promoter, first = promoted(station, line, second)
        runtime = line.pipeline.model.runtime

        def infer(images: np.ndarray, **_: object) -> object:
            outputs = runtime.infer(images)
            outputs.logits[images.mean(axis=(1, 2)) > 250] = np.nan
            return outputs

        known = {"name": runtime.name, "head": runtime.head, "infer": staticmethod(infer)}
        line.pipeline.serve_with(replace(line.pipeline.model, runtime=type("Partly", (), known)()))
        white = io.BytesIO()
        Image.new("L", (96, 96), 255).save(white, "png")
        for number in range(3):
            station.drop("top-1", f"white-{number}.png", white.getvalue())
            station.drop("top-1", f"{number}.jpg", surface_file(seed=number))
        line.work_until(lambda: station.count() == 6)
        promoter.step(now=time.monotonic())
        line.work()
        assert line.pipeline.model.version == first
        assert "it failed on 3 pictures, which lie in quarantine" in line.health.troubles()[TROUBLE]
    assert current(station) == [first]


def test_a_new_model_that_people_contradict_goes_back_by_itself(
    station: Station, second: str
) -> None:
    with by_hand(station.settings()) as line:
        promoter, first = promoted(station, line, second)
        passed_and_labelled(line, second, ["no_defect", "no_defect", "scratches", "scratches"])
        promoter.step(now=time.monotonic())
        line.work()
        assert line.pipeline.model.version == second
        passed_and_labelled(line, second, ["patches", "scratches"])
        promoter.step(now=time.monotonic() + 60)
        line.work()
        assert line.pipeline.model.version == first
        assert "4 are defects" in line.health.troubles()[TROUBLE]


@pytest.mark.fault(26)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_model_that_was_promoted_while_the_clock_was_ahead_goes_back_for_what_people_say(
    station: Station, second: str, restarted: bool
) -> None:
    with by_hand(station.settings()) as line:
        ahead = now_utc() + timedelta(days=1)
        promoter, first = promoted(station, line, second, clock=lambda: ahead)
        passed_and_labelled(line, second, ["patches"] * 6)
        if restarted:
            promoter = promoter_of(station, line)
        promoter.step(now=time.monotonic())
        line.work()
        assert line.pipeline.model.version == first


def test_a_model_that_a_person_promotes_again_goes_back_for_what_people_say_after_that(
    station: Station, second: str
) -> None:
    before = now_utc() - timedelta(hours=1)
    with by_hand(station.settings()) as line:
        promoter, first = promoted(station, line, second, clock=lambda: before)
        passed_and_labelled(line, second, ["patches"] * 4, at=before)
        promoter.step(now=time.monotonic())
        line.work()
        assert line.pipeline.model.version == first
        again = promoter_of(station, line)
        again.promote(second, "eva")
        line.work()
        again.step(now=time.monotonic())
        line.work()
        assert line.pipeline.model.version == second, "eva knew of those labels"
        passed_and_labelled(line, second, ["patches"] * 4)
        again.step(now=time.monotonic() + 60)
        line.work()
        assert line.pipeline.model.version == first
        assert "of 4 images that it let pass" in line.health.troubles()[TROUBLE]


def test_a_restart_does_not_end_the_time_in_which_a_new_model_goes_back_by_itself(
    station: Station, second: str
) -> None:
    with by_hand(station.settings()) as line:
        first = line.pipeline.model.version
        promoter_of(station, line).promote(second, "the gate")
    with by_hand(station.settings()) as line:
        line.pipeline.serve_with(load_serving_model(station.settings()))
        line.work()
        passed_and_labelled(line, second, ["patches"] * 6)
        promoter = promoter_of(station, line)
        promoter.step(now=time.monotonic())
        line.work()
        assert line.pipeline.model.version == first
        # What was gone back to is not on probation: people found it good before.
        assert promoted_at(line.database) is None


def test_after_a_day_a_restart_leaves_a_model_as_it_is(station: Station, second: str) -> None:
    with by_hand(station.settings()) as line:
        promoter_of(station, line).promote(second, "the gate")
    with by_hand(station.settings()) as line:
        line.pipeline.serve_with(load_serving_model(station.settings()))
        line.work()
        passed_and_labelled(line, second, ["patches"] * 6)
        promoter_of(station, line, clock=lambda: now_utc() + timedelta(hours=25)).step(now=0.0)
        line.work()
        assert line.pipeline.model.version == second


def passed_and_labelled(
    line: ByHand, version: str, names: list[str], at: datetime | None = None
) -> None:
    """Images that this version let pass, and that people looked at, now if not at another time."""
    now = at or now_utc()
    for number in range(len(labels_in_force(line.database)), 100)[: len(names)]:
        name = names.pop(0)
        passed = replace(finding(number, "pass"), model_version=version)
        (intent,) = record(line.database, passed)
        target = Path(f"/labelled/{number}")
        put_label(line.database, intent.image_id, name, "eva", seen=0, target=target, now=now)


def promoted(
    station: Station, line: ByHand, version: str, clock: Callable[[], datetime] = now_utc
) -> tuple[Promoter, str]:
    """By the gate, and serving: who may take it back, and the version before."""
    promoter = promoter_of(station, line, clock=clock)
    first = line.pipeline.model.version
    promoter.promote(version, "the gate")
    line.work()
    return promoter, first
