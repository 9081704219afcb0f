"""While a batch is judged, the next one is read and the last one is recorded and moved."""

import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from builders import (
    ALL_CLASSES,
    Station,
    assert_every_image_accounted_for,
    surface_file,
    wait_until,
)
from composed import ByHand, Wrapped, by_hand
from numpy.typing import NDArray
from PIL import Image

from daemon.journey.pipeline import AHEAD
from daemon.serving import load_serving_model
from models.preprocessing import decode
from models.runtimes.protocol import Outputs
from training.synthetic import draw_surface

BATCH = 4


@dataclass
class Gated(Wrapped):
    """A runtime that takes its time: until the gate is opened."""

    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def infer(self, images: NDArray[np.uint8], *, with_maps: bool = False) -> Outputs:
        self.begun.release()
        assert self.gate.wait(60)
        return self.sound.infer(images, with_maps=with_maps)


@contextmanager
def two_batches_begun(line: ByHand, gated: Gated) -> Iterator[None]:
    """While the pipeline works in a thread; at the end it may go on, and is seen through."""
    line.scan()
    with ThreadPoolExecutor(1) as thread:
        working = thread.submit(line.work)
        try:
            for _ in range(2):
                assert gated.begun.acquire(timeout=60)
            yield
        finally:
            gated.gate.set()
        working.result(60)


@pytest.fixture
def narrow(station: Station) -> Station:
    """A station that judges few images at a time."""
    station.tables = {"batching": {"max_images": BATCH}, "intake": {"quiet_seconds": 0.0}}
    station.write_config()
    return station


def test_the_second_batch_is_read_and_judged_while_the_first_one_is(narrow: Station) -> None:
    model = load_serving_model(narrow.settings())
    gated = Gated(sound=model.runtime)
    narrow.drop_surfaces(3 * BATCH)
    with by_hand(narrow.settings(), model=replace(model, runtime=gated)) as line:
        with two_batches_begun(line, gated):
            assert narrow.count() == 0
        assert narrow.count() == 3 * BATCH
    assert_every_image_accounted_for(narrow)


def test_each_record_names_the_model_that_judged_the_image(narrow: Station) -> None:
    model = load_serving_model(narrow.settings())
    first = Gated(sound=model.runtime)
    second = replace(model, metadata=replace(model.metadata, version="second"))
    narrow.drop_surfaces((AHEAD + 1) * BATCH)
    with by_hand(narrow.settings(), model=replace(model, runtime=first)) as line:
        with two_batches_begun(line, first):
            line.pipeline.serve_with(second)
        assert line.pipeline.model is second
    versions = narrow.query("SELECT model_version FROM inspections ORDER BY id")
    judged_by = [version for (version,) in versions]
    # Two were begun; whether what waits behind them was read before the change is open.
    changed_at = judged_by.index("second")
    assert changed_at in range(2 * BATCH, AHEAD * BATCH + 1, BATCH)
    expected = [model.version] * changed_at + ["second"] * (len(judged_by) - changed_at)
    assert judged_by == expected


def test_an_old_model_that_fails_does_not_speak_for_the_one_that_serves_now(
    narrow: Station,
) -> None:
    model = load_serving_model(narrow.settings())
    broken = Gated(sound=model.runtime)
    narrow.drop_surfaces(2 * BATCH)
    with by_hand(narrow.settings(), model=replace(model, runtime=broken)) as line:
        with two_batches_begun(line, broken):
            line.pipeline.serve_with(model)
            line.pipeline._swap()
            broken.sound = None  # type: ignore[assignment] # any call of it fails from now on
        assert narrow.count() == 2 * BATCH
        assert "judging" not in line.health.troubles()
    assert_every_image_accounted_for(narrow)


def test_what_was_being_judged_at_a_stop_has_no_record_and_is_judged_at_the_next_start(
    narrow: Station,
) -> None:
    model = load_serving_model(narrow.settings())
    narrow.drop_surfaces(BATCH)
    with by_hand(narrow.settings(), model=model) as line:
        line.scan()
        assert line.pipeline.step()
    assert narrow.count() == 0
    with by_hand(narrow.settings(), model=model) as line:
        line.work_until(lambda: narrow.count() == BATCH)
    assert_every_image_accounted_for(narrow)


