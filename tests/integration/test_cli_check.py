import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from builders import Station, run_cli
from commands import Millwatch

from daemon.serving import point_to

MISTAKES = """\
state_dir = "$ROOT/state"
[intake]
quiet_secs = 1.0
rescan_seconds = "often"
[review]
folder = "$ROOT/review"
[model]
folder = "$MODEL"
runtime = "tensorrt"
[[cameras]]
name = "top-1"
folder = "$ROOT/review/in"
[[cameras]]
name = "bottom-1"
folder = "$ROOT/nowhere"
"""


@pytest.fixture
def mistakes(tmp_path: Path, model: Path) -> Path:
    """Five mistakes: a key, a number, a runtime, a camera in the review folder, a missing folder."""
    (tmp_path / "review" / "in").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    file = tmp_path / "millwatch.toml"
    file.write_text(MISTAKES.replace("$ROOT", str(tmp_path)).replace("$MODEL", str(model)))
    return file


def test_mistakes_are_told_whatever_letters_the_locale_writes(mistakes: Path) -> None:
    done = run_cli("check", "--config", mistakes, PYTHONIOENCODING="latin-1")
    assert done.returncode == 78, done.stderr
    assert len(done.stdout.splitlines()) == 10


def test_five_mistakes_are_reported_at_once_each_with_its_line_and_a_remedy(
    millwatch: Millwatch, mistakes: Path, tmp_path: Path
) -> None:
    done = millwatch("check", "--config", mistakes)

    assert done.status == 78
    assert done.err == "5 problems in the configuration\n"
    told = done.out.splitlines()
    heads = [line.removeprefix(f"{mistakes}:") for line in told[0::2]]
    assert [head.split(": ")[:2] for head in heads] == [
        ["3", "intake.quiet_secs"],
        ["4", "intake.rescan_seconds"],
        ["9", "model.runtime"],
        ["12", "cameras[1].folder"],
        ["15", "cameras[2].folder"],
    ]
    assert "review" in heads[3]
    assert str(tmp_path / "nowhere") in heads[4]
    assert "quiet_seconds" in told[1], "the nearest key"
    assert all(line.startswith("    → ") for line in told[1::2])


def test_a_program_gets_the_same_problems_as_json(millwatch: Millwatch, mistakes: Path) -> None:
    done = millwatch("check", "--config", mistakes, "--json")
    assert done.status == 78
    problems = json.loads(done.out)
    assert [problem["line"] for problem in problems] == [3, 4, 9, 12, 15]
    assert all(problem["source"] == str(mistakes) for problem in problems)
    assert all(problem["what"] and problem["remedy"] for problem in problems)
    # The missing drop folder alone is no reason not to start: its share may be mounted later.
    assert [problem["again_helps"] for problem in problems] == [False] * 4 + [True]


def test_a_good_configuration_is_said_to_be_good_and_nothing_is_made(
    millwatch: Millwatch, station: Station
) -> None:
    before = sorted(station.root.rglob("*"))
    done = millwatch("check", "--config", station.config)
    assert (done.status, done.out, done.err) == (
        0,
        "The configuration is good. Cameras: top-1, bottom-1.\n",
        "",
    )
    assert millwatch("check", "--config", station.config, "--json").out == "[]\n"
    assert sorted(station.root.rglob("*")) == before


def test_a_runtime_that_this_version_has_not_is_one_problem(
    millwatch: Millwatch, station: Station
) -> None:
    station.tables = {"model": {"runtime": "tensorrt"}}
    station.write_config()
    done = millwatch("check", "--config", station.config, "--json")
    assert [problem["key"] for problem in json.loads(done.out)] == ["model.runtime"]
    assert done.status == 78


def test_a_model_folder_that_is_not_there_is_one_problem(
    millwatch: Millwatch, station: Station
) -> None:
    station.tables = {"model": {"folder": str(station.root / "no-model")}}
    station.write_config()
    done = millwatch("check", "--config", station.config, "--json")
    (problem,) = json.loads(done.out)
    assert problem["key"] == "model.folder"
    assert not problem["again_helps"], "nothing is served without it"
    assert str(station.root / "no-model") in problem["what"]


def test_a_promoted_model_that_is_damaged_is_told_with_what_a_start_does_and_the_way_out(
    millwatch: Millwatch, station: Station
) -> None:
    """No key leads to it: to remove one changes nothing."""
    promoted = station.state_dir / "models" / "tiny-7-0"
    promoted.mkdir(parents=True)
    point_to(station.settings(), promoted)
    done = millwatch("check", "--config", station.config, "--json")
    (problem,) = json.loads(done.out)
    assert "tiny-7-0 does not load" in problem["what"]
    assert "a start lets tiny-6-0 serve instead" in problem["what"]
    assert problem["remedy"].startswith("`millwatch models promote` another")


