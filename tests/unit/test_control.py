import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from answering import answering
from filesystems import filesystem, read_only

from daemon.process.control import (
    SOCKET,
    Answer,
    Arguments,
    ControlServer,
    NoAnswerError,
    NoDaemonError,
    NotAskedError,
    RefusedError,
    ask,
)
from daemon.store.database import StoreError


def fine(_: Arguments) -> Answer:
    return {"state": "running"}


def broken(_: Arguments) -> Answer:
    raise StoreError("the database is away")


def hang_up(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    connection.recv(100)
    connection.close()


@contextmanager
def serving(state_dir: Path, **handlers: Any) -> Iterator[ControlServer]:
    with answering(state_dir, {"status": fine, **handlers}) as server:
        yield server


@contextmanager
def connected(state_dir: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(state_dir / SOCKET))
        yield connection


def say(state_dir: Path, request: bytes) -> Any:
    with connected(state_dir) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return json.loads(connection.makefile("rb").readline())


def test_what_a_command_is_given_reaches_the_daemon(tmp_path: Path) -> None:
    with serving(tmp_path, echo=dict):
        assert ask(tmp_path, "echo", image_id=7, label="crazing") == {
            "image_id": 7,
            "label": "crazing",
        }


def test_what_the_daemon_refuses_is_told_with_its_reason(tmp_path: Path) -> None:
    def refuse(_: Arguments) -> Answer:
        raise RefusedError("there is no image 7")

    with serving(tmp_path, label=refuse), pytest.raises(RefusedError, match="no image 7"):
        ask(tmp_path, "label", image_id=7)


def test_a_command_reaches_the_daemon_and_its_answer_comes_back(tmp_path: Path) -> None:
    with serving(tmp_path):
        assert ask(tmp_path, "status") == {"state": "running"}


def test_a_state_folder_of_any_depth_has_room_for_the_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120) / ("y" * 120)
    deep.mkdir(parents=True)
    with serving(deep):
        assert ask(deep, "status") == {"state": "running"}


@pytest.mark.parametrize(
    "request_",
    [
        b"not json\n",
        b"\xff\xfe\n",
        b"",
        b"5\n",
        b"[]\n",
        b"{}\n",
        b'{"command": []}\n',
        b'{"command": "format"}\n',
        b"[" * 60_000 + b"\n",
        b"x" * 70_000,
    ],
    ids=lambda request: repr(request[:16]),
)
def test_what_is_no_request_is_answered_with_what_would_be_one(
    tmp_path: Path, request_: bytes
) -> None:
    with serving(tmp_path):
        answer = say(tmp_path, request_)
        assert list(answer) == ["error"]
        assert "['status']" in answer["error"]
        assert ask(tmp_path, "status") == {"state": "running"}


def test_a_question_that_fails_is_answered_so_and_the_daemon_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path, broken=broken):
        with pytest.raises(NoAnswerError, match=r"could not answer 'broken'.*the database is away"):
            ask(tmp_path, "broken")
        assert ask(tmp_path, "status") == {"state": "running"}


def test_a_large_answer_arrives_whole(tmp_path: Path) -> None:
    large = {"troubles": "x" * 300_000}
    with serving(tmp_path, large=lambda _: large):
        assert ask(tmp_path, "large") == large


@pytest.mark.fault(45)
def test_clients_that_connect_and_say_nothing_keep_nobody_waiting(tmp_path: Path) -> None:
    with serving(tmp_path), connected(tmp_path) as silent, connected(tmp_path) as slow:
        slow.sendall(b'{"comm')
        assert ask(tmp_path, "status") == {"state": "running"}
        # Both are still connected: it was not their time running out that let the question through.
        silent.sendall(b'{"command": "status"}\n')
        assert json.loads(silent.makefile().readline()) == {"state": "running"}
        slow.sendall(b'and": "status"}\n')
        assert json.loads(slow.makefile().readline()) == {"state": "running"}


def test_a_client_that_goes_away_in_the_middle_does_no_harm(tmp_path: Path) -> None:
    with serving(tmp_path):
        for _ in range(5):
            with connected(tmp_path) as connection:
                connection.sendall(b'{"command": "status"}\n')
        assert ask(tmp_path, "status") == {"state": "running"}


def test_the_socket_of_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / SOCKET))
    dead.close()
    with pytest.raises(NoDaemonError):
        ask(tmp_path, "status")
    with serving(tmp_path):
        assert ask(tmp_path, "status") == {"state": "running"}


def test_a_stopped_daemon_leaves_no_socket(tmp_path: Path) -> None:
    with serving(tmp_path):
        assert (tmp_path / SOCKET).is_socket()
    assert not (tmp_path / SOCKET).exists()


def test_a_daemon_stops_in_good_order_on_a_disk_that_became_read_only(tmp_path: Path) -> None:
    with filesystem(tmp_path / "state", size="1m"):
        with serving(tmp_path / "state") as server, read_only(tmp_path / "state"):
            server.stop()
        with pytest.raises(NoDaemonError):
            ask(tmp_path / "state", "status")


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_without_a_daemon_there_is_none(tmp_path: Path, folder: str) -> None:
    with pytest.raises(NoDaemonError, match="no daemon runs on"):
        ask(tmp_path / folder, "status")


def test_a_socket_that_answers_nonsense_is_not_taken_for_a_stopped_daemon(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.stop()
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.bind(str(tmp_path / SOCKET))
            stranger.listen()
            thread = threading.Thread(target=hang_up, args=(stranger,))
            thread.start()
            with pytest.raises(NoAnswerError, match="gave no answer to 'status': it has ended"):
                ask(tmp_path, "status")
            thread.join(timeout=10)


def test_who_cannot_ask_is_told_from_who_got_no_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.bind(str(tmp_path / SOCKET))
        with pytest.raises(NotAskedError, match=r"could not be asked: .*may write to that folder"):
            ask(tmp_path, "status")


def test_nothing_but_the_group_may_ask(tmp_path: Path) -> None:
    with serving(tmp_path):
        assert (tmp_path / SOCKET).stat().st_mode & 0o777 == 0o660
