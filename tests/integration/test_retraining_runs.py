"""Runs as the daemon starts, watches and ends them."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from builders import Station, wait_until
from composed import by_hand
from drawn import drawn_manifest
from filesystems import filesystem, full
from retraining_by_hand import (
    NIGHT,
    label,
    process_of,
    retrainer_of,
    states,
    stepped_to_the_end,
)

from daemon.clock import now_utc
from daemon.process.control import RefusedError
from daemon.retraining.folders import REQUESTED, Usable, freeze, request
from daemon.review.labelling import Labeller
from daemon.store import retraining
from models.taxonomy import KNOWN_DEFECTS
from training.data.manifest import Part
from training.retraining.run_folder import read_run, report_progress

SEEDS = {Part.FIT: range(6), Part.SELECT: range(6, 10), Part.TEST: range(10, 13)}


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
            process = wait_until(lambda: process_of(run), what=f"there is a process of {run}")
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


def test_a_run_whose_folder_is_removed_has_failed_and_does_not_make_the_folder_again(
    station: Station,
) -> None:
    station.tables = {"retraining": {"runner": "systemd"}}
    station.write_config()
    with by_hand(station.settings()) as line:
        label(station, line, {"no_defect": 10})
        with retrainer_of(station, line) as retrainer:
            folder = station.state_dir / "runs" / retrainer.start()
            shutil.rmtree(folder)
            with pytest.raises(FileNotFoundError):
                report_progress(folder, "reading", 1, 10)
            retrainer.step()
            assert not retrainer.busy
    assert not folder.exists()
    ((state, why),) = states(station)
    assert (state, "its folder was removed" in why) == ("failed", True)


def test_what_a_kill_left_of_a_run_that_was_being_frozen_goes_with_the_next(
    station: Station,
) -> None:
    with by_hand(station.settings()) as line:
        label(station, line, {"no_defect": 10})
        left = station.state_dir / "runs" / ".run-20260101T030000Z.part"
        left.mkdir(parents=True)
        (left / "labels.json").touch()
        with retrainer_of(station, line) as retrainer:
            retrainer.start()
    assert not left.exists()


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