def test_trouble_with_model_and_database_is_reported_beside_wrong_keys(
    millwatch: Millwatch, station: Station, tmp_path: Path
) -> None:
    broken = tmp_path / "broken-model"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"not weights")
    station.state_dir.mkdir()
    with closing(sqlite3.connect(station.database)) as connection, connection:
        connection.execute("CREATE TABLE invoices (id)")
    station.tables = {
        "model": {"folder": str(broken)},
        "intake": {"colour": "blue"},
        "policy": {"normal_classes": ["scratches"]},
    }
    station.write_config()

    done = millwatch("check", "--config", station.config, "--json")

    problems = {problem["key"]: problem for problem in json.loads(done.out)}
    assert set(problems) == {
        "intake.colour",
        "model.folder",
        "policy.normal_classes",
        "state_dir",
    }
    assert "is no Millwatch database" in problems["state_dir"]["what"]
    assert problems["state_dir"]["line"] == 1
    assert str(station.state_dir / "backups") in problems["state_dir"]["remedy"]
    assert str(broken) in problems["model.folder"]["what"]


def test_a_damaged_database_of_its_own_place_is_blamed_on_its_key(
    millwatch: Millwatch, station: Station, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "line.db").write_bytes(b"garbage" * 1000)
    station.config.write_text(
        f'database_url = "sqlite:///{tmp_path}/data/line.db"\n' + station.config.read_text()
    )
    done = millwatch("check", "--config", station.config, "--json")
    (problem,) = json.loads(done.out)
    assert problem["key"] == "database_url"
    assert problem["line"] == 1
    assert "file is not a database" in problem["what"]


def test_without_a_camera_there_is_nothing_to_watch(millwatch: Millwatch, station: Station) -> None:
    station.cameras = ()
    station.write_config()
    done = millwatch("check", "--config", station.config)
    assert done.status == 78
    assert "cameras: no camera\n    → Add a table [[cameras]]" in done.out
    assert done.err == "1 problem in the configuration\n"


def test_a_configuration_file_that_is_not_there_is_a_problem_of_its_own(
    millwatch: Millwatch, tmp_path: Path
) -> None:
    done = millwatch("check", "--config", tmp_path / "no.toml")
    assert done.status == 78
    assert str(tmp_path / "no.toml") in done.out
    for command in (["status"], ["report", "rates"], ["predict", "x.jpg"]):
        other = millwatch(*command, "--config", tmp_path / "no.toml")
        assert other.status == 78
        assert str(tmp_path / "no.toml") in other.err


def test_what_systemd_must_know_is_written_even_where_a_folder_is_still_missing(
    millwatch: Millwatch, station: Station, tmp_path: Path
) -> None:
    station.folder("top-1").rmdir()
    done = millwatch("check", "--config", station.config, "--write-unit", tmp_path / "units")
    assert done.status == 78, "the folder is told all the same"
    unit = tmp_path / "units" / "millwatch.service.d" / "50-configuration.conf"
    assert f'RequiresMountsFor="{station.state_dir}"' in unit.read_text()
    assert f"wrote {unit}" in done.err
    again = millwatch("check", "--config", station.config, "--write-unit", tmp_path / "units")
    assert "wrote" not in again.err


def test_units_are_not_written_from_a_configuration_with_a_mistake(
    millwatch: Millwatch, station: Station, tmp_path: Path
) -> None:
    station.extra = 'colour = "blue"'
    station.write_config()
    millwatch("check", "--config", station.config, "--write-unit", tmp_path / "units")
    assert not (tmp_path / "units").exists()


def test_a_state_folder_that_is_a_file_is_one_problem(
    millwatch: Millwatch, station: Station
) -> None:
    station.state_dir.write_text("no folder")
    done = millwatch("check", "--config", station.config)
    assert done.status == 78
    assert f"state_dir ({station.state_dir}) is not a folder" in done.out
    assert "1 problem in the configuration" in done.err


def test_a_base_set_that_is_not_there_is_told_before_the_night_of_the_retraining(
    millwatch: Millwatch, tmp_path: Path, model: Path
) -> None:
    base_set = tmp_path / "manifest.json"
    tables = {"retraining": {"base_set": str(base_set)}}
    station = Station(root=tmp_path, model=model, tables=tables)
    done = millwatch("check", "--config", station.config)
    assert done.status == 78
    assert f"retraining.base_set: {base_set} cannot be read" in done.out
    base_set.write_text("{}")
    assert millwatch("check", "--config", station.config).status == 0
