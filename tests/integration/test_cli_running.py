import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer
from answering import answering
from builders import Station, clean_environment, run_cli, stop_process
from commands import Millwatch
from rich.text import Text

from daemon.cli.main import app
from daemon.process.control import SOCKET

COMMANDS = [
    ["run"],
    ["check"],
    ["status"],
    ["demo"],
    ["predict"],
    ["explain"],
    ["prepare"],
    ["train"],
    ["evaluate"],
    ["report"],
    ["report", "rates"],
]


def test_a_line_runs_and_is_asked_and_a_second_one_on_its_folder_is_refused(
    millwatch: Millwatch, station: Station
) -> None:
    with station.process() as daemon:
        station.drop_surfaces(3)
        station.wait_for_images(3)
        answer = json.loads(millwatch("status", "--config", station.config, "--json").out)
        assert answer["state"] == "running"
        assert sum(answer["recorded"].values()) == 3
        assert answer["pending_moves"] == 0
        assert [camera["name"] for camera in answer["cameras"]] == ["top-1", "bottom-1"]

        shown = millwatch("status", "--config", station.config)
        assert shown.status == 0
        assert "Millwatch is running" in shown.out
        assert "model version: tiny-6-0" in shown.out
        assert str(station.folder("bottom-1")) in shown.out

        second = run_cli("run", "--config", station.config)
        assert second.returncode == 1
        assert f"another Millwatch is running on {station.state_dir}" in second.stderr
        assert "Traceback" not in second.stderr
        assert daemon.poll() is None
        assert millwatch("status", "--config", station.config).status == 0

        rates = millwatch("report", "rates", "--config", station.config, "--format", "json")
        assert sum(line["inspected"] for line in json.loads(rates.out)) == 3
        assert stop_process(daemon) == 0
    stopped = json.loads(millwatch("status", "--config", station.config, "--json").out)
    assert stopped["state"] == "stopped"
    assert sum(stopped["in_database"].values()) == 3
    assert stopped["pending_moves"] == 0


def test_a_wrong_configuration_ends_run_so_that_nothing_restarts_it(station: Station) -> None:
    station.tables = {"intake": {"colour": "blue"}}
    station.write_config()
    done = run_cli("run", "--config", station.config)
    assert done.returncode == 78
    assert "intake.colour" in done.stderr
    assert not station.state_dir.exists()


def test_run_without_cameras_ends_as_a_matter_of_configuration(
    millwatch: Millwatch, station: Station
) -> None:
    station.cameras = ()
    station.write_config()
    done = millwatch("run", "--config", station.config)
    assert done.status == 78
    assert "no camera" in done.err
    assert not station.state_dir.exists()


def test_the_status_of_a_line_that_never_ran_is_stopped(
    millwatch: Millwatch, station: Station
) -> None:
    done = millwatch("status", "--config", station.config)
    assert done.status == 0
    assert "Millwatch is stopped" in done.out
    assert "images in the database: none" in done.out
    assert not station.state_dir.exists()


