"""What an alarm holds to be so."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from filesystems import filesystem, hanging
from records import NOW, finding, leave, nanoseconds

from config.oversight import Alarm
from config.settings import Camera, Settings
from daemon.alarms.rules import Holds, Watch
from daemon.files.disks import Room
from daemon.process.health import Health
from daemon.store import images, models, retraining
from daemon.store.database import Database
from models.checkpoint import Metadata

TO = ("mailto:anna@plant.example",)


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def watch(tmp_path: Path, store: Database, health: Health) -> Watch:
    cameras = tuple(
        Camera(name=name, folder=tmp_path / name) for name in ("top-1", "bottom-1", "still-1")
    )
    return Watch(Settings(state_dir=tmp_path, cameras=cameras), database=store, health=health)


def holds(watch: Watch, told: Holds | None = None, **keys: Any) -> dict[str, str]:
    minutes = keys.pop("minutes_later", 0)
    alarm = Alarm(**({"name": "office", "to": TO} | keys))
    return dict(watch.holds(alarm, told or {}, NOW + timedelta(minutes=minutes)))


def judged(store: Database, camera: str, verdicts: str, *, first: int, minutes: int = 0) -> None:
    """Images recorded some minutes after noon: `d` a defect, `p` one that passed."""
    names = {"d": "defect", "p": "pass"}
    found = [
        finding(
            first + place,
            names[letter],
            camera=camera,
            mtime_ns=nanoseconds("2026-03-01T11:30:00") + place,
        )
        for place, letter in enumerate(verdicts)
    ]
    images.record(store, found, leave, NOW + timedelta(minutes=minutes))


def test_troubles_are_chosen_by_name_and_camera_and_none_is_about_alarms(
    watch: Watch, health: Health
) -> None:
    for name in ("brightness of top-1", "silent top-1", "silent bottom-1", "space", "alarm to x"):
        health.trouble(name, f"what {name} is")
    assert holds(watch, when="trouble").keys() == {
        "brightness of top-1",
        "silent top-1",
        "silent bottom-1",
        "space",
    }
    some = holds(watch, when="trouble", troubles=("brightness *", "space"))
    assert some == {
        "brightness of top-1": "what brightness of top-1 is",
        "space": "what space is",
    }
    assert holds(watch, when="trouble", camera="bottom-1").keys() == {"silent bottom-1"}
    assert holds(watch, when="silent").keys() == {"silent top-1", "silent bottom-1"}
    assert holds(watch, when="silent", camera="top-1").keys() == {"silent top-1"}


def test_a_rate_is_told_above_or_below_its_limits(watch: Watch, store: Database) -> None:
    judged(store, "top-1", "d" * 7 + "p" * 53, first=1)
    judged(store, "bottom-1", "d" * 1 + "p" * 59, first=100)
    (above,) = holds(watch, when="rate", max_rate=0.1).items()
    assert above[0] == "top-1"
    assert "11.67 % of 60 images since 2026-03-01T11:00:00Z are defects, above 10.00 %" in above[1]
    below = holds(watch, when="rate", min_rate=0.02)
    assert below.keys() == {"bottom-1"}
    assert "below 2.00 %" in below["bottom-1"]
    assert holds(watch, when="rate", max_rate=0.2, min_rate=0.01) == {}


def test_a_rate_of_few_images_changes_nothing(watch: Watch, store: Database) -> None:
    judged(store, "top-1", "d" * 49, first=1)
    assert holds(watch, when="rate", max_rate=0.1) == {}
    told = {"top-1": "it was high", "still-1": "likewise"}
    assert holds(watch, told, when="rate", max_rate=0.1) == told
    judged(store, "top-1", "p" * 600, first=100)
    assert holds(watch, told, when="rate", max_rate=0.1) == {"still-1": "likewise"}


def test_what_was_told_of_a_camera_that_was_taken_away_is_over(
    watch: Watch, store: Database
) -> None:
    judged(store, "top-1", "d" * 49, first=1)
    told = {"top-1": "it was high", "gone-1": "likewise"}
    assert holds(watch, told, when="rate", max_rate=0.1) == {"top-1": "it was high"}
    assert holds(watch, told, when="chart") == {"top-1": "it was high"}
    assert holds(watch, told, when="chart", camera="bottom-1") == {}


@pytest.mark.fault(26)
def test_images_of_a_camera_whose_clock_is_ahead_do_not_count_in_the_last_hours_for_years(
    watch: Watch, store: Database
) -> None:
    judged(store, "top-1", "p" * 60, first=1)
    ahead = nanoseconds("2099-01-01T00:00:00")
    found = [finding(100 + place, mtime_ns=ahead + place) for place in range(60)]
    images.record(store, found, leave, NOW)
    assert holds(watch, when="rate", max_rate=0.1) == {}
    assert holds(watch, when="rate", max_rate=0.1, minutes_later=59) == {}


def test_an_hour_out_of_the_limits_of_the_control_chart_is_told(
    watch: Watch, store: Database
) -> None:
    def hour(number: int, defects: int, first: int) -> None:
        moment = nanoseconds("2026-02-28T12:00:00") + number * 3_600_000_000_000
        found = [
            finding(first + place, "defect" if place < defects else "pass", mtime_ns=moment + place)
            for place in range(100)
        ]
        images.record(store, found, leave, NOW)

    for number in range(23):
        hour(number, 5 + number % 3, 1000 * (number + 1))
    assert holds(watch, {"top-1": "out"}, when="chart") == {"top-1": "out"}, "nothing since"
    hour(23, 30, 50_000)
    told = holds(watch, when="chart")["top-1"]
    assert "30.00 % of 100 images of the hour 2026-03-01T11:00:00Z are defects" in told
    assert "a point beyond the limits (rule 1)" in told
    hour(24, 6, 60_000)
    assert holds(watch, {"top-1": told}, when="chart", minutes_later=60) == {}


def test_so_many_defects_of_a_class_within_minutes_are_told(watch: Watch, store: Database) -> None:
    judged(store, "top-1", "ddd", first=1, minutes=-30)
    judged(store, "top-1", "dd", first=10, minutes=-5)
    judged(store, "bottom-1", "ppd", first=20, minutes=-1)
    rule: dict[str, Any] = {"when": "defects", "minutes": 10}
    assert holds(watch, count=3, **rule) == {}
    assert holds(watch, count=2, **rule).keys() == {"top-1"}
    assert "2 images with any defect within 10 minutes" in holds(watch, count=2, **rule)["top-1"]
    assert holds(watch, count=1, **rule).keys() == {"top-1", "bottom-1"}
    assert holds(watch, camera="bottom-1", **rule).keys() == {"bottom-1"}
    assert holds(watch, defect_class="patches", **rule) == {}
    assert holds(watch, defect_class="scratches", **rule).keys() == {"top-1", "bottom-1"}
    assert holds(watch, count=5, when="defects", minutes=60).keys() == {"top-1"}
    assert holds(watch, minutes_later=6, **rule).keys() == {"bottom-1"}


def test_little_space_is_told_once_for_each_disk(
    watch: Watch, tmp_path: Path, store: Database
) -> None:
    free = Room.of(tmp_path).free / 1e9
    assert store.path.parent == tmp_path
    assert holds(watch, when="disk", free_below_gb=free / 2) == {}
    (name,) = holds(watch, when="disk", free_below_gb=2 * free)
    assert name == str(tmp_path)
    with filesystem(tmp_path / "archive", size="4m"):
        (small,) = holds(watch, when="disk", free_below_gb=0.005)
        assert small == str(tmp_path / "archive"), "which is a disk of its own"


@pytest.mark.fault(28)
def test_a_share_that_hangs_does_not_keep_alarms_from_being_told(
    watch: Watch, tmp_path: Path
) -> None:
    free = Room.of(tmp_path).free / 1e9
    review = tmp_path / "review"
    review.mkdir()
    told = {str(review): "it was low", str(tmp_path): "likewise"}
    with hanging(review):
        found = holds(watch, told, when="disk", free_below_gb=free / 2)
        assert found == {str(review): "it was low"}
    watch.close(seconds=5.0)


def test_a_retraining_that_fails_or_is_refused_is_told_until_one_comes_to_a_good_end(
    watch: Watch, store: Database, health: Health
) -> None:
    metadata = Metadata(
        version="m2",
        classes=("a", "b"),
        input_size=64,
        created_at="2026-03-01T00:00:00Z",
        manifest_sha256="0" * 64,
    )
    assert holds(watch, when="retraining") == {}
    run = retraining.begin(store, "run-1", NOW, due=True)
    assert holds(watch, when="retraining") == {}
    retraining.end(store, run, "failed", "out of memory", NOW)
    told = holds(watch, when="retraining")
    assert told == {"run run-1": "the retraining run-1 failed: out of memory"}
    for _ in range(30):
        retraining.skip(store, "too few labels", NOW)
    assert holds(watch, when="retraining") == told
    run = retraining.begin(store, "run-2", NOW, due=True)
    retraining.end(store, run, "done", "m2: reject: worse on scratches", NOW)
    models.remember_candidate(store, metadata, status="rejected", reason="worse on scratches")
    (refused,) = holds(watch, when="retraining").items()
    assert refused[0] == "run run-2"
    assert "m2 was rejected: reject: worse on scratches" in refused[1]
    models.set_status(store, "m2", "needs_a_person", "too few")
    assert "waits for a person" in holds(watch, when="retraining")["run run-2"]
    run = retraining.begin(store, "run-3", NOW, due=True)
    retraining.end(store, run, "failed", "killed", NOW)
    assert holds(watch, when="retraining").keys() == {"run run-3", "run run-2"}
    models.remember_current(store, metadata, NOW)
    assert holds(watch, when="retraining").keys() == {"run run-3"}
    run = retraining.begin(store, "run-4", NOW, due=True)
    retraining.end(store, run, "done", "m2: no worse", NOW)
    assert holds(watch, when="retraining") == {}
    health.trouble("model", "model m2 was rolled back by itself")
    assert holds(watch, when="retraining") == {"model": "model m2 was rolled back by itself"}
