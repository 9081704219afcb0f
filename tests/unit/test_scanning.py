import os
import shutil
import tracemalloc
from pathlib import Path

import pytest
from builders import wait_until
from filesystems import obeying_permissions

from daemon.intake.names import NameRule
from daemon.intake.scanning import scan
from daemon.intake.watching import FolderWatch

RULE = NameRule(extensions=(".jpg",), ignore=(".*", "*.tmp", "@eaDir"))


def found(folder: Path) -> tuple[set[str], list[OSError]]:
    errors: list[OSError] = []
    return {name for name, _ in scan(folder, RULE, on_error=errors.append)}, errors


def test_images_are_found_at_any_depth_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("a.jpg", "b/c.JPG", "b/d.jpg/e.jpg", "@eaDir/f.jpg", ".g/h.jpg", "i.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert found(tmp_path) == ({"a.jpg", "b/c.JPG", "b/d.jpg/e.jpg"}, [])


def test_a_folder_that_cannot_be_read_is_told_and_passed_over(tmp_path: Path) -> None:
    for name in ("a.jpg", "closed/b.jpg", "c/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "closed").chmod(0o000)
    with obeying_permissions():
        names, errors = found(tmp_path)
    assert names == {"a.jpg", "c/d.jpg"}
    assert [error.filename for error in errors] == [str(tmp_path / "closed")]


def test_a_file_that_cannot_be_looked_at_is_told_and_the_others_are_found(tmp_path: Path) -> None:
    """A folder that may be listed but not entered: each of its names is there, none has a status."""
    (tmp_path / "listed").mkdir()
    for name in ("listed/a.jpg", "listed/b.jpg", "c.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "listed").chmod(0o444)
    with obeying_permissions():
        names, errors = found(tmp_path)
    assert names == {"c.jpg"}
    assert len(errors) == 2


def test_a_missing_drop_folder_is_an_error_and_no_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        found(tmp_path / "missing")


@pytest.mark.fault(30)
def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").touch()
    for number in range(5000):
        os.link(tmp_path / "x.jpg", tmp_path / f"{number:05d}-{'long' * 20}.jpg")
    tracemalloc.start()
    count = sum(1 for _ in scan(tmp_path, RULE, on_error=lambda _: None))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 5001
    assert peak < 200_000


def test_a_watch_tells_what_is_closed_and_what_is_renamed_into_place(tmp_path: Path) -> None:
    heard: set[tuple[str, bool]] = set()
    watch = FolderWatch(tmp_path, lambda name, closed: heard.add((name, closed)))
    (tmp_path / "written.jpg").write_bytes(b"x")
    (tmp_path / "y.tmp").write_bytes(b"y")
    (tmp_path / "y.tmp").rename(tmp_path / "renamed.jpg")
    wait_until(lambda: {("written.jpg", True), ("renamed.jpg", True)} <= heard)
    assert watch.is_alive()
    watch.stop()
    assert not watch.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_watch_whose_thread_died_is_not_alive(tmp_path: Path) -> None:
    def fail(_: str, __: bool) -> None:
        raise RuntimeError("a defect")

    watch = FolderWatch(tmp_path, fail)
    (tmp_path / "x.jpg").write_bytes(b"x")
    wait_until(lambda: not watch.is_alive())
    watch.stop()


@pytest.mark.fault(27)
def test_a_watch_whose_reader_of_the_kernel_stopped_is_not_alive(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path, lambda _, __: None)
    assert watch.is_alive()
    watch._observer._inotify_fd.stop()
    wait_until(lambda: not watch.is_alive())
    watch.stop()


def test_a_watch_on_a_folder_that_was_deleted_is_not_alive(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    watch = FolderWatch(folder, lambda _, __: None)
    shutil.rmtree(folder)
    wait_until(lambda: not watch.is_alive())
    watch.stop()


def test_no_watch_is_made_and_none_left_half_made_where_there_is_no_folder(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            FolderWatch(tmp_path / "missing", lambda _, __: None)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
