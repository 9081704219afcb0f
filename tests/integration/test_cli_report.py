import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from builders import Station
from commands import Millwatch
from records import finding, nanoseconds, open_store, record, settle
from sqlalchemy import text

from daemon.store.schema import image


@pytest.fixture
def line(station: Station) -> Station:
    """A line that stands still, with five images of two days, one from a camera long gone."""
    station.state_dir.mkdir()
    store = open_store(station.state_dir)
    images = [
        ("2026-03-01T10:15:00", "top-1", "defect"),
        ("2026-03-01T10:45:00", "top-1", "pass"),
        ("2026-03-01T11:15:00", "top-1", "unsure"),
        ("2026-03-02T09:00:00", "bottom-1", "unreadable"),
        ("2026-03-02T09:00:00", "old", "pass"),
    ]
    record(
        store,
        *(
            finding(number, verdict, camera=camera, mtime_ns=nanoseconds(moment))
            for number, (moment, camera, verdict) in enumerate(images)
        ),
    )
    store.close()
    return station


def as_json(millwatch: Millwatch, line: Station, *options: str) -> list[dict[str, Any]]:
    command = ("report", "rates", "--config", line.config, "--format", "json")
    done = millwatch(*command, *options)
    assert done.status == 0, done.err
    found: list[dict[str, Any]] = json.loads(done.out)
    return found


def test_rates_for_a_program(millwatch: Millwatch, line: Station) -> None:
    assert as_json(millwatch, line) == [
        {
            "camera": "top-1",
            "period": "2026-03-01",
            "inspected": 3,
            "defects": 1,
            "unsure": 1,
            "unreadable": 0,
            "defect_rate": 1 / 3,
        },
        {
            "camera": "bottom-1",
            "period": "2026-03-02",
            "inspected": 0,
            "defects": 0,
            "unsure": 0,
            "unreadable": 1,
            "defect_rate": None,
        },
        {
            "camera": "old",
            "period": "2026-03-02",
            "inspected": 1,
            "defects": 0,
            "unsure": 0,
            "unreadable": 0,
            "defect_rate": 0.0,
        },
    ]


