import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plants import HEAD, check, only

from config.loading import check_settings, load_settings
from config.problems import CONFIGURATION_EXIT_STATUS, ConfigurationError, Problem
from config.toml_lines import key_lines


def test_a_plant_in_order_has_no_problems_and_nothing_is_left_in_its_folders(plant: Path) -> None:
    text = HEAD + '[[cameras]]\nname = "a"\nfolder = "$P/cameras/a"\n'
    text += '[[cameras]]\nname = "b"\nfolder = "$P/cameras/b"\n'

    assert check(plant, text) == []
    assert [path for path in plant.rglob("*") if path.is_file()] == [plant / "millwatch.toml"]


def test_every_problem_of_every_kind_is_reported_in_one_go_with_its_line(plant: Path) -> None:
    (plant / "review/in").mkdir()
    text = """\
state_dir = "$P/state"
colour = "blue"
[intake]
quiet_seconds = -1
[[cameras]]
name = "inner"
folder = "$P/review/in"
[[cameras]]
name = "gone"
folder = "$P/nowhere"
[review]
folder = "$P/review"
[model]
runtime = "tensorrt"
"""
    problems = check(plant, text, {"MILLWATCH_QUIET_SECONDS": "1"})

    assert [(problem.line, problem.key) for problem in problems] == [
        (2, "colour"),
        (4, "intake.quiet_seconds"),
        (7, "cameras[1].folder"),
        (10, "cameras[2].folder"),
        (14, "model.runtime"),
        (None, "quiet_seconds"),
    ]
    assert {problem.source for problem in problems[:5]} == {str(plant / "millwatch.toml")}
    assert problems[5].source == "environment MILLWATCH_QUIET_SECONDS"
    assert "MILLWATCH_INTAKE__QUIET_SECONDS" in problems[5].remedy


def test_settings_with_a_wrong_key_are_not_handed_out(plant: Path) -> None:
    file = plant / "millwatch.toml"
    file.write_text("colour = 1\n")

    assert check_settings(file, {"MILLWATCH_STATE_DIR": str(plant / "state")})[0] is None
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file, {})
    assert only(list(caught.value.problems)).key == "colour"
    assert CONFIGURATION_EXIT_STATUS == 78


def test_loading_does_not_look_at_folders(plant: Path) -> None:
    file = plant / "millwatch.toml"
    file.write_text('state_dir = "/proc/nowhere"\n')

    assert load_settings(file, {}).state_dir == Path("/proc/nowhere")


def test_a_problem_is_shown_as_file_line_key_what_and_remedy() -> None:
    problem = Problem(source="/etc/m.toml", line=3, key="web.port", what="is\n0", remedy="Write 1.")

    assert str(problem) == "/etc/m.toml:3: web.port: is\\n0\n    → Write 1."


@pytest.mark.parametrize(
    ("text", "line", "remedy"),
    [
        ("[intake]\nquiet_second = 1\n", 2, "quiet_seconds"),
        ("[intake]\nquiet-seconds = 1\n", 2, "quiet_seconds"),
        ("\n[batchin]\nmax_images = 1\n", 2, "[batching]"),
        ("quiet_seconds = 1\n", 1, "belongs under [intake]"),
        ('[intake]\ntime_zone = "UTC"\n', 2, "at the top of the file"),
        ('[[camera]]\nname = "a"\n', 1, "[[cameras]]"),
        ("[web]\ncolour = 1\n", 2, "nearest known key is"),
        ("intake.quite_seconds = 1\n", 1, "quiet_seconds"),
    ],
)
def test_an_unknown_key_is_met_with_the_one_that_was_meant(
    plant: Path, text: str, line: int, remedy: str
) -> None:
    problem = only(check(plant, text, {"MILLWATCH_STATE_DIR": str(plant / "state")}))

    assert problem.line == line
    assert remedy in problem.remedy


