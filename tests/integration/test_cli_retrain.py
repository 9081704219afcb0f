"""`retrain`: what is told of a run that was asked for, whatever else comes about meanwhile."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answering import answering
from builders import Station
from commands import Millwatch
from composed import by_hand
from promoting import kept, promoter_of
from ruled import GOOD

from daemon.clock import now_utc
from daemon.retraining.retrainer import Retrainer
from daemon.serving import registry_folder
from daemon.store import retraining

RUN = "run-20261124T030000Z"


def test_a_due_time_that_needs_no_run_is_not_told_as_what_came_of_the_one_that_was_asked_for(
    millwatch: Millwatch, station: Station
) -> None:
    """As at three in the morning, when a run ends that was begun at a quarter to."""
    with by_hand(station.settings()) as line:
        run = retraining.begin(line.database, RUN, now_utc(), due=False)
        retraining.end(line.database, run, "done", "made: promote: it is better", now_utc())
        retraining.skip(line.database, "due, but there are 0 new labels", now_utc())
        retrainer = Retrainer(
            station.settings(),
            database=line.database,
            promoter=promoter_of(station, line),
            health=line.health,
            clock=now_utc,
        )
        with answering(
            station.state_dir,
            {
                "retrain": lambda _: {"run": RUN},
                "status": lambda _: {"retraining": retrainer.status()},
            },
        ):
            done = millwatch("retrain", "--now", "--config", station.config)
            told = millwatch("retrain", "--config", station.config)
    assert (done.status, done.out) == (0, "made: promote: it is better\n"), done.err
    assert "skipped: due, but there are 0 new labels" in told.out
    assert "last run   done: made: promote: it is better\n" in told.out


@pytest.mark.parametrize("asked", [["retrain"], ["retrain", "--now"]], ids=" ".join)
def test_a_daemon_that_cannot_read_its_database_is_told_in_words(
    millwatch: Millwatch, station: Station, asked: list[str]
) -> None:
    def status(_: Any) -> dict[str, Any]:
        return {"retraining": None}  # as `Service.status` has it then

    station.state_dir.mkdir()
    with answering(station.state_dir, {"retrain": lambda _: {"run": RUN}, "status": status}):
        done = millwatch(*asked, "--config", station.config)
    assert done.status == 1
    assert "cannot read its database now; `millwatch status` says why" in done.err


def test_without_a_daemon_a_run_that_systemd_finished_is_ended_before_another_is_begun(
    millwatch: Millwatch, station: Station, commissioned_model: Path
) -> None:
    version = kept(station, commissioned_model, "made")
    folder = station.state_dir / "runs" / RUN
    folder.mkdir(parents=True)
    shutil.move(registry_folder(station.settings()) / version, folder / "candidate")
    candidate = replace(GOOD.candidate, version=version)
    current = replace(GOOD.current, version="tiny-6-0")
    figures = replace(GOOD, candidate=candidate, current=current)
    (folder / "evaluation.json").write_text(figures.to_json())
    with by_hand(station.settings()) as line:
        retraining.begin(line.database, RUN, now_utc(), due=True)
        promoter_of(station, line)
    done = millwatch("retrain", "--now", "--config", station.config)
    assert "no labelled images to learn from" in done.err
    with by_hand(station.settings()) as line:
        (run,) = retraining.latest(line.database)
    assert run.state == "done"
