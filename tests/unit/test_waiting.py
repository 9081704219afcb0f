"""The waiting room on real files, with the time passed in."""

import itertools
import os
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.settings import Intake
from daemon.intake.waiting import Arrival, Candidate, WaitingRoom
from daemon.values import Signature

INTAKE = Intake(quiet_seconds=2.0, give_up_seconds=60.0)


@pytest.fixture
def room(tmp_path: Path) -> WaitingRoom:
    folders = {name: tmp_path / name for name in ("top", "bottom")}
    for folder in folders.values():
        folder.mkdir()
    return WaitingRoom(folders, INTAKE)


def take(room: WaitingRoom, limit: int = 32, *, now: float = 0.0) -> list[Arrival]:
    arrivals = (room.look(each, now=now) for each in room.due(limit, now=now))
    return [arrival for arrival in arrivals if arrival]


@contextmanager
def holding_no_more() -> Iterator[None]:
    """What is done meanwhile leaves no more in memory than a few entries take."""
    tracemalloc.start()
    try:
        yield
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20_000


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"x")


def test_a_storm_of_events_for_one_file_makes_one_arrival_and_no_queue(
    room: WaitingRoom, tmp_path: Path
) -> None:
    put(tmp_path / "top", "a.jpg")
    with holding_no_more():
        for number in range(10_000):
            assert room.offer("top", "a.jpg", closed=bool(number % 2), now=0.0)
    assert len(take(room)) == 1
    assert take(room) == []


def test_a_file_that_a_scan_saw_is_due_when_it_has_held_still_since_however_many_stand_before_it(
    room: WaitingRoom, tmp_path: Path
) -> None:
    names = [f"{number}.jpg" for number in range(3)]
    put(tmp_path / "top", *names)
    for at, name in enumerate(names):
        look = Signature.of((tmp_path / "top" / name).stat())
        assert room.offer("top", name, closed=False, now=float(at), look=look)
    assert take(room, now=1.9) == []
    assert [each.delivery.filename for each in take(room, now=10.0)] == names, "one look is enough"


def test_a_file_that_changed_since_a_scan_saw_it_holds_still_anew(
    room: WaitingRoom, tmp_path: Path
) -> None:
    put(tmp_path / "top", "a.jpg")
    look = Signature.of((tmp_path / "top" / "a.jpg").stat())
    room.offer("top", "a.jpg", closed=False, now=0.0, look=look)
    (tmp_path / "top" / "a.jpg").write_bytes(b"more")
    assert take(room, now=5.0) == []
    assert take(room, now=6.9) == []
    assert len(take(room, now=7.0)) == 1


def test_a_storm_of_events_while_a_file_is_busy_makes_no_queue_and_one_more_look(
    room: WaitingRoom, tmp_path: Path
) -> None:
    put(tmp_path / "top", "a.jpg")
    room.offer("top", "a.jpg", closed=True, now=0.0)
    (arrival,) = take(room)
    with holding_no_more():
        for _ in range(10_000):
            room.offer("top", "a.jpg", closed=True, now=0.0)
    assert take(room) == [], "it is being judged"
    room.done([arrival.delivery], now=0.0)
    assert len(take(room)) == 1


def test_a_file_closed_again_while_it_did_not_decode_is_tried_again_at_once(
    room: WaitingRoom, tmp_path: Path
) -> None:
    put(tmp_path / "top", "a.jpg")
    room.offer("top", "a.jpg", closed=True, now=0.0)
    (arrival,) = take(room)
    room.offer("top", "a.jpg", closed=True, now=0.0)
    room.undecodable(arrival.delivery, now=0.0)
    (again,) = take(room)
    room.undecodable(again.delivery, now=0.0)
    assert take(room, now=30.0) == []
    (last,) = take(room, now=61.0)
    assert last.last_chance


def test_a_scan_that_names_a_busy_file_changes_nothing(room: WaitingRoom, tmp_path: Path) -> None:
    put(tmp_path / "top", "a.jpg")
    room.offer("top", "a.jpg", closed=True, now=0.0)
    (arrival,) = take(room)
    room.offer("top", "a.jpg", closed=False, now=0.0)
    room.done([arrival.delivery], now=0.0)
    assert room.backlog() == {"top": 0, "bottom": 0}


