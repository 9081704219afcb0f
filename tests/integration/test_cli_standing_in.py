"""Commands that change something: by the daemon or alone, and in whose name."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from answering import answering
from builders import Station, clean_environment
from commands import Millwatch
from reviewed import station_of

from daemon.process.control import SOCKET
from daemon.process.instance import instance_lock

CHANGES = {
    "models promote": ["models", "promote", "m1"],
    "models rollback": ["models", "rollback"],
    "users remove": ["users", "remove", "anna"],
    "drift accept": ["drift", "accept", "top-1"],
    "retrain": ["retrain", "--now"],
}


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return station_of(tmp_path)


@pytest.fixture
def stuck(station: Station) -> Iterator[None]:
    """A daemon that fails at whatever it is asked for."""

    def fail(_: Any) -> dict[str, Any]:
        raise OSError(5, "Input/output error")

    with answering(station.state_dir, dict.fromkeys(CHANGES, fail)):
        yield


@pytest.mark.parametrize("arguments", CHANGES.values(), ids=CHANGES)
@pytest.mark.usefixtures("stuck")
def test_what_the_daemon_did_not_answer_is_not_called_undone(
    millwatch: Millwatch, station: Station, arguments: list[str]
) -> None:
    told = millwatch(*arguments, "--config", station.config)
    assert told.status == 1
    assert "Input/output error" in told.err
    assert "all the same" in told.err
    assert "nothing was" not in told.err


@pytest.mark.parametrize("arguments", CHANGES.values(), ids=CHANGES)
def test_what_nobody_could_be_asked_for_is_not_done(
    millwatch: Millwatch, station: Station, arguments: list[str]
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as no_daemon:
        no_daemon.bind(str(station.state_dir / SOCKET))
        told = millwatch(*arguments, "--config", station.config)
    assert told.status == 1
    assert "nothing was" in told.err
    assert "may write to that folder" in told.err


@contextmanager
def stopping_after(station: Station, command: str, **answer: str) -> Iterator[None]:
    """A daemon that is gone once it has answered that one command."""

    def leave(_: Any) -> dict[str, Any]:
        (station.state_dir / SOCKET).unlink()
        return answer

    with answering(station.state_dir, {command: leave}):
        yield


def test_a_retraining_whose_daemon_stops_is_not_begun_a_second_time(
    millwatch: Millwatch, station: Station
) -> None:
    with stopping_after(station, "retrain", run="run-1"):
        told = millwatch("retrain", "--now", "--config", station.config)
    assert told.status == 1
    assert "the retraining run-1 was begun" in told.err
    assert station.query("SELECT count(*) FROM retraining_run") == [(0,)]


def test_an_audit_whose_daemon_stops_says_that_it_is_not_complete(
    millwatch: Millwatch, station: Station
) -> None:
    ((path,),) = station.query("SELECT path FROM inspections LIMIT 1")
    Path(path).rename(Path(path).with_name("renamed" + Path(path).name))
    with stopping_after(station, "status"):
        told = millwatch("audit", "--mend", "--config", station.config)
    assert told.status == 1
    assert "the audit is not complete: no daemon runs on" in told.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["review", "list", "--camera"],
        ["review", "list", "--class"],
        ["review", "list", "--reason"],
        ["users", "remove"],
    ],
    ids=" ".join,
)
def test_an_argument_that_is_not_in_utf_8_is_refused_as_such(
    millwatch: Millwatch, station: Station, arguments: list[str]
) -> None:
    told = millwatch(*arguments, "top\udcff", "--config", station.config)
    assert told.status == 2
    assert "is not in UTF-8" in told.err


def test_a_user_who_has_no_name_is_recorded_by_number() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    code = (
        "import os; from daemon.cli.standing_in import user_name; "
        "os.setuid(54321); print(user_name())"
    )
    nameless = {
        name: value
        for name, value in os.environ.items()
        if name not in ("LOGNAME", "USER", "LNAME", "USERNAME")
    }
    told = subprocess.run(
        [sys.executable, "-c", code], env=nameless, capture_output=True, text=True, check=True
    )
    assert told.stdout == "uid 54321\n"


@pytest.mark.parametrize(
    "command",
    [
        ["review", "list"],
        ["review", "conflicts"],
        ["review", "label", "1", "patches"],
        ["retrain"],
        ["drift", "accept", "top-1"],
        ["users", "remove", "anna"],
        ["models", "rollback"],
    ],
    ids=" ".join,
)
def test_of_a_line_that_never_ran_nothing_is_told_and_nothing_is_made(
    millwatch: Millwatch, tmp_path: Path, command: list[str]
) -> None:
    """As where a command was given without its --config, or with a slip in state_dir."""
    station = Station(root=tmp_path, model=tmp_path)
    done = millwatch(*command, "--config", station.config)
    assert done.status == 1
    assert f"there is no database at {station.database} yet; start `millwatch run`" in done.err
    assert done.out == ""
    assert not station.state_dir.exists()


def test_a_daemon_that_is_starting_is_waited_for(millwatch: Millwatch, station: Station) -> None:
    command = [sys.executable, "-m", "daemon.cli", "users", "add", "anna", "--role", "label"]
    with ExitStack() as starting:
        starting.enter_context(instance_lock(station.state_dir))  # before it answers
        with subprocess.Popen(
            [*command, "--config", str(station.config)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        ) as adding:
            assert adding.stdin is not None
            assert adding.stderr is not None
            adding.stdin.write("three words together\n")
            adding.stdin.close()
            assert adding.stderr.readline().startswith("Waiting for the Millwatch on")
            starting.close()
    assert adding.returncode == 0
    assert "anna" in millwatch("users", "list", "--config", station.config).out
