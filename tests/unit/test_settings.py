import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from config.loading import load_settings
from config.problems import ConfigurationError
from config.settings import Batching, Camera, Intake, Policy, Retraining, Review, Settings
from config.wording import table_model
from daemon.review.labelling import may_be_class

DESIGN = """
state_dir = "/var/lib/millwatch"
database_url = "sqlite:////var/lib/millwatch/millwatch.db"
time_zone = "UTC"
[[cameras]]
name = "top-1"
folder = "/srv/cameras/top-1"
watch = "auto"
[intake]
quiet_seconds = 2.0
give_up_seconds = 60.0
rescan_seconds = 10.0
[review]
folder = "/srv/review"
[batching]
max_images = 32
[model]
runtime = "auto"
[policy]
normal_classes = ["no_defect"]
on_pass = "archive"
max_missed_defect_rate = 0.005
[retraining]
schedule = "0 3 * * *"
min_new_labels = 50
[web]
enabled = true
host = "127.0.0.1"
port = 8470
"""
"""The configuration as it was designed, whole."""
EXAMPLE = Path(__file__).parents[2] / "config" / "millwatch.example.toml"


def keys_of(model: type[BaseModel], table: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        inner = table_model(field)
        if inner is None:
            yield table, name
        else:
            yield from keys_of(inner, name)


def test_every_key_stands_in_the_example_file_below_its_own_table() -> None:
    found: set[tuple[str, str]] = set()
    table = ""
    for line in EXAMPLE.read_text().splitlines():
        if header := re.fullmatch(r"(?:# )?\[+(\w+)\]+", line):
            table = header[1]
        elif key := re.match(r"(?:# )?(\w+) = ", line):
            found.add((table, key[1]))

    assert found == set(keys_of(Settings))


def test_the_example_file_says_the_defaults_and_shows_one_camera() -> None:
    shown = load_settings(EXAMPLE, {})

    assert len(shown.cameras) == 1
    assert shown.model_copy(update={"cameras": ()}) == Settings()


def test_the_lines_that_the_example_comments_out_say_what_is_derived(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    text = text.replace("# database_url", "database_url")
    text = text.replace('# folder = "/var', 'folder = "/var')
    file = tmp_path / "all.toml"
    file.write_text(text)

    spelled_out = load_settings(file, {})

    assert spelled_out.database_url == f"sqlite:///{Settings().database_file}"
    assert spelled_out.database_file == Settings().database_file
    assert spelled_out.review_folder == Settings().review_folder


def test_every_key_of_the_design_has_the_design_s_default_but_for_two(tmp_path: Path) -> None:
    file = tmp_path / "design.toml"
    file.write_text(DESIGN)
    design, defaults = load_settings(file, {}), Settings()

    assert design.database_url == f"sqlite:///{defaults.database_file}"
    assert design.cameras == (Camera(name="top-1", folder=Path("/srv/cameras/top-1")),)
    assert design == Settings(
        database_url=design.database_url,
        cameras=design.cameras,
        # By default below state_dir, which is there on every machine.
        review=Review(folder=Path("/srv/review")),
        # A backlog is drained faster in batches of up to 128, and an idle line has none to fill.
        batching=Batching(max_images=32),
    )
    assert defaults.batching.max_images == 128
    assert defaults.archive_folder == Path("/var/lib/millwatch/archive")
    assert defaults.quarantine_folder == Path("/var/lib/millwatch/quarantine")


def test_every_key_says_what_it_is_for() -> None:
    models: list[type[BaseModel]] = [Settings]
    models += filter(None, map(table_model, Settings.model_fields.values()))
    silent = [
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not field.description
    ]

    assert silent == []


def test_settings_cannot_change_while_the_daemon_runs() -> None:
    with pytest.raises(ValidationError):
        Settings().intake.quiet_seconds = 0.0  # type: ignore[misc]  # that it is refused is the point


def test_the_review_folder_and_the_database_follow_state_dir(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)

    assert settings.review_folder == tmp_path / "review"
    assert settings.database_file == tmp_path / "millwatch.db"
    assert Settings(review=Review(folder=tmp_path / "r")).review_folder == tmp_path / "r"


def test_a_file_is_read_and_keys_it_leaves_out_have_their_defaults(tmp_path: Path) -> None:
    file = tmp_path / "millwatch.toml"
    file.write_bytes(b"\xef\xbb\xbf[intake]\r\nquiet_seconds = 1\r\nextensions = ['.PNG']\r\n")

    settings = load_settings(file, {})

    assert settings.intake == Intake(quiet_seconds=1.0, extensions=(".png",))
    assert settings.batching == Batching()


def test_without_a_file_the_variable_names_one_and_without_that_the_defaults_hold(
    tmp_path: Path,
) -> None:
    file = tmp_path / "named.toml"
    file.write_text("batching.max_images = 7\n")

    assert load_settings(None, {"MILLWATCH_CONFIG": str(file)}).batching.max_images == 7
    assert load_settings(None, {"PATH": "/bin"}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("MILLWATCH_STATE_DIR", "/srv/état", {"state_dir": Path("/srv/état")}),
        ("MILLWATCH_INTAKE__QUIET_SECONDS", "0.5", {"intake": {"quiet_seconds": 0.5}}),
        ("MILLWATCH_INTAKE__EXTENSIONS", '[".raw"]', {"intake": {"extensions": (".raw",)}}),
        ("MILLWATCH_INTAKE__MARKER_SUFFIX", ".done", {"intake": {"marker_suffix": ".done"}}),
        ("MILLWATCH_INTAKE__MARKER_SUFFIX", "", {"intake": {"marker_suffix": ""}}),
        ("MILLWATCH_WEB__ENABLED", "false", {"web": {"enabled": False}}),
        ("MILLWATCH_WEB__HOST", "127.0.0.1", {"web": {"host": "127.0.0.1"}}),
        ("MILLWATCH_RETRAINING__SCHEDULE", "0 4 * * *", {"retraining": {"schedule": "0 4 * * *"}}),
    ],
)
def test_a_variable_wins_over_the_file(
    tmp_path: Path, variable: str, value: str, expected: Mapping[str, Any]
) -> None:
    file = tmp_path / "millwatch.toml"
    file.write_text('state_dir = "/srv/other"\n[intake]\nquiet_seconds = 3\n[web]\nport = 99\n')
    base = tomllib.loads(file.read_text())

    settings = load_settings(file, {variable: value})

    merged = {**base, **{key: item for key, item in expected.items() if key == "state_dir"}}
    for table, keys in expected.items():
        if table != "state_dir":
            merged[table] = {**base.get(table, {}), **keys}
    assert settings == Settings.model_validate(merged)


def test_a_variable_is_one_value_and_cannot_smuggle_in_a_second_key() -> None:
    with pytest.raises(ConfigurationError, match=r"quiet_seconds.*must be a number"):
        load_settings(None, {"MILLWATCH_INTAKE__QUIET_SECONDS": "1\nother = 2"})


def test_a_folder_whose_name_is_not_utf8_can_be_set(tmp_path: Path) -> None:
    assert load_settings(None, {"MILLWATCH_STATE_DIR": "/srv/\udcff"}).state_dir == Path(
        "/srv/\udcff"
    )
    assert Camera(name="a", folder=tmp_path / "\udcff").folder.name == "\udcff"


@pytest.mark.parametrize("key", ["state_dir", "database_url"])
def test_a_name_that_no_disk_can_have_is_refused(key: str) -> None:
    start = {"state_dir": "/srv/", "database_url": "sqlite:////srv/"}[key]
    Settings.model_validate({key: start + "ß" * 127})
    with pytest.raises(ValidationError, match="more than 255 bytes"):
        Settings.model_validate({key: start + "ß" * 128})


@pytest.mark.parametrize("ignored", [["*.png"], ["*.png", "*.tif*"], ["image*", "[!x]*"], []])
def test_patterns_that_leave_some_images_are_accepted(ignored: list[str]) -> None:
    kept = Intake(extensions=(".png", ".tiff"), ignore=tuple(ignored))
    assert kept.ignore == tuple(ignored)


@pytest.mark.parametrize("name", ["top-1", "A", "9.b_c", "x" * 64])
def test_a_short_plain_camera_name_is_accepted(name: str) -> None:
    assert Camera(name=name, folder=Path("/srv/a")).name == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "ä", "a/b", "a__b", "a_", "x" * 65, "a\n"])
def test_a_camera_name_that_would_spoil_a_file_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="camera name"):
        Camera(name=name, folder=Path("/srv/a"))


@pytest.mark.parametrize(
    "schedule", ["0 3 * * *", "*/15 * * * *", "0 6,14,22 * * 1-5", "5 0 1 */3 7"]
)
def test_a_cron_schedule_is_accepted(schedule: str) -> None:
    assert Retraining(schedule=schedule).schedule == schedule


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "0 3 * *",
        "60 3 * * *",
        "0 3 0 * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "@daily",
        "0 */24 * * *",
    ],
)
def test_what_is_no_cron_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ValidationError, match="schedule"):
        Retraining(schedule=schedule)


@pytest.mark.parametrize(
    "name", ["no_defect", "rolled in", "ß" * 64, "unknown", "x" * 65, "a\0b", " a", "", ".a", "a/b"]
)
def test_what_may_pass_is_what_images_can_be_labelled_as(name: str) -> None:
    try:
        Policy(normal_classes=(name,))
    except ValidationError:
        assert not may_be_class(name)
    else:
        assert may_be_class(name)
