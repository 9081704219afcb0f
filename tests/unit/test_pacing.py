import time

from daemon.review.pacing import unhurried


def test_every_item_comes_once_and_in_order() -> None:
    assert list(unhurried(range(1000))) == list(range(1000))
    assert list(unhurried([])) == []


def test_long_work_lets_others_at_the_processor_most_of_the_time() -> None:
    until = time.thread_time() + 0.2
    start = time.monotonic()
    for _ in unhurried(iter(lambda: time.thread_time() < until, False)):
        pass
    assert time.monotonic() - start > 3 * 0.2
