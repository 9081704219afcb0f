"""The watch alone, on a real folder."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builders import wait_until

from daemon.intake.watching import FolderWatch

RENAMED = 20
HELD_BACK_SECONDS = 0.5
"""By watchdog, of all that comes behind a file that was renamed away, until it knows where to."""


@contextmanager
def heard_in(folder: Path) -> Iterator[dict[str, bool]]:
    """Each name of which the watch tells, and whether its writer is done at last."""
    heard: dict[str, bool] = {}
    lock = threading.Lock()

    def hint(path: str, done: bool) -> None:
        with lock:
            heard[path] = heard.get(path, False) or done

    watch = FolderWatch(folder, hint)
    try:
        yield heard
    finally:
        watch.stop()


def test_what_is_renamed_away_holds_back_nothing_that_comes_after_it(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "drop", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    for number in range(RENAMED):
        (folder / f"old-{number}").write_bytes(b"x")
    held_back = 0
    with heard_in(folder) as heard:
        for number in range(RENAMED):
            (folder / f"old-{number}").rename(elsewhere / f"old-{number}")
            (folder / f"new-{number}").write_bytes(b"x")
            start = time.monotonic()
            wait_until(lambda name=f"new-{number}": heard.get(name), every=0.001)
            held_back += time.monotonic() - start > 0.8 * HELD_BACK_SECONDS
    # A busy machine may be late as well, now and then.
    assert held_back < RENAMED / 2


def test_a_file_that_is_renamed_within_the_folder_or_into_it_is_told_by_its_new_name(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "drop"
    (folder / "below").mkdir(parents=True)
    (folder / "first").write_bytes(b"x")
    (tmp_path / "outside").write_bytes(b"x")
    with heard_in(folder) as heard:
        (folder / "first").rename(folder / "second")
        (tmp_path / "outside").rename(folder / "below" / "third")
        wait_until(lambda: heard.get("second") and heard.get("below/third"))
        assert "first" not in heard
