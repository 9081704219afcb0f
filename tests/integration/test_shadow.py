"""The model before judges a few images too, while the line is idle, and nothing waits for it."""

import gc
import hashlib
import itertools
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from builders import (
    WAIT_SECONDS,
    Station,
    assert_every_image_accounted_for,
    surface_file,
    wait_until,
    write_model,
)
from composed import ByHand, by_hand
from numpy.typing import NDArray
from promoting import kept, promoter_of
from records import finding

from config.settings import Gate
from daemon.retraining.shadow import TROUBLE, is_drawn
from daemon.serving import registry_folder
from daemon.store.models import remember_candidate
from models.checkpoint import load_metadata
from models.figures import ClassFigures, ModelFigures, RunFigures
from models.preprocessing import decode
from models.taxonomy import NO_DEFECT

SHARE = 0.1
DAY = 24 * 3600.0
CLASSES = ("crazing", "scratches", NO_DEFECT)
SCRATCHES_PASS = [0, 2, 1]
"""The rows of the last layer, so that it takes scratches for sound surfaces."""


@pytest.fixture(scope="module")
def sound_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that tells drawn scratches from sound surfaces."""
    return write_model(tmp_path_factory.mktemp("models") / "three", CLASSES)


@pytest.fixture
def station(tmp_path: Path, sound_model: Path) -> Station:
    tables = {"gate": {"shadow_share": SHARE}}
    return Station(root=tmp_path, model=sound_model, cameras=("top-1",), tables=tables)


@pytest.fixture
def worse(station: Station, sound_model: Path) -> str:
    """A model in the registry that lets scratches pass; its version."""
    return kept(station, sound_model, "worse", lambda weights: 4 * weights[SCRATCHES_PASS])


@pytest.fixture
def line(station: Station) -> Iterator[ByHand]:
    with by_hand(station.settings()) as made:
        yield made


def drop(station: Station, surface: str, images: int, *, drawn: bool) -> None:
    """Pictures that are all among those that the shadow judges, or none of them."""
    seeds = itertools.count(1000 * len(station.dropped))
    files = (surface_file(surface, seed=seed) for seed in seeds)
    fit = (data for data in files if is_drawn(hashlib.sha256(data).hexdigest(), SHARE) == drawn)
    for number, data in enumerate(itertools.islice(fit, images), start=len(station.dropped)):
        station.drop("top-1", f"{number}.jpg", data)


def judged(station: Station, line: ByHand, surface: str, images: int, *, drawn: bool) -> None:
    before = station.count()
    drop(station, surface, images, drawn=drawn)
    line.work_until(lambda: station.count() == before + images)


def show(line: ByHand, version: str, pictures: Sequence[NDArray[np.uint8]], *, drawn: bool) -> None:
    """As the pipeline shows what it recorded: all of it passed."""
    sha256 = ("0" if drawn else "f") * 64
    findings = [
        replace(finding(number, "pass"), sha256=sha256, model_version=version)
        for number in range(len(pictures))
    ]
    deliveries = [each.delivery for each in findings]
    line.pipeline.shadow.see(findings, dict(zip(deliveries, pictures, strict=True)))


def step(line: ByHand, *, after_seconds: float = 0.0) -> dict[str, Any]:
    """As the service lets it judge, until it judges no more; what it found so far."""
    shadow, found = line.pipeline.shadow, {}
    while found != (latest := shadow.status() or {}):
        found = latest
        shadow.step(
            idle=lambda: not any(line.room.backlog().values()), now=time.monotonic() + after_seconds
        )
    return found


def remember_run(line: ByHand, station: Station, version: str, *, called_defect: int) -> None:
    """The run that made this version: of 40 sound images the model before calls so many defects."""
    sound = ClassFigures(
        images=40, right=40, passed=40 - called_defect, defect=called_defect, unsure=0, unknown=0
    )
    before = ModelFigures(
        version=line.pipeline.model.version,
        classes=line.pipeline.model.decider.classes,
        form="torch",
        held_out={NO_DEFECT: sound},
        reference={},
        calibration_error=None,
        evidence_defects=0,
        promised_missed_rate=1.0,
        pass_threshold=None,
        milliseconds_per_image=1.0,
    )
    figures = RunFigures(
        candidate=replace(before, version=version),
        current=before,
        normal_classes=(NO_DEFECT,),
        fitted={},
        suspects=(),
        seconds=1.0,
    )
    made = load_metadata(registry_folder(station.settings()) / version)
    remember_candidate(
        line.database, made, status="candidate", reason=None, figures=asdict(figures)
    )


def test_what_the_new_model_lets_pass_and_the_one_before_calls_a_defect_is_told_and_no_more(
    station: Station, line: ByHand, worse: str
) -> None:
    promoter = promoter_of(station, line)
    before = line.pipeline.model.version
    remember_run(line, station, worse, called_defect=0)
    promoter.promote(worse, "the gate")
    judged(station, line, "scratches", 108, drawn=False)
    assert step(line)["judged"] == 0
    judged(station, line, "scratches", 12, drawn=True)
    found = step(line)
    passed = station.query(
        "SELECT count(*) FROM inspections WHERE verdict = 'pass' AND model_version = ?", worse
    )[0][0]
    assert passed >= 100, "the new model is as bad as it was made"
    assert (found["model_version"], found["judged"], found["of"]) == (before, 12, 120)
    assert found["passed_called_defect"] >= 3
    assert len(found["latest_called_defect"]) == found["passed_called_defect"]
    assert f"calls {found['passed_called_defect']} defects" in line.health.troubles()[TROUBLE]

    promoter.step(now=time.monotonic() + 60)
    line.work()
    assert line.pipeline.model.version == worse, "nothing goes back for what a model says"
    promoter.roll_back("eva")
    assert TROUBLE not in line.health.troubles()
    assert line.pipeline.shadow.status() is None


def test_what_the_model_before_calls_defects_on_sound_images_too_is_not_told(
    station: Station, line: ByHand, worse: str
) -> None:
    promoter = promoter_of(station, line)
    remember_run(line, station, worse, called_defect=36)
    promoter.promote(worse, "the gate")
    scratches = [decode(surface_file(seed=seed), size=64).pixels for seed in range(8)]
    show(line, worse, [np.zeros((64, 64), np.uint8)] * 72, drawn=False)
    show(line, worse, scratches, drawn=True)
    assert step(line)["passed_called_defect"] >= 6
    assert TROUBLE not in line.health.troubles()


def test_while_an_image_waits_none_is_judged_twice(
    station: Station, line: ByHand, worse: str
) -> None:
    promoter_of(station, line).promote(worse, "the gate")
    judged(station, line, "crazing", 18, drawn=False)
    judged(station, line, "crazing", 2, drawn=True)
    drop(station, "crazing", 1, drawn=False)
    wait_until(lambda: line.scan() or any(line.room.backlog().values()))
    found = step(line)
    assert (found["judged"], found["waiting"]) == (0, 2)
    line.work_until(lambda: station.count() == 21)
    assert step(line)["judged"] == 2
    assert_every_image_accounted_for(station)


def test_never_more_than_the_share_is_judged_twice(
    station: Station, line: ByHand, worse: str
) -> None:
    promoter_of(station, line).promote(worse, "the gate")
    show(line, worse, [np.zeros((64, 64), np.uint8)] * 25, drawn=True)
    found = step(line)
    assert (found["judged"], found["of"]) == (2, 25)


def test_a_model_before_that_fails_is_let_go_of_and_the_line_goes_on(
    station: Station, line: ByHand, worse: str
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("the device is lost")

    promoter_of(station, line).promote(worse, "the gate")
    runtime = line.pipeline.model.runtime
    broken = type("Lost", (), {"name": runtime.name, "head": runtime.head, "infer": lost})()
    before = replace(line.pipeline.model, runtime=broken)
    line.pipeline.shadow.begin(before=before, new=worse, now=time.monotonic(), seconds=DAY)
    gone = weakref.ref(before)
    del before
    judged(station, line, "crazing", 9, drawn=False)
    judged(station, line, "crazing", 1, drawn=True)
    found = step(line)
    assert found["ended"].endswith("failed: RuntimeError: the device is lost")
    gc.collect()
    assert gone() is None
    judged(station, line, "crazing", 1, drawn=True)
    assert step(line)["judged"] == 0
    assert line.health.troubles() == {}


def test_pictures_wait_in_bounded_memory_and_the_model_is_let_go_of_when_the_day_is_over(
    line: ByHand,
) -> None:
    shadow = line.pipeline.shadow
    before = replace(line.pipeline.model)
    shadow.begin(before=before, new="new", now=time.monotonic(), seconds=DAY)
    gone = weakref.ref(before)
    del before
    show(line, "new", [np.zeros((64, 64), np.uint8)] * 2000, drawn=True)
    found = shadow.status() or {}
    assert found["of"] == 2000
    assert found["waiting"] == 64
    assert step(line, after_seconds=DAY + 1)["ended"] == "the time for it is over"
    gc.collect()
    assert gone() is None
    assert (shadow.status() or {})["waiting"] == 0


@pytest.mark.parametrize("when", ["at the promotion", "afterwards"])
def test_switched_off_it_keeps_no_second_model(station: Station, worse: str, when: str) -> None:
    on = station.settings()
    off = on.model_copy(update={"gate": Gate()})
    with by_hand(off if when == "at the promotion" else on) as line:
        gone = weakref.ref(line.pipeline.model)
        promoter_of(station, line).promote(worse, "the gate")
        judged(station, line, "crazing", 1, drawn=True)
        if when == "afterwards":
            gc.collect()
            assert gone() is not None
            line.pipeline.shadow.reconfigure(off)
            assert step(line)["ended"] == "it was switched off"
        else:
            assert line.pipeline.shadow.status() is None
        gc.collect()
        assert gone() is None


def test_a_running_line_tells_what_the_model_before_says(
    station: Station, worse: str, unused_port: int
) -> None:
    station.tables["web"] = {"enabled": True, "port": unused_port, "open_on_loopback": True}
    station.write_config()
    with station.running():
        assert station.status()["shadow"] is None
        station.ask("models promote", version=worse, by="eva")
        drop(station, "scratches", 27, drawn=False)
        station.wait_for_images(27)
        drop(station, "scratches", 3, drawn=True)
        found = wait_until(
            lambda: (
                station.status()["shadow"] if station.status()["shadow"]["judged"] == 3 else None
            )
        )
        assert found["passed_called_defect"] >= 2
        station.wait_for_page()
        address = f"http://127.0.0.1:{unused_port}"
        metrics = httpx.get(f"{address}/metrics", timeout=WAIT_SECONDS).text
        assert "millwatch_shadow_images_total 3.0" in metrics
        assert (
            f"millwatch_shadow_passed_called_defect_total {found['passed_called_defect']}.0"
            in metrics
        )
        page = httpx.get(f"{address}/model", timeout=WAIT_SECONDS).text
        assert "also judged 3 images" in page
    assert_every_image_accounted_for(station)
