from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config.settings import Retraining
from daemon.retraining.schedule import Schedule


@pytest.mark.parametrize(
    ("line", "zone", "after", "due"),
    [
        ("0 3 * * *", "UTC", "2026-11-24T03:00:00", "2026-11-25T03:00:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-11-24T00:00:00", "2026-11-24T02:00:00"),
        ("*/15 * * * *", "UTC", "2026-11-24T03:07:00", "2026-11-24T03:15:00"),
        # 2026-11-24 is a Tuesday. Cron's 0 and 7 are Sunday.
        ("0 3 * * 0", "UTC", "2026-11-24T00:00:00", "2026-11-29T03:00:00"),
        ("0 3 * * 7", "UTC", "2026-11-24T00:00:00", "2026-11-29T03:00:00"),
        ("0 3 * * 1-5", "UTC", "2026-11-28T00:00:00", "2026-11-30T03:00:00"),
        ("0 3 * * */3", "UTC", "2026-11-24T00:00:00", "2026-11-25T03:00:00"),
        # Of a day of the month and a weekday, cron takes either.
        ("0 3 27 * 0", "UTC", "2026-11-24T00:00:00", "2026-11-27T03:00:00"),
        # But not where one of them has a star: of the odd days, the next Monday.
        ("0 3 */2 * 1", "UTC", "2026-11-24T00:00:00", "2026-12-07T03:00:00"),
        # 02:30 on 2026-10-25 comes twice in Berlin, and is kept once; every hour is every hour.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00", "2026-10-25T00:30:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
        ("0 * * * *", "Europe/Berlin", "2026-10-25T00:00:00", "2026-10-25T01:00:00"),
    ],
)
def test_what_is_due_is_what_cron_says(line: str, zone: str, after: str, due: str) -> None:
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = Schedule(line, zone).after(moment)
    assert found is not None
    assert found.astimezone(UTC) == datetime.fromisoformat(due).replace(tzinfo=UTC)


@pytest.mark.parametrize("weekday", ["*", "*/2", "1"])
@pytest.mark.parametrize("months", ["2", "2-3", "4,6,9,11", "1"])
def test_a_schedule_is_refused_where_none_of_its_days_ever_comes_and_only_there(
    weekday: str, months: str
) -> None:
    for days in ("29", "30", "31", "31,28"):
        line = f"0 3 {days} {months} {weekday}"
        comes = Schedule(line, "UTC").after(datetime(2026, 1, 1, tzinfo=UTC)) is not None
        with nullcontext() if comes else pytest.raises(ValidationError, match="never comes"):
            Retraining(schedule=line)


_PARTS: Final = st.from_regex(r"(\*|[0-9]{1,2}(-[0-9]{1,2})?)(/[0-9]{1,2})?", fullmatch=True)


@given(st.integers(0, 4), _PARTS)
def test_what_the_configuration_takes_for_a_schedule_is_one(field: int, part: str) -> None:
    fields = ["0", "3", "*", "*", "*"]
    fields[field] = part
    line = " ".join(fields)
    with suppress(ValidationError):
        Schedule(Retraining(schedule=line).schedule, "UTC")
