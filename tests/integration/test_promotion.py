"""Another model serves: promotion, going back, and what goes back by itself."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from builders import Station, assert_every_image_accounted_for, wait_until
from commands import Millwatch
from composed import by_hand
from filesystems import filesystem, read_only
from promoting import current, kept, promoter_of

from daemon.doctor.storage import model_checks
from daemon.process.control import RefusedError, ask
from daemon.retraining.promotion import TROUBLE
from daemon.serving import load_serving_model, point_to, registry_folder
from models.checkpoint import WEIGHTS

WAIT = 60.0


def promote(station: Station, version: str) -> None:
    ask(station.state_dir, "models promote", seconds=WAIT, version=version, by="eva")


def status_of(station: Station, version: str) -> tuple[str, str]:
    ((status, reason),) = station.query(
        "SELECT status, reason FROM model_versions WHERE version = ?", version
    )
    return status, reason


def test_swap_and_rollback_under_load_lose_no_image_and_each_row_names_its_model(
    station: Station, second: str
) -> None:
    """Prints the longest pause between two commits while models were swapped."""
    with station.running():
        first = station.status()["model_version"]
        over = threading.Event()
        numbers = iter(range(10_000))

        def feed() -> None:
            while not over.is_set():
                station.drop_surfaces(1, first=next(numbers))
                over.wait(0.01)

        feeding = threading.Thread(target=feed)
        feeding.start()
        try:
            pauses = {"swap": 0.0, "rollback": 0.0}
            for name, version in (("swap", second), ("rollback", first)):
                before = station.count()
                swapping = threading.Thread(
                    target=lambda v=version: (
                        promote(station, v)
                        if v == second
                        else ask(station.state_dir, "models rollback", seconds=WAIT, by="eva")
                    )
                )
                swapping.start()
                last, count = time.monotonic(), before
                while swapping.is_alive() or station.status()["model_version"] != version:
                    if station.count() != count:
                        count, last = station.count(), time.monotonic()
                    pauses[name] = max(pauses[name], time.monotonic() - last)
                swapping.join()
                wait_until(
                    lambda v=version: station.query(
                        "SELECT count(*) FROM inspections WHERE model_version = ?", v
                    )[0][0]
                )
        finally:
            over.set()
            feeding.join()
        station.wait_for_images(sum(len(each) for each in station.dropped.values()))
    for name, longest in pauses.items():
        print(f"longest pause between two commits around a {name}: {longest * 1000:.0f} ms")
    assert_every_image_accounted_for(station)
    assert station.query("SELECT count(*) FROM inspections WHERE model_version IS NULL") == [(0,)]
    assert {v for (v,) in station.query("SELECT DISTINCT model_version FROM inspections")} == {
        first,
        second,
    }
    assert current(station) == [first]
    assert status_of(station, second) == ("rejected", "rolled back by eva")


def test_two_promotions_at_once_leave_one_current_model(
    station: Station, second: str, commissioned_model: Path
) -> None:
    third = kept(station, commissioned_model, "tiny-third")
    with station.running():
        threads = [
            threading.Thread(target=promote, args=(station, version)) for version in (second, third)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (serving,) = current(station)
        wait_until(lambda: station.status()["model_version"] == serving)
    assert (registry_folder(station.settings()) / "current").read_text().split()[0] == serving


@pytest.mark.fault(33)
def test_a_kill_between_pointer_and_record_is_settled_at_the_start(
    station: Station, second: str
) -> None:
    with station.running():
        first = station.status()["model_version"]
    point_to(station.settings(), registry_folder(station.settings()) / second)
    assert current(station) == [first]
    with station.running():
        assert station.status()["model_version"] == second
    assert current(station) == [second]


ROLL_BACK = """
import os, sys
from pathlib import Path
from config.loading import load_settings
from daemon.clock import now_utc
from daemon.process.health import Health
from daemon.retraining.promotion import Promoter
from daemon.store.upgrading import prepare_database
from kills import Kill
config, trace, kind = sys.argv[1:]
settings = load_settings(Path(config), os.environ)
database = prepare_database(
    settings.database_file, backups=settings.state_dir / "backups", now=now_utc()
)
promoter = Promoter(settings, database=database, health=Health(), clock=now_utc)
Kill(1, Path(trace), kind=kind).arm()
promoter.roll_back("eva")
"""


@pytest.mark.fault(33)
@pytest.mark.parametrize("before", ["commit", "unlink"])
def test_a_kill_within_a_rollback_never_leads_back_to_what_was_rejected(
    station: Station, second: str, before: str
) -> None:
    with by_hand(station.settings()) as line:
        promoter_of(station, line).promote(second, "the gate")
    crash = Path(__file__).parents[1] / "crash"
    killed = subprocess.run(
        [sys.executable, "-c", ROLL_BACK, station.config, station.root / "trace", before],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (crash, *crash.parents[:2])))},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    with station.running():
        (serving,) = current(station)
        assert station.status()["model_version"] == serving
    # Either it was not done at all, or the model that was gone back from is not gone back to.
    assert serving == second or status_of(station, second)[0] == "rejected"


@pytest.mark.fault(33)
@pytest.mark.parametrize("harm", ["weights cut short", "not a number"])
def test_a_candidate_that_cannot_serve_is_refused_and_the_current_one_goes_on(
    station: Station, model: Path, harm: str
) -> None:
    broken = kept(
        station,
        model,
        "broken",
        (lambda w: np.full_like(w, np.nan)) if harm == "not a number" else None,
    )
    if harm == "weights cut short":
        weights = registry_folder(station.settings()) / broken / WEIGHTS
        weights.write_bytes(weights.read_bytes()[:1000])
    with station.running():
        first = station.status()["model_version"]
        with pytest.raises(RefusedError, match=r"cannot be loaded|fails on pictures"):
            promote(station, broken)
        station.drop_surfaces(3)
        station.wait_for_images(3)
        assert station.status()["model_version"] == first
    assert current(station) == [first]


def test_where_no_pointer_can_be_written_nothing_is_changed_and_that_is_said(
    station: Station, commissioned_model: Path
) -> None:
    registry = registry_folder(station.settings())
    with filesystem(registry, size="200m"):
        second = kept(station, commissioned_model, "tiny-7-0")
        with station.running():
            first = station.status()["model_version"]
            told = "Read-only file system.* whether it may be written there"
            with read_only(registry), pytest.raises(RefusedError, match=told):
                promote(station, second)
            assert station.status()["model_version"] == first
            assert current(station) == [first]
            promote(station, second)


@pytest.mark.fault(33)
def test_a_pointer_to_a_model_that_was_damaged_falls_back_to_the_one_before(
    station: Station, second: str
) -> None:
    with station.running():
        first = station.status()["model_version"]
        promote(station, second)
    (registry_folder(station.settings()) / second / WEIGHTS).write_bytes(b"")
    with station.running():
        assert station.status()["model_version"] == first
        assert f"model {second} does not load" in station.troubles()[TROUBLE]
    assert current(station) == [first]
    assert status_of(station, second)[0] == "rejected"


@pytest.mark.fault(32)
def test_a_pointer_that_names_no_model_is_told_of_and_the_start_serves(
    station: Station, second: str
) -> None:
    pointer = registry_folder(station.settings()) / "current"
    for written in (b"", b"\0" * 20, b"\xff\xfe"):
        pointer.write_bytes(written)
        (checked, *_), _ = model_checks(station.settings())
        assert str(pointer) in checked.found
    with station.running():
        assert station.status()["model_version"] == "tiny-6-0"
        told = station.troubles()[TROUBLE]
        assert str(pointer) in told
        assert "Model tiny-6-0 serves" in told
        assert pointer.read_bytes() == written
        promote(station, second)
        assert TROUBLE not in station.troubles()


def test_models_are_promoted_and_rolled_back_with_no_daemon(
    station: Station, second: str, millwatch: Millwatch
) -> None:
    done = millwatch("models", "promote", second, "--config", station.config)
    assert done.status == 0, done.err
    assert done.out == f"model {second} serves\n"
    assert load_serving_model(station.settings()).version == second
    done = millwatch("models", "promote", "none", "--config", station.config)
    assert done.status == 1
    assert "there is no model 'none' here" in done.err
    done = millwatch("models", "rollback", "--config", station.config)
    assert done.status == 0, done.err
    assert done.out == "model tiny-6-0 serves again\n"
    done = millwatch("models", "rollback", "--config", station.config)
    assert done.status == 1
    assert "no model that served before" in done.err
    done_by = station.query("SELECT address, deed, what FROM audit ORDER BY id")
    assert done_by == [("command", "promote", second), ("command", "rollback", "")]


def test_old_versions_are_removed_by_count_and_never_the_last_good_one(
    station: Station, model: Path
) -> None:
    station.tables = {"retraining": {"keep_versions": 2}}
    station.write_config()
    with by_hand(station.settings()) as line:
        promoter = promoter_of(station, line)
        for number in range(4):
            promoter.promote(kept(station, model, f"v{number}"), "the gate")
    registry = registry_folder(station.settings())
    assert sorted(each.name for each in registry.iterdir() if each.is_dir()) == ["v2", "v3"]