def test_an_unknown_key_of_the_second_camera_is_found_on_its_own_line(plant: Path) -> None:
    text = HEAD + '[[cameras]]\nname = "a"\nfolder = "$P/cameras/a"\n'
    text += '[[cameras]]\nname = "b"\nfolder = "$P/cameras/b"\nwach = "auto"\n'

    problem = only(check(plant, text))

    assert (problem.line, problem.key) == (9, "cameras[2].wach")
    assert "watch" in problem.remedy


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('[intake]\nquiet_seconds = "2"\n', 2, 'must be a number without quotes, but is "2"'),
        ("[batching]\nmax_images = true\n", 2, "must be a whole number"),
        ("[batching]\nmax_images = 0\n", 2, "must be at least 1, but is 0"),
        ("[batching]\nmax_images = 1025\n", 2, "must be at most 1024"),
        ("[intake]\nrescan_seconds = 0\n", 2, "must be more than 0"),
        ("[policy]\nmax_missed_defect_rate = 1\n", 2, "must be less than 1"),
        ("[policy]\nmax_missed_defect_rate = nan\n", 2, "nan"),
        ("[web]\nenabled = 1\n", 2, "must be true or false"),
        ("[web]\nport = 65536\n", 2, "must be at most 65535"),
        ("[gate]\nshadow_share = 0.2\n", 2, "must be at most 0.1"),
        ('[policy]\non_pass = "keep"\n', 2, '"archive", "leave" or "delete"'),
        ("time_zone = 1\n", 1, "must be text in quotes"),
        ('time_zone = "Europe"\n', 1, "is not a time zone"),
        ("[model]\nfolder = 3\n", 2, "must be a path in quotes"),
        ('[model]\nfolder = "~/model"\n', 2, '"~", which is not expanded'),
        ('[model]\nfolder = "model"\n', 2, "must be an absolute path"),
        ("[intake]\nignore = '*.tmp'\n", 2, "must be a list"),
        ("[intake]\nignore = ['*']\n", 2, "matches every image, so none would ever be judged"),
        ("[intake]\nextensions = ['.png']\nignore = ['*.*g', '*.P*']\n", 3, "matches every image"),
        ("[intake]\nextensions = []\n", 2, "no file would ever be an image"),
        ("[intake]\nextensions = [\n'.png',\n'tif',\n]\n", 2, "is not a file name ending"),
        ("[intake]\nquiet_seconds = 90\n", 2, "is less than quiet_seconds"),
        ("[intake]\nquiet_seconds = 9\ngive_up_seconds = 8\n", 3, "is less than quiet_seconds"),
        ("intake = {quiet_seconds = 90}\n", 1, "is less than quiet_seconds"),
        ("[intake]\nmarker_suffix = '.png'\n", 2, "ends like an image"),
        ("intake = 3\n", 1, "must be a table"),
        ("[[web]]\nport = 1\n", 1, "must be a table"),
        ("[cameras]\nname = 'a'\n", 1, "must be a list of cameras"),
        ("cameras = ['a']\n", 1, "must be a table"),
        ("database_url = 'sqlite:///a.db'\n", 1, "absolute path"),
        ("database_url = 'sqlite://'\n", 1, "absolute path"),
    ],
)
def test_a_wrong_value_is_refused_in_plain_words(
    plant: Path, text: str, line: int, what: str
) -> None:
    problem = only(check(plant, text, {"MILLWATCH_STATE_DIR": str(plant / "state")}))

    assert problem.line == line
    assert what in problem.what
    assert problem.remedy


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[intake]\nextensions = ["png", "jpg"]\n', "intake.extensions"),
        ('[policy]\nnormal_classes = ["a/b", 1]\n', "policy.normal_classes"),
        (
            '[[alarms]]\nname = "a"\nwhen = "trouble"\nto = ["https://h"]\ntroubles = ["/", 1]\n',
            "alarms[1].troubles",
        ),
    ],
)
def test_each_wrong_entry_of_a_list_is_told(plant: Path, text: str, key: str) -> None:
    problems = check(plant, text, {"MILLWATCH_STATE_DIR": str(plant / "state")})

    assert [problem.key for problem in problems] == [f"{key}[1]", f"{key}[2]"]
    with pytest.raises(ConfigurationError):
        load_settings(plant / "millwatch.toml", {})


def test_another_database_is_refused_without_showing_its_password(plant: Path) -> None:
    problem = only(check(plant, HEAD + "database_url = 'postgresql://me:secret@host/db'\n"))

    assert "this version keeps its database in SQLite" in problem.what
    assert "secret" not in str(problem)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("\n[intake\nquiet_seconds = 1\n", 2, "is not TOML"),
        ('[[cameras]\nname = "a"\n', 1, "is not TOML"),
        ("[intake]\n[intake]\n", 2, "a second time"),
        ("[web]\nport = 1\nport = 2\n", 3, "is set a second time"),
        ("[web]\nhost = localhost\n", 2, "the value cannot be read"),
        ('[web]\nhost = "localhost\n', 2, "a quotation mark is missing"),
        ('[model]\nfolder = "C:\\models"\n', 2, "backslash"),
        ("[web]\nthe port is 80\n", 2, "cannot be read"),
        ("[policy]\nmax_missed_defect_rate = 0,005\n", 2, "behind the value"),
        ("[intake]\nextensions = [\n'.png'\n", 3, "is not TOML"),
        ("[intake]\nextensions = " + "[" * 5000 + "\n", 2, "is not TOML"),
    ],
)
def test_a_line_that_is_not_toml_is_named(plant: Path, text: str, line: int, what: str) -> None:
    problem = only(check(plant, text, {"MILLWATCH_STATE_DIR": str(plant / "state")}))

    assert problem.line == line
    assert what in problem.what


