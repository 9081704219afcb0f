"""What systemd runs when the daemon asked for a retraining."""

from pathlib import Path

import pytest
from builders import Station

from daemon.retraining import folders, requested


@pytest.fixture
def run(station: Station, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder that the daemon asked for."""
    folder = folders.runs_folder(station.settings()) / "run-20261125T030000Z"
    folder.mkdir(parents=True)
    folders.request(folder)
    monkeypatch.setenv("RETRAINING_REQUESTED", str(folder.parent / folders.REQUESTED))
    return folder


def test_a_run_that_was_ended_from_outside_leaves_a_word_for_the_daemon(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_RESULT", "oom-kill")
    requested.main(["--ended"])
    told = folders.failure_of(run)
    assert "ended from outside (oom-kill)" in told
    assert "retrain with a larger retraining.max_memory_gb" in told


def test_a_mistake_in_the_configuration_does_not_keep_the_end_of_a_run_from_the_daemon(
    run: Path, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.config.write_text('colour = "blue"\n')
    monkeypatch.setenv("MILLWATCH_CONFIG", str(station.config))
    requested.main(["--ended"])
    assert "ended from outside" in folders.failure_of(run)


def test_what_the_training_said_itself_is_kept(run: Path) -> None:
    (run / folders.FAILED).write_text("there are too few labels\n")
    requested.main(["--ended"])
    assert folders.failure_of(run) == "there are too few labels"


def test_a_run_that_is_done_is_neither_begun_again_nor_called_failed(run: Path) -> None:
    (run / folders.EVALUATION).write_text("{}")
    requested.main([])
    requested.main(["--ended"])
    assert folders.failure_of(run) == ""


def test_the_end_of_a_run_is_not_told_as_that_of_the_next_one(run: Path) -> None:
    """Which may be asked for in the moment between."""
    (run / folders.EVALUATION).write_text("{}")
    (run.parent / folders.BEGUN).write_text(f"{run}\n")
    following = run.with_name("run-20261125T031500Z")
    following.mkdir()
    folders.request(following)
    requested.main(["--ended"])
    assert folders.failure_of(following) == ""


def test_a_folder_that_is_no_run_of_this_line_is_refused(run: Path, tmp_path: Path) -> None:
    (run.parent / folders.REQUESTED).write_text(f"{tmp_path}\n")
    with pytest.raises(SystemExit, match="no retraining run"):
        requested.main([])
