"""Images that are pushed while the share of a drop folder hangs, and what a kill leaves of them."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from builders import Station, clean_environment, wait_until
from composed import by_hand
from filesystems import hanging, unmount_lazily

from daemon.files.shares import Share, SilentError
from daemon.intake.pushed import partial_name
from daemon.web.api.uploads import StalledError, UnsureError, deliver

_KILLED_MIDWAY = """
import asyncio, os, pathlib, signal, sys
from daemon.files.shares import Share
from daemon.web.api.uploads import deliver
async def chunks():
    yield b"the first half"
    os.kill(os.getpid(), signal.SIGKILL)
target = pathlib.Path(sys.argv[1])
share = Share("the drop folder", target.parent)
asyncio.run(deliver(share, target, chunks(), most_bytes=100, marker_suffix=""))
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "top-1").mkdir()
    return tmp_path / "top-1" / "a.jpg"


def push(
    target: Path, *, halfway: Callable[[], object] = lambda: None, stalls: bool = False
) -> None:
    """As the page's loop does it, which would never come back where it waits for the share itself."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"half"
        halfway()
        if stalls:
            await asyncio.Event().wait()
        yield b"half"

    async def pushing() -> None:
        share = Share("the drop folder", target.parent)
        await deliver(share, target, chunks(), most_bytes=8, marker_suffix=".done", seconds=0.3)

    with ThreadPoolExecutor(
        1
    ) as apart:  # a browser of other tests may have its loop in this thread
        apart.submit(asyncio.run, pushing()).result()


def names_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def test_a_pushed_image_is_there_whole_with_its_marker_and_nothing_else(target: Path) -> None:
    push(target)
    assert target.read_bytes() == b"halfhalf"
    assert names_in(target.parent) == {"a.jpg", "a.jpg.done"}


@pytest.mark.fault(28)
def test_an_upload_to_a_share_that_hangs_is_refused_and_leaves_nothing(target: Path) -> None:
    with hanging(target.parent), pytest.raises(SilentError, match="the drop folder"):
        push(target)
    wait_until(lambda: names_in(target.parent) == set())


def test_an_upload_whose_sender_stalls_ends_and_leaves_nothing(target: Path) -> None:
    with pytest.raises(StalledError, match="no more of the image has come"):
        push(target, stalls=True)
    assert names_in(target.parent) == set()


@pytest.mark.fault(28)
def test_of_an_upload_whose_share_hangs_at_its_end_it_is_not_said_that_it_failed(
    target: Path,
) -> None:
    def hang() -> None:
        until.enter_context(hanging(target.parent))
        until.callback(unmount_lazily, target.parent)  # before what hangs in it ends

    with ExitStack() as until, pytest.raises(UnsureError, match="the drop folder"):
        push(target, halfway=hang)
    wait_until(lambda: names_in(target.parent) <= {"a.jpg", "a.jpg.done"})


@pytest.mark.fault(3)
def test_what_a_kill_left_of_an_upload_goes_at_the_next_start_and_no_file_of_a_camera(
    station: Station,
) -> None:
    folder = station.folder("top-1")
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", _KILLED_MIDWAY, str(folder / "a.jpg")]
    killed = subprocess.run(command, check=False, env=clean_environment(), capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (left,) = names_in(folder)
    cameras = {".a.jpg.part", ".upload-a.jpg.part", "b.part"}
    for name in cameras:
        (folder / name).write_bytes(b"a camera writes this")
    underway = folder / partial_name()
    underway.write_bytes(b"pushed just now")
    with by_hand(station.settings()) as line:
        line.scan()
        assert names_in(folder) == {*cameras, underway.name}
        assert left not in cameras
