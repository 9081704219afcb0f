import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.flushing import Flusher, fsync_folder


@pytest.fixture
def flusher() -> Iterator[Flusher]:
    flusher = Flusher()
    yield flusher
    flusher.close(seconds=10)


@pytest.mark.parametrize("count", [0, 1, 2, 130])
def test_each_is_flushed_once_however_many_there_are(flusher: Flusher, count: int) -> None:
    flushed: list[int] = []
    assert flusher.each(range(count), flushed.append) == {}
    assert sorted(flushed) == list(range(count))


def test_a_folder_that_is_gone_is_told_and_the_others_are_flushed(
    flusher: Flusher, tmp_path: Path
) -> None:
    folders = [tmp_path / str(number) for number in range(9)]
    for folder in folders[:5] + folders[6:]:
        folder.mkdir()
    failed = flusher.each(folders, fsync_folder)
    assert list(failed) == [folders[5]]
    assert isinstance(failed[folders[5]], FileNotFoundError)


@pytest.mark.fault(28)
def test_where_one_camera_s_share_hangs_another_s_files_are_flushed(flusher: Flusher) -> None:
    go_on, hanging = threading.Event(), threading.Barrier(5)

    def hang(_: int) -> None:
        hanging.wait(60)
        go_on.wait(60)

    camera = threading.Thread(target=flusher.each, args=(range(4), hang))
    camera.start()
    hanging.wait(60)  # every helper, and the camera's own thread
    flushed: list[int] = []
    assert flusher.each(range(10), flushed.append) == {}
    assert sorted(flushed) == list(range(10))
    go_on.set()
    camera.join(60)
    assert not camera.is_alive()