def test_what_is_handed_back_is_still_known_to_be_quiet(room: WaitingRoom, tmp_path: Path) -> None:
    put(tmp_path / "top", "a.jpg")
    room.offer("top", "a.jpg", closed=False, now=0.0)
    assert take(room, now=0.0) == []
    (arrival,) = take(room, now=2.0)
    room.again([arrival.delivery], now=2.0, after_seconds=5.0)
    assert take(room, now=6.9) == []
    assert len(take(room, now=7.0)) == 1


def test_done_after_handed_back_keeps_it_waiting(room: WaitingRoom, tmp_path: Path) -> None:
    put(tmp_path / "top", "a.jpg")
    room.offer("top", "a.jpg", closed=True, now=0.0)
    (arrival,) = take(room)
    room.again([arrival.delivery], now=0.0, after_seconds=0.0)
    room.done([arrival.delivery], now=0.0)
    assert room.backlog()["top"] == 1


def test_each_camera_has_its_turn_whatever_the_backlog_of_another(
    room: WaitingRoom, tmp_path: Path
) -> None:
    for number in range(100):
        room.offer("top", f"{number}.jpg", closed=True, now=0.0)
    put(tmp_path / "bottom", "a.jpg", "b.jpg")
    for name in ("a.jpg", "b.jpg"):
        room.offer("bottom", name, closed=True, now=0.0)
    cameras = [candidate.camera for candidate in room.due(8, now=0.0)]
    assert cameras.count("bottom") == 2


@pytest.mark.fault(30)
def test_with_places_for_few_none_is_lost_and_the_stuck_keep_none_out(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "top"
    folder.mkdir()
    room = WaitingRoom({"top": folder}, INTAKE, places=10)
    stuck = [f"stuck-{number:02}.jpg" for number in range(25)]
    sound = [f"sound-{number:02}.jpg" for number in range(25)]
    put(folder, *stuck, *sound)
    judged: set[str] = set()
    names = itertools.cycle([*stuck, *sound])  # rescan after rescan
    name = next(names)
    for second in range(60):
        for _ in range(50):
            if name not in judged and not room.offer("top", name, closed=True, now=float(second)):
                break  # the scan goes on from here once there is a place
            name = next(names)
        assert room.backlog()["top"] <= 10
        for arrival in take(room, now=float(second)):
            if arrival.delivery.filename in stuck:  # cannot be read
                room.again([arrival.delivery], now=float(second), after_seconds=2.0)
            else:
                judged.add(arrival.delivery.filename)
                room.done([arrival.delivery], now=float(second))
    assert judged == set(sound)


def test_while_it_rests_nothing_is_given_out(room: WaitingRoom, tmp_path: Path) -> None:
    put(tmp_path / "top", "a.jpg")
    room.offer("top", "a.jpg", closed=True, now=0.0)
    room.rest(2.0, now=0.0)
    assert take(room, now=1.9) == []
    assert len(take(room, now=2.0)) == 1


def test_a_pipe_that_is_named_as_an_image_is_let_go(room: WaitingRoom, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "top" / "a.jpg")
    room.offer("top", "a.jpg", closed=True, now=0.0)
    (candidate,) = room.due(1, now=0.0)
    assert candidate == Candidate(camera="top", filename="a.jpg")
    assert room.look(candidate, now=0.0) is None, "a pipe is no image"
    assert room.backlog()["top"] == 0


@pytest.fixture
def waiter(room: WaitingRoom) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=lambda: room.wait(60.0, now=0.0))
    thread.start()
    yield thread
    room.wake()
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_named_file_ends_the_wait(room: WaitingRoom, waiter: threading.Thread) -> None:
    room.offer("bottom", "a.jpg", closed=False, now=0.0)
    waiter.join(timeout=10)
    assert not waiter.is_alive()


@pytest.mark.timeout(20)
def test_being_woken_while_nobody_waits_ends_the_next_wait_and_no_other(room: WaitingRoom) -> None:
    room.wake()
    room.wait(60.0, now=0.0)
    threading.Timer(0.05, room.wake).start()
    room.wait(60.0, now=0.0)
    began = time.monotonic()
    room.wait(0.1, now=0.0)  # would end at once if a wake still counted
    assert time.monotonic() - began >= 0.1
