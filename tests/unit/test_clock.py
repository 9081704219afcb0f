import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.clock import timestamp, timestamp_of_ns

SHAPE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
SECOND = 1_000_000_000


def test_a_moment_elsewhere_is_written_in_utc() -> None:
    summer = timezone(timedelta(hours=2))
    assert timestamp(datetime(2026, 7, 1, 1, 30, tzinfo=summer)) == "2026-06-30T23:30:00Z"


def test_an_early_year_keeps_its_four_digits() -> None:
    assert timestamp(datetime(900, 1, 1, tzinfo=UTC)) == "0900-01-01T00:00:00Z"


def test_a_file_time_is_cut_to_the_second() -> None:
    assert timestamp_of_ns(1_772_366_400 * SECOND + 999_999_999) == "2026-03-01T12:00:00Z"


@pytest.mark.fault(44)
def test_a_camera_without_a_clock_gets_the_nearest_time_that_can_be_written() -> None:
    assert timestamp_of_ns(-1) == "1970-01-01T00:00:00Z"
    assert timestamp_of_ns(-(2**63)) == "1970-01-01T00:00:00Z"
    assert timestamp_of_ns(2**63 - 1) == "2262-04-11T23:47:16Z"
    assert timestamp_of_ns(2**80) == "9999-12-31T23:59:59Z"


@given(st.integers(-(2**90), 2**90), st.integers(-(2**90), 2**90))
def test_times_of_files_have_one_shape_and_sort_as_text(one: int, other: int) -> None:
    first, second = sorted((one, other))
    assert SHAPE.fullmatch(timestamp_of_ns(first))
    assert timestamp_of_ns(first) <= timestamp_of_ns(second)