def test_a_database_that_cannot_be_read_is_said_and_not_taken_for_an_idle_line(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.mkdir()
    station.database.write_bytes(b"garbage" * 1000)
    for command in (["status"], ["report", "rates"]):
        done = millwatch(*command, "--config", station.config)
        assert done.status == 1
        assert str(station.database) in done.err
        assert "file is not a database" in done.err
        assert done.out == ""


def test_status_tells_how_far_a_retraining_is_when_the_next_is_due_and_what_came_of_the_last(
    millwatch: Millwatch, station: Station
) -> None:
    last = {"state": "done", "reason": "v2: needs_a_person: only [3] labels are held out"}
    retraining: dict[str, object] = {
        "running": None,
        "progress": None,
        "next_due": "2026-11-27T03:00:00Z",
        "new_labels": 12,
        "last_run": None,
    }
    answer = {"state": "running", "recorded": {}, "retraining": retraining, "troubles": {}}

    def shown() -> str:
        return millwatch("status", "--config", station.config).out

    station.state_dir.mkdir()
    with answering(station.state_dir, {"status": lambda _: answer}):
        words = shown()
        assert "retraining: 12 new labels, next due 2026-11-27T03:00:00Z\n" in words
        assert "the last retraining" not in words
        retraining.update(running="run-7", last_run=last)
        assert "retraining: run-7: begins\n" in shown()
        retraining["progress"] = {"stage": "fitting", "done": 3, "of": 20}
        words = shown()
    assert "retraining: run-7: fitting, 3 of 20\n" in words
    assert f"the last retraining: done: {last['reason']}\n" in words


def test_status_shows_paths_as_they_are_and_lets_none_drive_the_terminal(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.mkdir()
    answer = {
        "state": "running",
        "recorded": {"pass": 2, "defect": 1},
        "cameras": [{"name": "top-1", "folder": "/a[/b]", "watching": "yes", "waiting": 0}],
        "troubles": {"reading [top-1]": "/a[/red]/\x1b[2Jx.jpg cannot be read"},
    }
    with answering(station.state_dir, {"status": lambda _: answer}):
        done = millwatch("status", "--config", station.config)
    assert done.status == 0
    assert "recorded since the start: 1 defect, 2 pass" in done.out
    assert "/a[/b]" in done.out
    assert r"reading [top-1]: /a[/red]/\x1b[2Jx.jpg cannot be read" in done.out


def test_a_daemon_that_does_not_answer_is_not_called_stopped(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.mkdir()

    def broken(_: object) -> dict[str, object]:
        raise RuntimeError("out of order")

    with answering(station.state_dir, {"status": broken}):
        done = millwatch("status", "--config", station.config)
    assert done.status == 1
    assert "out of order" in done.err
    assert "stopped" not in done.out


def test_a_killed_daemon_is_stopped_though_its_socket_lies_there(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(station.state_dir / SOCKET))
    done = millwatch("status", "--config", station.config, "--json")
    assert done.status == 0
    assert json.loads(done.out)["state"] == "stopped"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(millwatch: Millwatch, command: list[str]) -> None:
    done = millwatch(*command, "--help")
    assert done.status == 0
    assert f"millwatch {' '.join(command)}" in done.out
    assert done.err == ""


def _helps(command: typer.core.TyperGroup | typer.core.TyperCommand) -> Iterator[str]:
    yield command.help or ""
    yield from (getattr(each, "help", None) or "" for each in command.params)
    for each in getattr(command, "commands", {}).values():
        yield from _helps(each)


def test_no_words_of_a_help_are_taken_for_markup(millwatch: Millwatch) -> None:
    helps = list(_helps(typer.main.get_command(app)))
    assert len(helps) > 100
    assert [each for each in helps if Text.from_markup(each).plain != each] == []
    told = millwatch("--help").out + millwatch("models", "show", "--help").out
    assert "told to whom (`alarms`)" in told
    assert "thresholds under `policy`" in told


def test_the_help_names_every_command(millwatch: Millwatch) -> None:
    done = millwatch("--help")
    assert done.status == 0
    for command in COMMANDS:
        assert f" {command[0]} " in done.out


@pytest.mark.parametrize(
    "command", [["nonsense"], ["predict"], ["report", "rates", "--colour", "x"]]
)
def test_wrong_usage_ends_with_2(millwatch: Millwatch, command: list[str]) -> None:
    done = millwatch(*command)
    assert done.status == 2
    assert "Usage: millwatch" in done.err
    assert done.out == ""


INTERRUPTED = """
import os, signal, sys

class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == "pydantic":
            os.kill(os.getpid(), signal.SIGINT)

# A job in the background inherits that it is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, CtrlC())
sys.argv = ["millwatch", "run"]
from daemon.cli.__main__ import main
main()
"""


def test_ctrl_c_while_a_command_is_loaded_ends_it_without_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
