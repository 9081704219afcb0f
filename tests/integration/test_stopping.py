"""Stopped in good order, stopped twice, killed; and two at once (rows 31 and 36)."""

import os
import signal
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from builders import (
    Station,
    assert_every_image_accounted_for,
    stop_process,
    surface_file,
    wait_until,
)
from promoting import kept

from daemon.process.control import SOCKET, NoAnswerError, NoDaemonError
from daemon.process.instance import AlreadyRunningError
from daemon.serving import registry_folder
from models.checkpoint import METADATA

IMAGES = 200


def drop_many(station: Station) -> None:
    data = [surface_file(seed=number) for number in range(10)]
    first = len(station.dropped)
    for number in range(first, first + IMAGES):
        camera = station.cameras[number % 2]
        station.drop(camera, f"{number:04d}.jpg", data[number % 10] + b"%d" % number)


@pytest.mark.fault(1, 36)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopped_amid_two_hundred_images_and_started_again_there_are_two_hundred(
    station: Station, number: signal.Signals
) -> None:
    for _ in range(5):
        before = len(station.dropped)
        drop_many(station)
        with station.process() as process:
            wait_until(
                lambda before=before: station.count() > before + 20, what="some are recorded"
            )
            status = stop_process(process, number)
            assert status == (-number if number is signal.SIGKILL else 0)
        if station.count() < before + IMAGES:
            break
    else:
        pytest.fail("it was stopped too late each time to show anything")
    with station.running():
        station.wait_for_images(before + IMAGES)
    assert station.count() == len(station.files()) == before + IMAGES
    assert_every_image_accounted_for(station)


@pytest.mark.fault(1)
def test_killed_again_and_again_there_are_two_hundred(station: Station) -> None:
    drop_many(station)
    for stop_at in (1, 60, 120):
        with station.process() as process:
            wait_until(lambda stop_at=stop_at: station.count() >= stop_at)
            stop_process(process, signal.SIGKILL)
    with station.running():
        station.wait_for_images(IMAGES)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(36)
def test_a_stop_in_good_order_leaves_nothing_half_done(station: Station) -> None:
    drop_many(station)
    with station.running():
        wait_until(lambda: station.count() > 10)
    assert not station.query("SELECT 1 FROM image WHERE progress = 'pending'")
    recorded = {name for (name,) in station.query("SELECT filename FROM inspections")}
    waiting = {path.name for path in (station.root / "cameras").rglob("*.jpg")}
    assert recorded | waiting == {name for _, name in station.dropped}
    assert not recorded & waiting
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("files of")]


@pytest.mark.fault(36)
def test_a_second_signal_ends_the_process_at_once(station: Station) -> None:
    with station.process() as process:
        process.send_signal(signal.SIGSTOP)  # so that both signals wait for it
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) in (0, -signal.SIGTERM)
    station.drop_surfaces(2)
    with station.running():
        station.wait_for_images(2)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(36)
def test_told_to_stop_while_a_model_is_loaded_the_service_does_not_crash(
    station: Station, commissioned_model: Path
) -> None:
    second = kept(station, commissioned_model, "tiny-7-0")
    metadata = registry_folder(station.settings()) / second / METADATA
    whole = metadata.rename(metadata.with_name("whole"))
    os.mkfifo(metadata)
    with station.process() as process:

        def promote() -> None:
            with suppress(NoDaemonError, NoAnswerError):  # it may end before it answers
                station.ask("models promote", version=second, by="eva")

        asking = threading.Thread(target=promote)
        asking.start()
        with metadata.open("wb") as told:  # it is being loaded
            whole.replace(metadata)
            process.send_signal(signal.SIGTERM)
            log = station.root / "daemon.log"
            wait_until(lambda: not (station.state_dir / SOCKET).exists(), what="it is stopping")
            told.write(metadata.read_bytes())
        assert process.wait(timeout=60) == 0, log.read_text()
        asking.join()
    with station.running():
        assert station.status()["model_version"] == second
        assert station.troubles() == {}


@pytest.mark.fault(31)
def test_a_second_daemon_on_the_same_state_folder_says_so_and_touches_nothing(
    station: Station,
) -> None:
    with station.running():
        with (
            pytest.raises(AlreadyRunningError, match=r"another Millwatch is running"),
            station.running(),
        ):
            pass
        second = station.start()
        assert second.wait(timeout=60) == 1
        assert "another Millwatch is running" in (station.root / "daemon.log").read_text()
        station.drop_surfaces(3)
        station.wait_for_images(3)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(31)
def test_two_daemons_with_one_drop_folder_record_each_image_once_and_the_other_takes_over(
    station: Station, tmp_path: Path, model: Path
) -> None:
    second = Station(root=tmp_path / "second", model=model, cameras=("copied-1",))
    shared = station.folder("top-1")
    second.folder("copied-1").rmdir()
    second.folder("copied-1").symlink_to(shared)
    with ExitStack() as line:
        with second.running():
            line.enter_context(station.process())
            wait_until(lambda: "camera top-1" in station.troubles())
            assert "another Millwatch" in station.troubles()["camera top-1"]
            for number in range(20):
                second.drop("copied-1", f"{number}.jpg", surface_file(seed=number))
            station.drop("bottom-1", "theirs.jpg", surface_file(seed=99))
            second.wait_for_images(20)
            station.wait_for_images(1)
        assert (second.count(), station.count()) == (20, 1)
        station.drop("top-1", "20.jpg", surface_file(seed=20))
        station.wait_for_images(2)
        assert station.troubles() == {}
    assert_every_image_accounted_for(second)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(31)
def test_the_lock_of_a_killed_daemon_keeps_no_other_from_starting(station: Station) -> None:
    with station.process() as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert (station.state_dir / "millwatch.sock").exists()
    with station.running():
        station.drop_surfaces(1)
        station.wait_for_images(1)
    assert_every_image_accounted_for(station)
