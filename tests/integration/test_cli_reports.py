"""Every report in every format, from a line whose story is known."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import Station, clean_environment
from commands import Millwatch
from filesystems import filesystem, full, obeying_permissions
from PIL import Image
from records import NOW, finding, open_store, record, settle
from reported import EVIL, fill

from daemon.store.labels import put_label

REPORTS = ("rates", "pareto", "chart", "review", "model")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Station:
    """Forty days of a plant in Berlin, with one bad day; some labels; three models."""
    station = Station(
        root=tmp_path_factory.mktemp("reports"),
        model=model,
        extra="[reports]\nshifts = ['06:00', '14:00', '22:00']",
    )
    text = station.config.read_text()
    station.config.write_text(f'time_zone = "Europe/Berlin"\n{text}')
    station.state_dir.mkdir()
    store = open_store(station.state_dir)
    fill(store)
    store.close()
    return station


def document(millwatch: Millwatch, line: Station, *arguments: str) -> Any:
    done = millwatch("report", *arguments, "--config", line.config, "--format", "json")
    assert done.status == 0, done.err
    return json.loads(done.out)


def sheet(millwatch: Millwatch, line: Station, *arguments: str) -> list[dict[str, str]]:
    done = millwatch("report", *arguments, "--config", line.config, "--format", "csv")
    assert done.status == 0, done.err
    return list(csv.DictReader(io.StringIO(done.out)))


def test_rates_by_shift_follow_the_plants_clock(millwatch: Millwatch, line: Station) -> None:
    found = document(millwatch, line, "rates", "--by", "shift", "--camera", "top-1")
    first = found[0]
    # 00:30 UTC on the 1st is 02:30 in Berlin: the night that began on the last day of May.
    assert first["period"] == "2026-05-31 22:00"
    assert {each["period"][11:] for each in found} == {"06:00", "14:00", "22:00"}
    assert sum(each["inspected"] for each in found) == 600
    days = document(
        millwatch, line, "rates", "--by", "day", "--since", "2026-06-20", "--until", "2026-06-21"
    )
    assert {each["period"] for each in days} == {"2026-06-20"}
    assert sum(each["defects"] for each in days) == 25


def test_the_pareto_has_shares_and_their_sum(millwatch: Millwatch, line: Station) -> None:
    found = document(millwatch, line, "pareto")
    assert [each["images"] for each in found] == sorted(
        (each["images"] for each in found), reverse=True
    )
    assert found[-1]["cumulative"] == pytest.approx(1.0)
    assert sum(each["images"] for each in found) == 29 * 4 + 25
    by_camera = document(millwatch, line, "pareto", "--by", "camera")
    assert {each["camera"] for each in by_camera} == {"top-1", "bottom-1"}
    by_day = document(
        millwatch,
        line,
        "pareto",
        "--by",
        "day",
        "--since",
        "2026-06-20",
        "--until",
        "2026-06-20T12:00",
    )
    assert {each["period"] for each in by_day} == {"2026-06-20"}


def test_a_pareto_is_drawn_with_all_its_figures_and_shows_them_once(
    millwatch: Millwatch, line: Station
) -> None:
    command = ("report", "pareto", "--config", line.config)
    page = millwatch(*command, "--format", "html").out
    assert page.count("<table") == 1
    for each in document(millwatch, line, "pareto"):
        for figure in ("share", "cumulative"):
            assert f">{100 * each[figure]:.2f} %</td>" in page
    assert millwatch(*command, "--by", "camera", "--format", "html").out.count("<table") == 2


def test_the_chart_finds_the_bad_day_and_names_the_rule(
    millwatch: Millwatch, line: Station
) -> None:
    found = document(millwatch, line, "chart", "--rules", "1")
    assert [point["period"] for point in found["points"] if point["rules"]] == ["2026-06-20"]
    assert found["rules"] == [1]
    assert found["centre"] == pytest.approx(141 / 1200)
    shown = millwatch("report", "chart", "--config", line.config, "--rules", "1").out
    assert "Rule 1 (Nelson 1984): a point beyond the limits." in shown
    assert document(millwatch, line, "chart", "--since", "2027-01-01")["points"] == []


def test_the_review_tells_agreement_and_who_labelled(millwatch: Millwatch, line: Station) -> None:
    found = document(millwatch, line, "review")
    assert found["labels"] == 11
    given = {(each["period"], each["labelled_by"]): each["labels"] for each in found["given"]}
    assert given == {("2026-03-01", "anna"): 5, ("2026-03-01", "otto"): 6}
    of_cameras = document(millwatch, line, "review", "--by", "camera")["given"]
    assert {each["camera"] for each in of_cameras} == {"top-1", "bottom-1"}
    assert sum(each["labels"] for each in of_cameras) == 11
    classes = {each["predicted_class"]: each for each in found["classes"]}
    assert classes[EVIL]["agreed"] == 0
    assert classes["scratches"]["lower"] < classes["scratches"]["agreement"]
    assert found["waiting"] == 141 - 11
    missed = found["missed_defects"]
    assert (missed["passed"], missed["labelled"], missed["rate"]) == (1200 - 141, 0, None)
    assert (
        "how many are defects is not known"
        in millwatch("report", "review", "--config", line.config).out
    )
    figures = [each for each in sheet(millwatch, line, "review") if each["figure"] == "labels"]
    assert sum(int(each["value"]) for each in figures) == 11  # as a pivot table adds them up
    of_classes = {
        (each["of"].lstrip("'"), each["figure"]): each["value"]
        for each in sheet(millwatch, line, "review")
    }
    for name, counted in classes.items():
        assert int(of_classes[name, "labelled"]) == counted["labels"]
        assert int(of_classes[name, "agreed"]) == counted["agreed"]
    nobody = document(millwatch, line, "review", "--until", "2026-01-01")
    assert (nobody["labels"], nobody["kappa"], nobody["classes"]) == (0, None, [])


def test_a_review_of_a_time_says_which_time_labels_and_images_are_of(
    millwatch: Millwatch, line: Station
) -> None:
    """Its labels were given in March, of images of June."""
    of_june = document(millwatch, line, "review", "--since", "2026-06-01")
    assert (of_june["labels"], of_june["missed_defects"]["passed"]) == (0, 1200 - 141)
    command = ("report", "review", "--config", line.config)
    told = (
        "Labels are those that were given in this time, missed defects those of images taken in it."
    )
    assert told in millwatch(*command, "--since", "2026-06-01").out
    assert told in millwatch(*command, "--until", "2026-06-01", "--format", "html").out
    assert told not in millwatch(*command).out


def test_the_review_tells_what_passed_wrongly_by_the_sample_of_it(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.mkdir()
    store = open_store(station.state_dir)
    drawn = [replace(finding(at, "pass"), reason="sample") for at in range(1, 41)]
    for at, intent in enumerate(record(store, *drawn)):
        settle(store, intent)
        put_label(
            store,
            intent.image_id,
            "scratches" if at < 2 else "no_defect",
            "anna",
            seen=0,
            target=Path(f"/labelled/{at}.jpg"),
            now=NOW,
        )
    store.close()
    missed = document(millwatch, station, "review")["missed_defects"]
    assert (missed["labelled"], missed["missed"], missed["rate"]) == (40, 2, 0.05)
    shown = millwatch("report", "review", "--config", station.config).out
    assert "5.00 % are defects: 2 of 40" in shown
    assert "95 % interval 0.61 % to 16.92 %" in shown
    figures = {row["figure"]: row["value"] for row in sheet(millwatch, station, "review")}
    assert figures["missed_defects_rate"] == "0.05"


def test_the_models_are_told_with_what_the_gate_saw(millwatch: Millwatch, line: Station) -> None:
    newest, current, old = document(millwatch, line, "model")
    assert (newest["version"], newest["reason"]) == ("m3", "worse on scratches")
    assert (newest["accuracy"], newest["held_out"]) == (None, None)
    assert (current["accuracy"], current["held_out"]) == (0.97, 20)
    assert current["held_out_right"] == pytest.approx(0.95)
    assert current["held_out_right_before"] == pytest.approx(0.35)
    assert current["held_out_missed"] == 1
    assert old["metrics"] == {"test": {"accuracy": 0.95}}
    assert len(document(millwatch, line, "model", "--since", "2026-06-02T12:00")) == 1
    assert old["created_at"] == "2026-06-01T00:00:00Z"
    page = millwatch("report", "model", "--config", line.config, "--format", "html").out
    assert "times in Europe/Berlin" in page
    assert "2026-06-01 02:00" in page
    words = millwatch("report", "model", "--config", line.config).out
    _, _, learning = words.partition("What twice as many labels")
    (row,) = [each for each in learning.splitlines() if "scratches" in each]
    assert re.findall(r"[\d.]+(?: %)?", row) == ["40", "65.00 %", "75.00 %"]
    assert "model m2" in " ".join(learning.split())
    assert "more labels of that class help" in learning


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_is_one_page_that_needs_nothing_else(
    millwatch: Millwatch, line: Station, report: str
) -> None:
    done = millwatch("report", report, "--config", line.config, "--format", "html")
    assert done.status == 0, done.err
    assert "<svg" in done.out
    assert re.findall(r"(?:src|href|url|@import|script)\s*[=(:]", done.out) == []
    assert "http" not in done.out
    assert "@media print" in done.out


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_is_drawn_as_a_picture(
    millwatch: Millwatch, line: Station, report: str, tmp_path: Path
) -> None:
    out = tmp_path / "report.png"
    command = ("report", report, "--config", line.config, "--format", "png")
    assert millwatch(*command, "--out", out).status == 0
    with Image.open(out) as picture:
        picture.load()
        assert picture.size[0] > 1000
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 10


@pytest.mark.fault(20)
@pytest.mark.parametrize("report", ["pareto", "review"])
def test_a_class_that_is_named_like_a_formula_stays_a_name_in_a_spreadsheet(
    millwatch: Millwatch, line: Station, report: str
) -> None:
    cells = {cell for row in sheet(millwatch, line, report) for cell in row.values()}
    assert f"'{EVIL}" in cells
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)


def test_every_report_is_a_table_for_people_and_for_spreadsheets(
    millwatch: Millwatch, line: Station
) -> None:
    for report in REPORTS:
        shown = millwatch("report", report, "--config", line.config)
        assert shown.status == 0, shown.err
        assert "times in Europe/Berlin" in shown.out
        assert sheet(millwatch, line, report)


def test_where_nothing_is_drawn_it_is_said(
    millwatch: Millwatch, line: Station, tmp_path: Path
) -> None:
    command = ("report", "chart", "--config", line.config, "--since", "2027-01-01")
    done = millwatch(*command, "--format", "png", "--out", tmp_path / "no.png")
    assert done.status == 1
    assert "ask for a longer one" in done.err
    assert not (tmp_path / "no.png").exists()
    page = millwatch(*command, "--format", "html")
    assert "Nothing in this time." in page.out
    lost = millwatch(
        "report", "rates", "--config", line.config, "--format", "csv", "--out", tmp_path / "no/x"
    )
    assert lost.status == 1
    assert "name another file" in lost.err
    table = millwatch("report", "rates", "--config", line.config, "--out", tmp_path / "x")
    assert "choose a --format" in table.err


def test_a_report_that_finds_no_room_leaves_the_one_that_was_there(
    millwatch: Millwatch, line: Station, tmp_path: Path
) -> None:
    out = tmp_path / "disk" / "rates.html"
    command = ("report", "rates", "--config", line.config, "--format", "html", "--out", out)
    with filesystem(out.parent, size="1m"):
        assert millwatch(*command).status == 0
        out.chmod(0o600)
        before = out.read_bytes()
        with full(out.parent):
            done = millwatch(*command)
        assert (done.status, "No space left on device; name another" in done.err) == (1, True)
        assert out.read_bytes() == before
        assert millwatch(*command).status == 0
        assert [each.name for each in out.parent.iterdir()] == [out.name]
        assert out.stat().st_mode & 0o777 == 0o600


def test_a_report_goes_into_pipes_behind_what_a_shell_sends_and_into_files_of_closed_folders(
    millwatch: Millwatch, line: Station, tmp_path: Path
) -> None:
    command = ("report", "rates", "--config", line.config, "--format", "csv", "--out")
    asked = [sys.executable, "-m", "daemon.cli", *map(str, command)]
    sent, pipe, closed = tmp_path / "sent", tmp_path / "pipe", tmp_path / "closed"
    sent.write_text("before\n")
    os.mkfifo(pipe)
    with sent.open("a") as shell:
        subprocess.run([*asked, "/dev/stdout"], stdout=shell, env=clean_environment(), check=True)
    with subprocess.Popen([*asked, str(pipe)], env=clean_environment()):
        piped = pipe.read_text()
    assert piped.startswith("camera,")
    assert sent.read_text() == f"before\n{piped}"
    closed.mkdir()
    (closed / "rates.csv").touch()
    closed.chmod(0o500)
    with obeying_permissions():
        assert millwatch(*command, closed / "rates.csv").status == 0
    assert (closed / "rates.csv").read_text() == piped


def test_an_answer_that_no_disk_has_room_for_is_told_in_words(line: Station) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "daemon.cli", "report", "rates", "--config", line.config],
            stdout=full,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "No space left on device" in done.stderr
    assert "free space" in done.stderr


def test_without_matplotlib_it_is_said_what_to_install(line: Station) -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None; from daemon.cli.main import main; "
        "main(sys.argv[1:])"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            "report",
            "chart",
            "--format",
            "png",
            "--config",
            line.config,
        ],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
        timeout=60,
    )
    assert done.returncode == 1
    assert "its extra `charts`" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("chart", "--by", "camera"), "'hour', 'shift', 'day'"),
        (("chart", "--rules", "1,9"), "numbers from 1 to 8"),
        (("chart", "--rules", "all"), "numbers from 1 to 8"),
        (("rates", "--since", "2026-06-02", "--until", "2026-06-01"), "is not after"),
        (("model", "--since", "2026-06-01", "--until", "2026-06-01"), "name a later"),
    ],
)
def test_what_no_report_can_be_of_is_refused(
    millwatch: Millwatch, line: Station, arguments: tuple[str, ...], told: str
) -> None:
    done = millwatch("report", *arguments, "--config", line.config)
    assert done.status == 2
    assert told in done.err


@pytest.mark.parametrize("columns", ["80", None])
def test_a_table_has_its_figures_and_names_whole_however_narrow_the_terminal(
    millwatch: Millwatch, line: Station, monkeypatch: pytest.MonkeyPatch, columns: str | None
) -> None:
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    else:
        monkeypatch.delenv("COLUMNS", raising=False)
    for report in REPORTS:
        for by in ([], ["--by", "shift"]) if report != "model" else ([],):
            shown = millwatch("report", report, *by, "--config", line.config).out
            assert "…" not in shown, report
    assert "95.00 %" in shown
    assert columns or "20260601-000000-0000abcd" in shown


def test_labels_by_the_hour_are_told_by_the_plants_clock(
    millwatch: Millwatch, line: Station
) -> None:
    command = ("report", "review", "--config", line.config, "--by", "hour")
    assert "2026-03-01 13:00" in millwatch(*command).out, "12:00 UTC, in Berlin"
    assert {
        each["period"] for each in document(millwatch, line, "review", "--by", "hour")["given"]
    } == {"2026-03-01T12:00:00Z"}
