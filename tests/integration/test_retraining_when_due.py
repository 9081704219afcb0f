"""Runs that the schedule or labels ask for, whatever the clock does."""

import os
import signal
from datetime import timedelta

import pytest
from builders import Station, wait_until
from composed import by_hand
from filesystems import filesystem, full
from retraining_by_hand import (
    NIGHT,
    Clock,
    label,
    process_of,
    retrainer_of,
    states,
    stepped_to_the_end,
)

from daemon.clock import now_utc
from daemon.review.labelling import Labeller
from daemon.store import retraining
from daemon.store.labels import newest_label


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
            process = wait_until(lambda: process_of(first), what=f"there is a process of {first}")
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
