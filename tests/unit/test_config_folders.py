import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from filesystems import bound
from plants import HEAD, NOBODY, check, only, settings

from config.folders import folder_problems
from config.loading import check_settings
from config.settings import Settings


@pytest.mark.parametrize(
    ("folders", "review", "state", "keys"),
    [
        (["cameras/a", "cameras/a"], "review", "state", ["cameras[2].folder"]),
        (["cameras", "cameras/b"], "review", "state", ["cameras[2].folder"]),
        (["cameras/b", "cameras"], "review", "state", ["cameras[2].folder"]),
        (["review"], "review", "state", ["cameras[1].folder"]),
        (["review/x"], "review", "state", ["cameras[1].folder"]),
        (["state"], "review", "state", ["cameras[1].folder"]),
        (["state/x"], "review", "state", ["cameras[1].folder"]),
        (["state/archive/c1"], "review", "state", ["cameras[1].folder"]),
        (["state/review/x"], "state/review", "state", ["cameras[1].folder"]),
        (["cameras/a"], "cameras/a/review", "state", ["review.folder"]),
        (["cameras/a"], "review", "cameras/a/state", ["state_dir"]),
        (["cameras/a"], "cameras/a/r", "cameras/a/s", ["state_dir", "review.folder"]),
        (["cameras/a"], "cameras/a/s/r", "cameras/a/s", ["state_dir"]),
        (["cameras/a"], "state", "state", ["review.folder"]),
        (["cameras/a"], "state/archive", "state", ["review.folder"]),
        (["cameras/a"], "state/quarantine/x", "state", ["review.folder"]),
        (["cameras/a"], "state/models", "state", ["review.folder"]),
        (["cameras/a"], "state/runs/x", "state", ["review.folder"]),
        (["cameras/a"], "state/backups", "state", ["review.folder"]),
        (["cameras/a"], "review", "review/state", ["review.folder"]),
        (["cameras/a", "cameras/b"], "state/review", "state", []),
    ],
)
def test_folders_that_overlap_are_named_once(
    plant: Path, folders: list[str], review: str, state: str, keys: list[str]
) -> None:
    for folder in (*folders, review, state):
        (plant / folder).mkdir(parents=True, exist_ok=True)

    problems = folder_problems(settings(plant, *folders, review=review, state=state))

    assert sorted(problem.key for problem in problems) == sorted(keys)


def test_links_do_not_hide_that_two_cameras_share_a_folder(plant: Path) -> None:
    (plant / "link").symlink_to(plant / "cameras/a")

    problem = only(folder_problems(settings(plant, "cameras/a", "link")))

    assert "is the same as" in problem.what


@pytest.mark.parametrize("around", ["", "other"])
def test_a_camera_folder_that_is_mounted_from_within_another_ones_is_found(
    plant: Path, around: str
) -> None:
    for folder in ("cameras/a/b/c", "part", "other"):
        (plant / folder).mkdir(parents=True)
    with ExitStack() as mounted:
        mounted.enter_context(bound(plant / "cameras/a/b", at=plant / "part"))
        if around:
            mounted.enter_context(bound(plant / "cameras", at=plant / around))
        problem = only(folder_problems(settings(plant, f"{around or 'cameras'}/a", "part/c")))
    assert (problem.key, problem.again_helps) == ("cameras[2].folder", False)
    assert "is inside" in problem.what


def test_an_archive_that_is_linked_into_a_drop_folder_is_found(plant: Path) -> None:
    (plant / "cameras/a/old").mkdir()
    (plant / "state/archive").symlink_to(plant / "cameras/a/old")

    problem = only(folder_problems(settings(plant, "cameras/a")))

    assert problem.key == "state_dir"


def test_two_cameras_of_one_name_are_refused_with_the_line_of_the_first(plant: Path) -> None:
    text = HEAD + '[[cameras]]\nname = "a"\nfolder = "$P/cameras/a"\n'
    text += '[[cameras]]\nname = "a"\nfolder = "$P/cameras/b"\n'

    problem = only(check(plant, text))

    assert (problem.line, problem.key) == (7, "cameras[2].name")
    assert "line 4" in problem.what


def test_what_is_wrong_with_a_folder_is_said_once_however_many_cameras_name_it(plant: Path) -> None:
    (plant / "review/in").mkdir()

    problems = folder_problems(settings(plant, "review/in", "review/in"))

    assert [problem.key for problem in problems] == ["cameras[1].folder", "cameras[2].folder"]


