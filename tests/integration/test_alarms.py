"""Alarms that arrive: once when something begins, once when it is over, whatever happens meanwhile."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from alarmed import Line
from builders import wait_until
from receivers import WebServer, listening
from records import another_process, open_store, rows
from structlog.testing import capture_logs

from daemon.clock import moment
from daemon.process.health import Health

TOLD = "SELECT state, tries FROM alarm_message ORDER BY id"
STATES = "SELECT state, count(*) FROM alarm_message GROUP BY state"


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    database = open_store(tmp_path, busy_seconds=0.05)
    yield Line(folder=tmp_path, database=database)
    database.close()


def test_a_message_that_is_refused_first_is_tried_again_and_arrives(
    line: Line, web: WebServer
) -> None:
    web.answers = [(500, {}), (503, {})]
    line.configure(f"{web.url}/hook")
    line.after(0)
    assert web.posts == []
    line.health.trouble("camera top-1", "the drop folder cannot be read")
    line.after(5)
    assert "could not be sent to" in line.own
    assert "the server answered 500" in line.own
    line.after(9)
    assert len(web.posts) == 1, "not before ten seconds"
    line.after(1)
    assert "answered 503" in line.own
    line.after(19)
    assert len(web.posts) == 2, "not before twenty"
    line.after(1)
    assert line.own == ""
    assert len(web.posts) == 3
    assert len({post["id"] for post in web.posts}) == 1, "the receiver can tell"
    last = web.posts[-1]
    assert last["began"] == ["the drop folder cannot be read"]
    assert (last["alarm"], last["ended"], last["test"]) == ("office", [], False)
    assert "the drop folder cannot be read." in last["text"]
    assert rows(line.database, TOLD) == [("delivered", 2)]
    line.after(3600)
    assert len(web.posts) == 3


def test_after_a_night_without_its_receiver_an_alarm_arrives_within_five_minutes(
    line: Line, web: WebServer
) -> None:
    line.configure(web.url)
    line.health.trouble("space", "the disk is almost full")
    web.answers = [(503, {})] * 1000
    for _ in range(8 * 60):
        line.after(60)
    assert "answered 503" in line.own
    web.answers.clear()
    for _ in range(5):
        line.after(60)
    assert rows(line.database, "SELECT state FROM alarm_message") == [("delivered",)]


def test_one_message_tells_that_it_began_and_one_that_it_is_over(
    line: Line, web: WebServer
) -> None:
    line.configure(web.url, min_interval_minutes=0)
    line.after(0)
    for number in range(200):
        line.health.trouble("space", f"{number} MB free")
        line.after(5)
    line.health.trouble("database", "it is locked")
    line.after(5)
    line.health.mended("space")
    line.after(5)
    said = [(post["began"], post["ended"], post["still"]) for post in web.posts]
    assert said == [
        (["0 MB free"], [], []),
        (["it is locked"], [], ["199 MB free"]),
        ([], ["199 MB free"], ["it is locked"]),
    ]


def test_what_comes_and_goes_all_the_time_makes_no_storm(line: Line, web: WebServer) -> None:
    line.configure(web.url, min_interval_minutes=10)
    line.after(0)
    line.after(120)
    for _ in range(180):  # half an hour, a change every five seconds
        line.health.trouble("flapping", "on")
        line.after(5)
        line.health.mended("flapping")
        line.after(5)
    assert 1 <= len(web.posts) <= 4
    line.after(600)
    assert web.posts[-1]["ended"] == ["on"], "the last word is how it is"


def test_what_began_and_was_over_between_two_messages_is_told_with_the_next(
    line: Line, web: WebServer
) -> None:
    line.configure(web.url, min_interval_minutes=10)
    line.after(0)
    line.health.trouble("space", "12 MB free")
    line.after(5)
    line.health.trouble("camera top-1", "the share was away")
    line.after(60)
    line.health.mended("camera top-1")
    line.after(60)
    assert len(web.posts) == 1
    line.after(600)
    line.after(600)
    (_, post) = web.posts
    assert (post["began"], post["ended"]) == (["the share was away"], ["the share was away"])
    assert post["still"] == ["12 MB free"]
    assert post["subject"] == "[office] over: the share was away"
    assert "Over: the share was away." in post["text"]


def test_that_one_address_of_a_host_is_well_does_not_hide_that_another_is_not(
    line: Line, web: WebServer
) -> None:
    web.answers = [(404, {})]
    line.configure(f"{web.url}/revoked", f"{web.url}/good")
    line.health.trouble("space", "12 MB free")
    line.after(0)
    assert web.paths == ["/revoked", "/good"]
    assert "the server answered 404" in line.own
    line.after(10)
    assert (line.own, web.paths[2:]) == ("", ["/revoked"])


def test_many_cameras_at_once_are_one_message(line: Line, web: WebServer) -> None:
    line.configure(web.url, when="silent")
    line.after(0)
    for number in range(20):
        line.health.trouble(f"silent cam-{number}", f"camera cam-{number} has delivered no image")
    line.health.trouble("space", "of no concern to this alarm")
    line.after(5)
    (post,) = web.posts
    assert len(post["began"]) == 20


def test_a_restart_neither_repeats_what_was_told_nor_calls_it_over_too_soon(
    line: Line, web: WebServer
) -> None:
    line.configure(web.url, min_interval_minutes=0)
    line.health.trouble("brightness of top-1", "darker")
    line.after(0)
    assert len(web.posts) == 1
    line.health = Health()
    line.configure(web.url, min_interval_minutes=0)
    line.after(5)
    line.after(60)
    assert len(web.posts) == 1, "it may only not have been looked for yet"
    line.health.trouble("brightness of top-1", "darker still")
    line.after(60)
    assert len(web.posts) == 1
    line.health.mended("brightness of top-1")
    line.after(5)
    assert [post["ended"] for post in web.posts] == [[], ["darker"]]


KILLED = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[1])
from alarmed import Line
from records import open_store
folder = pathlib.Path(sys.argv[2])
line = Line(folder=folder, database=open_store(folder))
line.configure(sys.argv[3])
line.health.trouble("space", "the disk is almost full")
line.after(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.fault(67)
def test_a_message_that_a_kill_interrupts_is_sent_by_the_next_start(tmp_path: Path) -> None:
    web = WebServer()
    web.server_close()  # its port is free, and nothing listens
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parents[1]), str(tmp_path), web.url]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == -signal.SIGKILL
    database = open_store(tmp_path)
    assert rows(database, TOLD) == [("waiting", 1)]
    later = WebServer(web.server_port)
    with listening(later):
        line = Line(folder=tmp_path, database=database)
        line.configure(web.url)
        line.after(1)  # at once, however long the pause was
        (post,) = later.posts
        assert post["began"] == ["the disk is almost full"]
    assert rows(database, TOLD) == [("delivered", 1)]
    database.close()


@pytest.mark.fault(67)
def test_a_message_that_fails_for_a_day_is_given_up_and_that_is_said(line: Line) -> None:
    web = WebServer()
    web.server_close()
    line.configure(web.url)
    line.health.trouble("space", "the disk is almost full")
    for _ in range(23 * 12):
        line.after(300)
    assert "connection refused" in line.own
    assert rows(line.database, STATES) == [("waiting", 1)]
    for _ in range(2 * 12):
        line.after(300)
    assert "for a day, and was given up: nothing listens there" in line.own
    given_up = rows(line.database, TOLD)
    assert [state for state, _ in given_up] == ["given_up"]
    line.after(3600)
    assert rows(line.database, TOLD) == given_up


@pytest.mark.fault(67)
@pytest.mark.parametrize("days", [400, -400], ids=["ahead", "back"])
def test_a_clock_that_jumps_gives_up_nothing_that_was_tried_for_hours_only(
    line: Line, days: int
) -> None:
    web = WebServer()
    web.server_close()
    line.configure(web.url)
    line.health.trouble("space", "the disk is almost full")
    for _ in range(12):
        line.after(300)
    line.now += timedelta(days=days)
    line.health.trouble("camera top-1", "the share is away")
    for _ in range(10 * 12):
        line.after(300)
    assert rows(line.database, STATES) == [("waiting", 2)]
    for _ in range(2 * 12):
        line.after(300)
    assert rows(line.database, STATES) == [("given_up", 1), ("waiting", 1)], "the second is younger"
    for _ in range(24 * 12):
        line.after(300)
    assert rows(line.database, STATES) == [("given_up", 2)]


def test_after_days_without_its_receiver_nothing_older_than_a_day_waits_for_it(line: Line) -> None:
    web = WebServer()
    web.server_close()
    line.configure(web.url, min_interval_minutes=0)
    for number in range(3 * 24 * 6):
        line.health.trouble(f"trouble {number % 2}", "it comes")
        line.health.mended(f"trouble {1 - number % 2}")
        line.after(600)
    oldest = "SELECT min(created_at), count(*) FROM alarm_message WHERE state = 'waiting'"
    ((created_at, count),) = rows(line.database, oldest)
    assert line.now - moment(str(created_at)) < timedelta(hours=26)
    assert 100 < count < 200


def test_an_address_that_was_taken_out_of_the_configuration_is_not_called(
    line: Line, web: WebServer
) -> None:
    web.answers = [(500, {})]
    line.configure(f"{web.url}/old")
    line.health.trouble("space", "the disk is almost full")
    line.after(0)
    line.configure(f"{web.url}/new")
    line.after(60)
    assert web.paths == ["/old"]
    assert rows(line.database, "SELECT state, error FROM alarm_message") == [
        ("given_up", "its address is no longer in the configuration")
    ]


def test_no_address_but_the_configured_one_is_called_whoever_redirects(
    line: Line, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = WebServer()
    monkeypatch.setenv("http_proxy", elsewhere.url)
    monkeypatch.setenv("all_proxy", elsewhere.url)
    with listening(elsewhere):
        web.answers = [(302, {"Location": f"{elsewhere.url}/stolen"})]
        line.configure(web.url)
        line.health.trouble("space", "the disk is almost full")
        line.after(0)
        assert "the server answered 302" in line.own
        line.after(10)
        assert len(web.posts) == 2
        assert elsewhere.posts == []


@pytest.mark.fault(67)
def test_that_the_database_cannot_be_written_to_is_told_all_the_same_and_once(
    line: Line, web: WebServer
) -> None:
    line.configure(web.url)
    line.after(0)
    with another_process(line.database.path, "BEGIN IMMEDIATE"):
        line.health.trouble("database", "it could not be written to")
        for _ in range(5):
            line.after(5)
        (post,) = web.posts
        assert post["began"] == ["it could not be written to"]
    line.health.mended("database")
    line.after(600)
    assert [post["ended"] for post in web.posts] == [[], ["it could not be written to"]]


def test_troubles_are_told_though_the_database_cannot_even_be_read(
    line: Line, web: WebServer
) -> None:
    line.database.engine.dispose()
    exclusive = ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "SELECT * FROM image")
    with another_process(line.database.path, *exclusive):
        line.configure(web.url)
        line.health.trouble("database", "it could not be read")
        line.after(0)
        line.after(5)
        (post,) = web.posts
        assert post["began"] == ["it could not be read"]


@pytest.mark.fault(67)
def test_what_was_sent_is_not_sent_again_because_that_cannot_be_recorded(
    line: Line, web: WebServer
) -> None:
    line.configure(web.url)
    web.hold.clear()
    line.health.trouble("space", "the disk is almost full")
    locked = sqlite3.connect(line.database.path, isolation_level=None, check_same_thread=False)

    def lock_while_it_is_sent() -> None:
        wait_until(lambda: web.posts)
        locked.execute("BEGIN IMMEDIATE")
        web.hold.set()

    thread = Thread(target=lock_while_it_is_sent)
    thread.start()
    line.after(0)
    thread.join()
    line.after(5)
    line.after(5)
    assert rows(line.database, TOLD) == [("waiting", 0)]
    locked.execute("ROLLBACK")
    locked.close()
    line.after(5)
    assert rows(line.database, TOLD) == [("delivered", 0)]
    assert len(web.posts) == 1


def test_neither_token_nor_the_secret_part_of_an_address_is_told_anywhere(
    line: Line, web: WebServer
) -> None:
    token = line.folder / "token"
    token.write_text("s3cret-token\n")
    web.answers = [(403, {})]
    line.more = f'[webhook]\ntoken_file = "{token}"\n'
    line.configure(f"{web.url}/services/T0P/S3CRET?key=k3y")
    with capture_logs() as logs:
        line.health.trouble("space", "the disk is almost full")
        line.after(0)
        line.after(10)
    assert web.paths == ["/services/T0P/S3CRET?key=k3y"] * 2
    assert web.tokens == ["Bearer s3cret-token"] * 2
    with closing(sqlite3.connect(line.database.path)) as connection:
        dump = "\n".join(connection.iterdump())
    told = f"{logs} {line.health.troubles()} {dump}"
    assert "403" in told
    for secret in ("S3CRET", "k3y", "s3cret-token"):
        assert secret not in told