def test_a_line_without_quotes_does_not_hide_the_problems_of_other_lines(plant: Path) -> None:
    text = "state_dir = $P/state\n[web]\nhost = here\nport = 0\n[[cameras]]\nname = a\n"
    text += 'folder = "$P/nowhere"\n'

    assert [problem.line for problem in check(plant, text)] == [1, 3, 4, 6, 7]


def test_variables_are_judged_even_if_the_file_cannot_be_read(plant: Path) -> None:
    problems = check(plant, "[web\n", {"MILLWATCH_WEB__PORT": "0"})

    assert [problem.source for problem in problems] == [
        str(plant / "millwatch.toml"),
        "environment MILLWATCH_WEB__PORT",
    ]


def test_a_file_that_is_missing_or_not_utf8_is_a_problem(plant: Path) -> None:
    (plant / "latin.toml").write_bytes(b"# ok\n# caf\xe9\n")

    missing = only(check_settings(None, {"MILLWATCH_CONFIG": str(plant / "gone.toml")})[1])
    latin = only(check_settings(plant / "latin.toml", {})[1])

    assert "MILLWATCH_CONFIG cannot be read: No such file" in missing.what
    assert (latin.line, latin.what) == (2, "the file is not UTF-8")


def test_a_fifo_that_is_named_as_the_configuration_is_not_waited_for(plant: Path) -> None:
    os.mkfifo(plant / "millwatch.toml")

    told = only(check_settings(plant / "millwatch.toml", {})[1]).what

    assert (
        told
        == "the configuration file named by --config cannot be read: it is not an ordinary file"
    )
    assert "Is a directory" in only(check_settings(plant, {})[1]).what


@pytest.mark.parametrize(
    ("variable", "remedy"),
    [
        ("MILLWATCH_INTAKE_QUIET_SECONDS", "MILLWATCH_INTAKE__QUIET_SECONDS"),
        ("MILLWATCH_STATEDIR", "MILLWATCH_STATE_DIR"),
        ("MILLWATCH_web__port", "MILLWATCH_WEB__PORT"),
        ("MILLWATCH_WEB", "MILLWATCH_WEB__ENABLED"),
        ("MILLWATCH_CAMERAS__0__NAME", "in the configuration file"),
        ("MILLWATCH_CAMERAS", "in the configuration file"),
        ("MILLWATCH_", "Unset it"),
    ],
)
def test_a_variable_that_sets_nothing_is_a_problem(variable: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, {variable: "1"})

    problem = only(list(caught.value.problems))
    assert problem.source == f"environment {variable}"
    assert remedy in problem.remedy


def test_the_line_of_a_key_is_found_whatever_stands_around_it() -> None:
    text = '''\
a = """
[not_a_table]
b = 1
"""  # [nor = this]
"c d".e = [ # ]
  "]", '[x]', [
  [1],
]]
[[cameras]]
name = "1"
[[cameras]]
name = "2"
[cameras.inner]
  key = {x = 1}
[ web ]
port = 1'''

    assert key_lines(text) == {
        ("a",): 1,
        ("c d", "e"): 5,
        ("cameras",): 9,
        ("cameras", 0): 9,
        ("cameras", 0, "name"): 10,
        ("cameras", 1): 11,
        ("cameras", 1, "name"): 12,
        ("cameras", 1, "inner"): 13,
        ("cameras", 1, "inner", "key"): 14,
        ("web",): 15,
        ("web", "port"): 16,
    }


@given(st.text(alphabet="[]{}=\"'#\n\\.,a1 \x00é"))
def test_no_text_can_make_checking_a_file_fail(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "m.toml"
        file.write_text(text)
        check_settings(file, {"MILLWATCH_STATE_DIR": folder})