@pytest.mark.parametrize("folder", ["cameras/a", "review"])
def test_a_database_where_others_move_files_is_refused(plant: Path, folder: str) -> None:
    text = HEAD + f"database_url = 'sqlite:///$P/{folder}/m.db'\n"
    text += '[[cameras]]\nname = "a"\nfolder = "$P/cameras/a"\n'

    assert (only(check(plant, text)).line, only(check(plant, text)).key) == (3, "database_url")


def test_a_database_that_is_a_link_to_a_disk_that_is_away_is_told(plant: Path) -> None:
    (plant / "m.db").symlink_to(plant / "ssd/m.db")
    text = HEAD + "database_url = 'sqlite:///$P/m.db'\n"

    problem = only(check(plant, text))

    assert (problem.line, problem.key, problem.again_helps) == (3, "database_url", True)
    assert "is a link to" in problem.what
    (plant / "ssd").mkdir()
    assert check(plant, text) == []


def test_a_missing_camera_folder_may_be_there_another_time(plant: Path) -> None:
    problem = only(folder_problems(settings(plant, "cameras/gone")))

    assert "does not exist" in problem.what
    assert problem.again_helps


@pytest.mark.parametrize("place", ["cameras/a", "review", "state", "model", "database"])
def test_a_file_where_a_folder_should_be_is_refused(plant: Path, place: str) -> None:
    (plant / place).rmdir() if (plant / place).exists() else None
    (plant / place).write_text("")
    text = HEAD + "database_url = 'sqlite:///$P/database/m.db'\nmodel.folder = '$P/model'\n"
    text += '[[cameras]]\nname = "a"\nfolder = "$P/cameras/a"\n'
    if place != "model":
        (plant / "model").mkdir()

    problem = only(check(plant, text))

    assert "is not a folder" in problem.what
    assert not problem.again_helps


def test_folders_that_millwatch_makes_itself_need_not_exist(plant: Path) -> None:
    assert folder_problems(Settings(state_dir=plant / "new/state")) == []
    assert not (plant / "new").exists()


def test_a_state_folder_that_cannot_be_made_is_refused_even_to_root() -> None:
    problem = only(check_settings(None, {"MILLWATCH_STATE_DIR": "/proc/millwatch"})[1])

    assert problem.source == "environment MILLWATCH_STATE_DIR"
    assert "cannot make it in /proc" in problem.what


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Permission bits bind everyone but root, and tests often run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("closed", "mode", "key"),
    [
        ("cameras/a", 0o555, "cameras[1].folder"),
        ("cameras/a", 0o333, "cameras[1].folder"),
        ("cameras/a", 0o666, "cameras[1].folder"),
        ("cameras", 0o000, "cameras[1].folder"),
        ("review", 0o555, "review.folder"),
        ("state", 0o555, "state_dir"),
        ("state/archive", 0o555, "state_dir"),
        ("new", 0o555, "database_url"),
    ],
)
def test_a_folder_that_the_user_may_not_use_is_refused(closed: str, mode: int, key: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        plant = Path(temporary)
        for folder in ("", "cameras/a", "review", "state/archive", "new"):
            (plant / folder).mkdir(parents=True, exist_ok=True)
        for path in (plant, *plant.rglob("*")):
            path.chmod(0o777)
        (plant / closed).chmod(mode)
        url = f"sqlite:///{plant}/new/db/m.db"
        try:
            with as_ordinary_user():
                asked = settings(plant, "cameras/a").model_copy(update={"database_url": url})
                problem = only(folder_problems(asked))
        finally:
            (plant / closed).chmod(0o777)

    assert problem.key == key
    assert "user" in problem.remedy or "user" in problem.what


def read_only(folder: Path) -> bool:
    commands = (
        ["mount", "--bind", str(folder), str(folder)],
        ["mount", "-o", "remount,bind,ro", str(folder)],
    )
    return all(
        subprocess.run(each, capture_output=True, check=False).returncode == 0 for each in commands
    )


@pytest.mark.parametrize("place", ["cameras/a", "review", "state"])
def test_a_folder_that_is_mounted_read_only_is_refused_even_to_root(
    plant: Path, place: str
) -> None:
    if not read_only(plant / place):
        subprocess.run(["umount", plant / place], capture_output=True, check=False)
        pytest.skip("mounting is not allowed here")
    try:
        problem = only(folder_problems(settings(plant, "cameras/a")))
    finally:
        subprocess.run(["umount", plant / place], check=True)

    assert "mounted read-only" in problem.what
    assert not problem.again_helps, "so systemd lets a service see what its unit does not name"
