import threading
from collections.abc import Iterator

import pytest
from builders import wait_until

from daemon.process.lanes import Helpers, Lanes


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    lanes = Lanes()
    yield lanes
    lanes.close(seconds=10)


@pytest.mark.fault(28)
def test_a_camera_that_hangs_is_overdue_and_the_others_are_served(lanes: Lanes) -> None:
    go_on = threading.Event()
    late: list[str] = []

    def hang() -> str:
        go_on.wait(60)
        return "late"

    work = {"top": hang, "bottom": lambda: "in time"}
    assert lanes.run(work, seconds=0.1, late=late.append) == {"bottom": "in time"}
    assert lanes.overdue() == {"top"}
    assert lanes.run(work, seconds=0.1, late=late.append) == {"bottom": "in time"}
    go_on.set()
    wait_until(lambda: lanes.overdue() == set())
    assert late == ["late"]


@pytest.mark.fault(28)
def test_what_is_done_afterwards_waits_for_what_hangs(lanes: Lanes) -> None:
    go_on = threading.Event()
    order: list[str] = []

    def hang() -> None:
        go_on.wait(60)
        order.append("hung")

    lanes.run({"top": hang}, seconds=0.0, late=lambda _: None)
    lanes.afterwards("top", lambda: order.append("closed"))
    assert order == []
    go_on.set()
    wait_until(lambda: order == ["hung", "closed"])


def test_an_error_comes_out_where_it_is_waited_for(lanes: Lanes) -> None:
    def fail() -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        lanes.run({"top": fail}, seconds=10, late=lambda _: None)
    assert lanes.run({"top": lambda: 1}, seconds=10, late=lambda _: None) == {"top": 1}


def test_closed_lanes_leave_no_thread() -> None:
    before = threading.active_count()
    lanes = Lanes()
    lanes.run({str(n): lambda: None for n in range(5)}, seconds=10, late=lambda _: None)
    lanes.close(seconds=10)
    assert threading.active_count() == before


def test_helpers_take_work_only_while_they_have_none() -> None:
    helpers = Helpers(2)
    go_on = threading.Event()

    def wait() -> bool:
        return go_on.wait(60)

    taken = [helpers.take(wait) for _ in range(3)]
    assert [each is not None for each in taken] == [True, True, False]
    go_on.set()
    assert all(each.result() for each in taken if each)
    again = wait_until(lambda: helpers.take(lambda: "done"), what="a helper is free again")
    assert again.result() == "done"
    helpers.close(seconds=10)
