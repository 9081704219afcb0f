"""Runs as the daemon starts, watches and ends them."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from builders import Station, surface_file, wait_until
from composed import ByHand, by_hand
from drawn import drawn_manifest
from filesystems import filesystem, full

from daemon.clock import now_utc
from daemon.process.control import RefusedError
from daemon.retraining.folders import REQUESTED, Usable, freeze, request
from daemon.retraining.promotion import Promoter
from daemon.retraining.retrainer import Retrainer
from daemon.review.labelling import Labeller
from daemon.store import retraining
from daemon.store.labels import newest_label
from daemon.store.models import remember_current
from models.taxonomy import KNOWN_DEFECTS
from training.data.manifest import Part
from training.retraining.run_folder import read_run

SEEDS = {Part.FIT: range(6), Part.SELECT: range(6, 10), Part.TEST: range(10, 13)}
NIGHT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


@dataclass
class Clock:
    now: datetime

    def __call__(self) -> datetime:
        return self.now


@contextmanager
def retrainer_of(
    station: Station, line: ByHand, clock: Clock | None = None, **seconds: float
) -> Iterator[Retrainer]:
    parts = {"database": line.database, "health": line.health}
    promoter = Promoter(station.settings(), **parts, clock=now_utc, line=line.pipeline)  # type: ignore[arg-type]
    retrainer = Retrainer(
        station.settings(),
        **parts,
        promoter=promoter,
        clock=clock or now_utc,  # type: ignore[arg-type]
        **seconds,
    )
    try:
        yield retrainer
    finally:
        retrainer.close()


def label(station: Station, line: ByHand, counts: dict[str, int]) -> None:
    """Images that the line judged and a person labelled."""
    remember_current(line.database, line.pipeline.model.metadata, now_utc())
    names = []
    for name, count in counts.items():
        for number in range(count):
            names.append(name)
            data = surface_file(name, seed=2000 + number)
            station.drop("top-1", f"{name}-{number}.jpg", data)
    line.work_until(lambda: station.count() == len(names))
    labeller = Labeller(
        station.settings(), database=line.database, health=line.health, clock=now_utc
    )
    for image_id, filename in station.query("SELECT id, filename FROM inspections"):
        labeller.label(image_id, filename.rpartition("-")[0], "eva", seen=0)


def states(station: Station) -> list[tuple[str, str]]:
    return station.query("SELECT state, reason FROM retraining_run ORDER BY id")  # type: ignore[return-value]


def stepped_to_the_end(retrainer: Retrainer) -> None:
    def over() -> bool:
        retrainer.step()
        return not retrainer.busy

    wait_until(over, seconds=110)


@pytest.mark.fault(33)
def test_a_run_that_is_killed_is_marked_failed_and_the_current_model_is_as_it_was(
    station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun where other packages of these names lie, which are none of ours."""
    for name in ("daemon", "training", "config"):
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
        (tmp_path / "elsewhere" / name / "__init__.py").write_text("raise SystemExit(7)\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with by_hand(station.settings()) as line:
        label(station, line, {"no_defect": 10})
        with retrainer_of(station, line) as retrainer:
            run = retrainer.start()
            retrainer.step()
            process = wait_until(lambda: _process_of(run), what=f"there is a process of {run}")
            os.kill(process, signal.SIGKILL)
            stepped_to_the_end(retrainer)
    ((state, why),) = states(station)
    assert state == "failed"
    assert "ended with status -9" in why
    rows = station.query("SELECT version, status FROM model_versions")
    assert rows == [("tiny-6-0", "current")]


def test_a_run_that_takes_too_long_is_ended_and_that_is_what_is_told(station: Station) -> None:
    with by_hand(station.settings()) as line:
        label(station, line, {"no_defect": 10})
        with retrainer_of(station, line, longest_seconds=0.0) as retrainer:
            retrainer.start()
            stepped_to_the_end(retrainer)
    ((state, why),) = states(station)
    assert state == "failed"
    assert "it was not done after 0 hours, and was ended; give it more retraining.threads" in why


def _process_of(run: str) -> int | None:
    """None until it has become the command that was asked for."""
    for each in Path("/proc").iterdir():
        try:
            command = (each / "cmdline").read_bytes() if each.name.isdigit() else b""
            if b"-m\0training\0" in command and run.encode() in command:
                return int(each.name)
        except OSError:
            continue
    return None


@pytest.mark.fault(33)
def test_a_disk_that_fills_while_a_model_is_made_leaves_the_current_one_and_no_big_files(
    station: Station,
) -> None:
    drawn_manifest(station.root / "base", KNOWN_DEFECTS, SEEDS).save(station.root / "base.json")
    station.tables = {"retraining": {"base_set": str(station.root / "base.json")}}
    station.write_config()
    runs = station.state_dir / "runs"
    with by_hand(station.settings()) as line, filesystem(runs, size="2m"):
        label(station, line, {"no_defect": 12})
        with retrainer_of(station, line) as retrainer:
            name = retrainer.start()
            stepped_to_the_end(retrainer)
            with full(runs), pytest.raises(OSError, match="No space left"):
                retrainer.start()
        assert not (runs / name / "candidate").exists()
        assert not list(runs.glob(".run-*"))
    (first, second) = states(station)
    assert first[0] == second[0] == "failed"
    assert "space" in first[1]
    assert "could not be started" in second[1]
    rows = station.query("SELECT version, status FROM model_versions")
    assert rows == [("tiny-6-0", "current")]


@pytest.mark.fault(33)
def test_a_run_found_unfinished_at_the_start_is_marked_failed_and_its_big_files_go(
    station: Station,
) -> None:
    with by_hand(station.settings()) as line:
        folder = station.state_dir / "runs" / "run-1"
        (folder / "candidate").mkdir(parents=True)
        (folder / "log.txt").write_text("all that is known\n")
        retraining.begin(line.database, "run-1", NIGHT, due=True)
        with retrainer_of(station, line) as retrainer:
            retrainer.recover()
            assert not retrainer.busy
    ((state, why),) = states(station)
    assert (state, "stopped while it ran" in why) == ("failed", True)
    assert sorted(each.name for each in folder.iterdir()) == ["failed.txt", "log.txt"]


@pytest.mark.fault(33)
def test_a_run_of_systemd_that_failed_without_a_daemon_is_not_asked_for_again(
    station: Station,
) -> None:
    """Systemd would begin it anew, and not hear that the next one is asked for meanwhile."""
    folder = station.state_dir / "runs" / "run-1"
    with by_hand(station.settings()) as line:
        folder.mkdir(parents=True)
        request(folder)
        asked = (folder.parent / REQUESTED).stat().st_mtime_ns
        (folder / "failed.txt").write_text("too little memory\n")
        retraining.begin(line.database, "run-1", NIGHT, due=True)
        with retrainer_of(station, line) as retrainer:
            retrainer.recover()
            retrainer.step()
            assert not retrainer.busy
        assert (folder.parent / REQUESTED).stat().st_mtime_ns == asked
    assert states(station) == [("failed", "too little memory")]


def test_systemd_is_asked_again_for_a_run_of_which_there_is_no_sign(station: Station) -> None:
    """As where the one before it was just about to end: then systemd hears of none."""
    station.tables = {"retraining": {"runner": "systemd"}}
    station.write_config()
    asked = station.state_dir / "runs" / REQUESTED
    with by_hand(station.settings()) as line:
        label(station, line, {"no_defect": 10})
        with retrainer_of(station, line, ask_seconds=0.0) as retrainer:
            run = asked.with_name(retrainer.start())
            asked.write_text("")  # it was read, and not heeded
            retrainer.step()
            assert asked.read_text() == f"{run}\n"
            (run / "progress.json").write_text('{"stage": "reading", "done": 0, "of": 1}')
            asked.write_text("")
            retrainer.step()
            assert asked.read_text() == ""
        asked.write_text(f"{run}\n")
        with retrainer_of(station, line, ask_seconds=0.0) as retrainer:
            retrainer.recover()  # what it told before the start is no sign of it
            asked.write_text("")
            retrainer.step()
            assert asked.read_text() == f"{run}\n"


@pytest.mark.fault(26)
@pytest.mark.fault(33)
def test_a_run_that_was_due_and_died_with_the_daemon_is_made_up_for_once(station: Station) -> None:
    with by_hand(station.settings()) as line:
        retraining.skip(line.database, "the schedule begins", NIGHT - timedelta(hours=1))
        before = retraining.handled_until(line.database)
        met = []
        for number in range(2):
            at = NIGHT + timedelta(minutes=number)
            retraining.begin(line.database, f"run-{number}", at, due=True)  # and the power goes
            with retrainer_of(station, line, Clock(at)) as retrainer:
                retrainer.recover()
            met.append(retraining.handled_until(line.database))
    assert met == [before, "2026-11-24T03:01:00Z"]


@pytest.mark.fault(33)
def test_a_run_that_was_due_on_a_full_disk_is_told_of_until_it_is_started_later(
    station: Station,
) -> None:
    station.tables = {"retraining": {"min_new_labels": 1}}
    station.write_config()
    runs = station.state_dir / "runs"
    clock = Clock(NIGHT - timedelta(minutes=1))
    with by_hand(station.settings()) as line, filesystem(runs, size="2m"):
        label(station, line, {"no_defect": 10})
        with retrainer_of(station, line, clock) as retrainer:
            retrainer.step()
            clock.now = NIGHT + timedelta(minutes=1)
            with full(runs):
                retrainer.step()
                retrainer.step()
                assert "No space left" in line.health.troubles()["retraining"]
            assert [state for state, _ in states(station)] == ["skipped", "failed"]
            clock.now += timedelta(minutes=11)
            retrainer.step()
            assert retrainer.busy
            retrainer.step()
            assert "retraining" not in line.health.troubles()


@pytest.mark.fault(26)
def test_labels_count_as_new_after_a_run_under_a_clock_that_was_ahead(station: Station) -> None:
    with by_hand(station.settings()) as line:
        label(station, line, {"no_defect": 4})
        with retrainer_of(station, line, Clock(NIGHT + timedelta(days=4000))) as retrainer:
            assert retrainer.new_labels() == 4
            until = newest_label(line.database)
            run = retraining.begin(
                line.database, "run-1", NIGHT + timedelta(days=4000), due=True, labels_until=until
            )
            retraining.end(line.database, run, "done", "it is better", NIGHT)
            assert retrainer.new_labels() == 0
            image_id = station.query("SELECT max(id) FROM inspections")[0][0]
            Labeller(
                station.settings(), database=line.database, health=line.health, clock=now_utc
            ).label(image_id, "scratches", "eva", seen=None)
            assert retrainer.new_labels() == 1


@pytest.mark.fault(26)
def test_a_clock_that_jumps_ahead_ends_no_run_and_the_next_is_still_the_latest(
    station: Station,
) -> None:
    """As it does soon after the start of a computer without a battery."""
    clock = Clock(NIGHT)
    with by_hand(station.settings()) as line:
        label(station, line, {"no_defect": 10})
        with retrainer_of(station, line, clock) as retrainer:
            first = retrainer.start()
            retrainer.step()
            process = wait_until(lambda: _process_of(first), what=f"there is a process of {first}")
            clock.now += timedelta(days=4000)
            retrainer.step()
            assert retrainer.busy
            os.kill(process, signal.SIGKILL)
            stepped_to_the_end(retrainer)
            ahead = retrainer.start()
        clock.now = NIGHT + timedelta(hours=1)
        with retrainer_of(station, line, clock) as retrainer:
            right = retrainer.start()
        started = station.query("SELECT started_at FROM retraining_run ORDER BY id")
    assert first < ahead < right
    assert started[-1] == ("2026-11-24T04:00:00Z",)


@pytest.mark.fault(32)
def test_without_the_model_that_serves_a_run_that_is_asked_for_is_refused_in_words(
    station: Station, tmp_path: Path
) -> None:
    station.model = shutil.copytree(station.model, tmp_path / "model")
    station.write_config()
    with by_hand(station.settings()) as line:
        label(station, line, {"no_defect": 4})
        shutil.rmtree(station.model)
        with (
            retrainer_of(station, line) as retrainer,
            pytest.raises(RefusedError, match="the model that serves cannot be read"),
        ):
            retrainer.start()


@pytest.mark.fault(33)
@pytest.mark.parametrize("memory", [8.0, 0.2], ids=["enough memory", "too little memory"])
def test_a_run_in_a_process_of_its_own_ends_with_a_candidate_or_with_the_current_model_untouched(
    station: Station, memory: float
) -> None:
    drawn_manifest(station.root / "base", KNOWN_DEFECTS, SEEDS).save(station.root / "base.json")
    base = str(station.root / "base.json")
    station.tables = {"retraining": {"base_set": base, "max_memory_gb": memory}}
    station.write_config()
    with by_hand(station.settings()) as line:
        label(station, line, {"no_defect": 15})
        teach = Labeller(
            station.settings(), database=line.database, health=line.health, clock=now_utc
        )
        for image_id in (1, 2, 3):
            teach.label(image_id, "blowhole", "eva", seen=None)
        with retrainer_of(station, line) as retrainer:
            first = retrainer.start()
            stepped_to_the_end(retrainer)
            ((state, why),) = states(station)
            runs, second = station.state_dir / "runs", retrainer.start()
    models = station.query("SELECT version, status FROM model_versions ORDER BY created_at")
    if memory > 1:
        assert state == "done", why
        assert "blowhole has 3 labelled images and a new class needs 10: label 7 more" in why
        assert len(models) == 2
        told = json.loads((runs / first / "manifest.json").read_text())
        assert json.loads((runs / second / "earlier.json").read_text()) == told["held_out"]
        assert len(told["held_out"]) == 12
        known = read_run(runs / second).earlier_base
        assert known == told["base_set"]
        assert len(known) == 13 * len(KNOWN_DEFECTS)
    else:
        assert state == "failed"
        assert "more than retraining.max_memory_gb" in why
        assert models == [("tiny-6-0", "current")]


@pytest.mark.fault(26)
def test_each_due_time_is_met_once_whatever_the_clock_does_and_late_rather_than_never(
    station: Station,
) -> None:
    clock = Clock(NIGHT - timedelta(hours=12))
    with by_hand(station.settings()) as line:

        def times_met() -> int:
            """By a daemon that was just started."""
            with retrainer_of(station, line, clock) as retrainer:
                retrainer.step()
                retrainer.step()
            return len([each for each in states(station) if each[1].startswith("due, but")])

        assert times_met() == 0
        clock.now = NIGHT + timedelta(hours=5)
        assert times_met() == 1
        clock.now = NIGHT - timedelta(hours=1)
        assert times_met() == 1
        clock.now = NIGHT + timedelta(minutes=1)
        assert times_met() == 1
        clock.now = NIGHT + timedelta(days=400)
        assert times_met() == 2
        clock.now = NIGHT + timedelta(days=1, hours=-1)
        assert times_met() == 2
        clock.now = NIGHT + timedelta(days=1, minutes=1)
        assert times_met() == 3
    assert "0 new labels and 50 are needed" in states(station)[-1][1]


def test_a_run_is_told_in_which_runtime_the_line_serves_models(station: Station) -> None:
    folder = station.state_dir / "runs" / "run-1"
    freeze(station.settings(), folder, Usable(labels=[], rare={}), NIGHT, seed=1)
    assert read_run(folder).runtime == station.settings().model.runtime == "torch"


def test_a_run_with_nothing_to_learn_from_is_refused(station: Station) -> None:
    with by_hand(station.settings()) as line:
        label(station, line, {"no_defect": 3})
        with (
            retrainer_of(station, line) as retrainer,
            pytest.raises(RefusedError, match="no labelled images to learn from"),
        ):
            retrainer.start()
    assert states(station) == []