def test_rates_for_a_spreadsheet(millwatch: Millwatch, line: Station) -> None:
    done = millwatch("report", "rates", "--config", line.config, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [(row["period"], row["camera"], row["defect_rate"]) for row in rows] == [
        ("2026-03-01", "top-1", str(1 / 3)),
        ("2026-03-02", "bottom-1", ""),
        ("2026-03-02", "old", "0.0"),
    ]


def test_rates_for_a_person(millwatch: Millwatch, line: Station) -> None:
    done = millwatch("report", "rates", "--config", line.config, "--by", "camera")
    assert "all of the time, all cameras; times in UTC" in done.out
    shown = [row.split("│") for row in done.out.splitlines() if " all " in row and "│" in row]
    assert [[cell.strip() for cell in row[1:-1]] for row in shown] == [
        ["bottom-1", "all", "0", "0", "0", "1", "-"],
        ["old", "all", "1", "0", "0", "0", "0.00 %"],
        ["top-1", "all", "3", "1", "1", "0", "33.33 %"],
    ]


@pytest.mark.parametrize(
    ("options", "periods"),
    [
        (["--by", "hour"], ["01T10:00:00Z", "01T11:00:00Z", "02T09:00:00Z", "02T09:00:00Z"]),
        (["--by", "hour", "--since", "2026-03-01T11:00"], ["01T11:00:00Z"] + 2 * ["02T09:00:00Z"]),
        (["--by", "hour", "--until", "2026-03-01T11:00"], ["01T10:00:00Z"]),
        # Images are counted by the hour: what begins before TIME counts whole.
        (
            ["--by", "hour", "--since", "2026-03-01T10:30", "--until", "2026-03-01T11:01"],
            ["01T10:00:00Z", "01T11:00:00Z"],
        ),
        (["--by", "hour", "--until", "2026-03-01T12:00+01:00"], ["01T10:00:00Z"]),
        (["--since", "2026-03-02"], ["02", "02"]),
        (["--since", "0001-01-01", "--until", "9999-12-31T23:59:59"], ["01", "02", "02"]),
        (["--since", "2027-01-01"], []),
        (["--camera", "top-1"], ["01"]),
        (["--camera", "old"], ["02"]),
    ],
    ids=lambda value: " ".join(value) if str(value[:1]).startswith("['--") else "",
)
def test_rates_of_a_span_or_a_camera(
    millwatch: Millwatch, line: Station, options: list[str], periods: list[str]
) -> None:
    found = as_json(millwatch, line, *options)
    assert [each["period"].removeprefix("2026-03-") for each in found] == periods


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--since", "yesterday", "2026-01-31T06:00"),
        ("--until", "2026-02-30", "2026-01-31T06:00"),
        ("--since", "0001-01-01T00:00+05:00", "2026-01-31T06:00"),
        ("--by", "week", "'hour', 'shift', 'day', 'camera'"),
        ("--format", "xml", "'table', 'csv', 'json', 'html', 'png'"),
        ("--camera", "top-2", "bottom-1, old, top-1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_could(
    millwatch: Millwatch, line: Station, option: str, value: str, told: str
) -> None:
    done = millwatch("report", "rates", "--config", line.config, option, value)
    assert done.status == 2
    assert done.out == ""
    assert option in done.err
    assert value in done.err
    assert told in done.err
    assert "Value error" not in done.err  # as pydantic begins, on which typer rests


def test_a_line_that_never_ran_has_no_report(
    millwatch: Millwatch, station: Station, tmp_path: Path
) -> None:
    done = millwatch("report", "rates", "--config", station.config)
    assert done.status == 1
    assert f"there is no database at {station.database} yet" in done.err
    assert "millwatch run" in done.err
    assert not (tmp_path / "state").exists()


def test_a_class_is_drawn_in_words_and_a_camera_by_its_name(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.mkdir()
    store = open_store(station.state_dir)
    record(store, finding(1, "defect", camera="top_1", predicted_class="rolled-in_scale"))
    store.close()
    for report, name in (("pareto", "rolled-in scale"), ("rates", "top_1")):
        page = millwatch(
            *("report", report, "--config", station.config, "--format", "html"),
            *(("--by", "camera") if report == "rates" else ()),
        ).out
        assert f'<th scope="row">{name}</th>' in page


def test_where_nothing_was_inspected_no_rate_is_drawn(millwatch: Millwatch, line: Station) -> None:
    command = ("report", "rates", "--by", "camera", "--config", line.config, "--format", "html")
    drawn = re.findall(
        r'<th scope="row">(.*?)</th><td class="number">(.*?)</td>', millwatch(*command).out
    )
    assert drawn == [("old", "0.00 %"), ("top-1", "33.33 %")]
    alone = millwatch(*command, "--camera", "bottom-1").out
    assert "<td>bottom-1</td>" in alone
    assert '<th scope="row">' not in alone


def test_a_report_may_be_asked_for_until_the_end_of_time(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.mkdir()
    open_store(station.state_dir).close()
    times = ("--since", "0001-01-02", "--until", "9999-12-31T23:59:59Z")
    for zone in ("Asia/Tokyo", "America/New_York"):
        config = station.root / "there.toml"
        config.write_text(f'time_zone = "{zone}"\n{station.config.read_text()}')
        assert millwatch("report", "rates", *times, "--config", config).status == 0


def test_a_queue_that_is_too_long_to_count_is_told_as_so_many_or_more(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.mkdir()
    store = open_store(station.state_dir)
    settle(store, *record(store, finding(1, "unsure", predicted_class="patches")))
    for most, told in ((1, "1."), (100_000, "100000 or more.")):
        with store.writing() as connection:
            own = {"id", "inode", "filename", "target"}
            columns = ", ".join(each.name for each in image.columns if each.name not in own)
            connection.execute(
                text(
                    f"INSERT INTO image (inode, filename, {columns}) "  # noqa: S608 -- the schema's names
                    "WITH RECURSIVE number(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM number "
                    "WHERE n < :most) "
                    f"SELECT -n, n, {columns} FROM image, number WHERE id = 1 AND n <= :most"
                ),
                {"most": most},
            )
        command = ("report", "review", "--config", station.config)
        assert f"Waiting for a label now: {told}" in millwatch(*command).out
        lines = millwatch(*command, "--format", "csv").out.splitlines()
        assert lines[1:3] == [f"waiting,,,{most}", f"waiting_is_more,,,{int(most > 1)}"]
    store.close()