def test_large_pictures_are_decoded_by_several_hands_and_none_is_taken_for_another(
    station: Station,
) -> None:
    pictures = {}
    for number in range(12):
        form = ("BMP", "PNG")[number % 2]
        name = f"{number:02d}.{form.lower()}"
        pictures[name] = large_file(ALL_CLASSES[number % 7], seed=number, form=form)
        station.drop("top-1", name, pictures[name])
    station.drop("top-1", "half.bmp", pictures["00.bmp"][:100_000])
    with by_hand(station.settings()) as line:
        line.work_until(lambda: station.count() == 13)
        model = line.pipeline.model
    assert station.reasons() == {"half.bmp": "truncated"}
    assert_every_image_accounted_for(station)
    readable = "SELECT filename, novelty FROM inspections WHERE verdict <> 'unreadable'"
    for name, novelty in station.query(readable):
        pixels = decode(pictures[name], size=model.input_size).pixels
        (alone,) = model.judge(pixels[None])
        assert novelty == pytest.approx(alone.novelty, rel=1e-3), name


def large_file(surface: str, *, seed: int, form: str) -> bytes:
    file = io.BytesIO()
    pixels = draw_surface(surface, seed=seed, height=400, width=500)  # type: ignore[arg-type]
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


@pytest.mark.fault(68)
@pytest.mark.parametrize("written", [False, True])
def test_what_is_judged_again_while_its_move_is_still_tried_is_recorded_once(
    narrow: Station, written: bool
) -> None:
    """Whether its writer only closed the file once more, or wrote another image into it."""
    model = load_serving_model(narrow.settings())
    gated = Gated(sound=model.runtime)
    gated.gate.set()
    narrow.review.write_text("in the way")
    path = narrow.drop("top-1", "a.jpg", surface_file(seed=1))
    with by_hand(narrow.settings(), model=replace(model, runtime=gated)) as line:
        line.work_until(lambda: narrow.count() == 1 and "moving" in line.health.troubles())
        assert gated.begun.acquire(blocking=False)
        gated.gate.clear()
        if written:
            narrow.dropped.clear()
            narrow.expect("top-1", "a.jpg", surface_file(seed=2))
            path.write_bytes(surface_file(seed=2))
        else:
            path.open("ab").close()
        wait_until(lambda: line.room.backlog()["top-1"])
        assert line.pipeline._begin(BATCH)
        assert gated.begun.acquire(timeout=60)
        narrow.review.unlink()
        line.pipeline._mover._retry_at = 0.0  # it is time
        line.pipeline.retry_if_due()
        line.pipeline._begin(BATCH)
        gated.gate.set()
        line.work_until(lambda: not line.pipeline._ahead and not line.room.backlog()["top-1"])
        line.work_until(lambda: narrow.query("SELECT progress FROM image") == [("moved",)])
    assert_every_image_accounted_for(narrow)


@pytest.mark.fault(68)
def test_what_is_hashed_again_beside_the_others_while_its_move_is_still_tried_is_recorded_once(
    narrow: Station,
) -> None:
    narrow.tables["intake"]["max_bytes"] = 1000
    narrow.write_config()
    in_the_way = narrow.state_dir / "quarantine"
    narrow.state_dir.mkdir()
    in_the_way.write_text("in the way")
    path = narrow.folder("top-1") / "a.jpg"
    path.touch()
    os.truncate(path, 300_000_000)
    with by_hand(narrow.settings()) as line:
        line.work_until(lambda: narrow.count() == 1 and "moving" in line.health.troubles())
        path.open("ab").close()
        wait_until(lambda: line.room.backlog()["top-1"])
        line.pipeline._begin(BATCH)
        in_the_way.unlink()
        line.pipeline._mover._retry_at = 0.0  # it is time
        line.pipeline.retry_if_due()
        line.work_until(lambda: not line.pipeline._ahead and not line.room.backlog()["top-1"])
        line.work_until(lambda: narrow.query("SELECT progress FROM image") == [("moved",)])
    assert narrow.count() == 1
