import pytest

from daemon.intake.completeness import StillnessTracker
from daemon.values import Signature

FIRST = Signature(inode=1, size=10, mtime_ns=100)
GROWN = Signature(inode=1, size=20, mtime_ns=200)


@pytest.mark.fault(4, 5)
def test_a_file_that_holds_still_for_the_quiet_time_is_complete() -> None:
    tracker = StillnessTracker(now=0.0)
    assert not tracker.is_complete(FIRST, now=5.0, quiet_seconds=2.0)
    assert not tracker.is_complete(FIRST, now=6.9, quiet_seconds=2.0)
    assert tracker.is_complete(FIRST, now=7.0, quiet_seconds=2.0)


@pytest.mark.fault(5)
def test_every_change_begins_the_quiet_time_anew() -> None:
    tracker = StillnessTracker(now=0.0)
    tracker.is_complete(FIRST, now=0.0, quiet_seconds=2.0)
    assert not tracker.is_complete(GROWN, now=3.0, quiet_seconds=2.0)
    assert tracker.is_complete(GROWN, now=5.0, quiet_seconds=2.0)


@pytest.mark.fault(7)
def test_a_closed_file_need_not_hold_still() -> None:
    tracker = StillnessTracker(now=0.0)
    tracker.closed()
    assert tracker.is_complete(FIRST, now=0.0, quiet_seconds=2.0)


def test_that_it_was_closed_holds_for_one_look() -> None:
    tracker = StillnessTracker(now=0.0)
    tracker.closed()
    tracker.is_complete(FIRST, now=0.0, quiet_seconds=2.0)
    tracker.taken()
    assert not tracker.is_complete(GROWN, now=1.0, quiet_seconds=2.0)


@pytest.mark.fault(5)
def test_what_failed_is_not_judged_again_until_it_changes_or_is_closed() -> None:
    tracker = StillnessTracker(now=0.0)
    tracker.failed(FIRST, now=0.0)
    assert not tracker.is_complete(FIRST, now=100.0, quiet_seconds=2.0)
    tracker.closed()
    assert tracker.is_complete(FIRST, now=100.0, quiet_seconds=2.0)


@pytest.mark.fault(11, 12)
def test_what_failed_and_stays_the_same_is_given_up_in_time_however_often_it_is_closed() -> None:
    tracker = StillnessTracker(now=0.0)
    for second in range(60):
        tracker.closed()
        tracker.failed(FIRST, now=float(second))
        assert not tracker.is_hopeless(FIRST, now=float(second), give_up_seconds=60.0)
    assert tracker.is_hopeless(FIRST, now=60.0, give_up_seconds=60.0)


@pytest.mark.fault(5)
def test_what_failed_and_grows_is_not_given_up() -> None:
    tracker = StillnessTracker(now=0.0)
    tracker.failed(FIRST, now=0.0)
    assert not tracker.is_hopeless(GROWN, now=100.0, give_up_seconds=60.0)
    tracker.failed(GROWN, now=100.0)
    assert not tracker.is_hopeless(GROWN, now=159.0, give_up_seconds=60.0)
    assert tracker.is_hopeless(GROWN, now=160.0, give_up_seconds=60.0)
