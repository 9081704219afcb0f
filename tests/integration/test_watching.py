"""Events are hints, the folder is the truth (rows 27, 29, 30 and 40)."""

import os
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from builders import Station, assert_every_image_accounted_for, surface_file, wait_until

SLOW_SCAN = {"quiet_seconds": 3000.0, "give_up_seconds": 3000.0, "rescan_seconds": 0.3}
"""What no event announces as complete is never judged: so what is judged was announced."""


@pytest.fixture
def by_events_only(tmp_path: Path, model: Path) -> Station:
    return Station(root=tmp_path, model=model, tables={"intake": SLOW_SCAN})


def drop_until_announced(station: Station, first: int, *, inside: str = "") -> None:
    """The new watch is armed by the next rescan: deliver until an event was heard."""
    numbers = iter(range(first, first + 10_000))
    before = station.count()

    def heard() -> bool:
        number = next(numbers)
        station.drop("top-1", f"{inside}{number}.jpg", surface_file(seed=number % 50))
        return station.count() > before

    wait_until(heard, what="an event of the new folder")


def finish_by_scan(station: Station) -> None:
    """Restart with a short quiet time, so that what came while no watch was armed is judged too."""
    station.tables = {"intake": {"quiet_seconds": 0.1, "rescan_seconds": 0.3}}
    station.write_config()
    with station.running():
        station.wait_for_images(sum(len(each) for each in station.dropped.values()))
    assert_every_image_accounted_for(station)


@pytest.mark.fault(27)
def test_a_drop_folder_that_is_deleted_and_made_again_is_watched_again(
    by_events_only: Station,
) -> None:
    station = by_events_only
    folder = station.folder("top-1")
    with station.running():
        station.drop("top-1", "before.jpg", surface_file(seed=1))
        station.wait_for_images(1)
        shutil.rmtree(folder)
        wait_until(lambda: "camera top-1" in station.troubles(), what="its absence is told")
        assert station.status()["cameras"][0]["watching"] == "lost"
        folder.mkdir()
        drop_until_announced(station, first=100)
        wait_until(lambda: station.troubles() == {}, what="mended")
    finish_by_scan(station)


@pytest.mark.fault(27)
def test_a_drop_folder_that_is_renamed_and_replaced_is_watched_in_its_new_place(
    by_events_only: Station,
) -> None:
    station = by_events_only
    folder = station.folder("top-1")
    with station.running():
        station.drop("top-1", "before.jpg", surface_file(seed=1))
        station.wait_for_images(1)
        folder.rename(station.root / "cameras-old")
        folder.mkdir()
        drop_until_announced(station, first=100)
        (station.root / "cameras-old" / "stranger.jpg").write_bytes(surface_file(seed=2))
        drop_until_announced(station, first=200)
    shutil.rmtree(station.root / "cameras-old")
    finish_by_scan(station)


@pytest.mark.fault(27)
def test_a_drop_folder_that_became_a_link_to_itself_is_told_and_watched_when_it_is_back(
    station: Station,
) -> None:
    folder = station.folder("top-1")
    aside = station.root / "aside"
    with station.running():
        station.drop("top-1", "before.jpg", surface_file(seed=1))
        station.wait_for_images(1)
        folder.rename(aside)
        folder.symlink_to(folder)
        wait_until(lambda: "camera top-1" in station.troubles(), what="the loop is told")
        assert str(folder) in station.troubles()["camera top-1"]
        station.drop("bottom-1", "meanwhile.jpg", surface_file(seed=2))
        station.wait_for_images(2)
        assert station.status()["cameras"][0]["watching"] == "lost"
        data = surface_file(seed=3)
        (aside / "inside.jpg").write_bytes(data)
        station.expect("top-1", "inside.jpg", data)
        folder.unlink()
        aside.rename(folder)
        station.wait_for_images(3)
        wait_until(lambda: station.troubles() == {}, what="mended")
        assert station.status()["cameras"][0]["watching"] == "inotify"
    assert_every_image_accounted_for(station)


@pytest.mark.fault(27)
def test_a_drop_folder_that_is_a_link_is_heard_like_any_other(by_events_only: Station) -> None:
    """As one is that lies on a larger disk, or became one while the service runs."""
    station = by_events_only
    folder = station.folder("top-1")
    for name in ("disk-1", "disk-2"):
        (station.root / name).mkdir()
    folder.rmdir()
    folder.symlink_to(station.root / "disk-1")
    with station.running():
        drop_until_announced(station, first=100)
        station.wait_for_images(1)
        spare = station.root / "spare"
        spare.symlink_to(station.root / "disk-2")
        spare.rename(folder)
        drop_until_announced(station, first=200)
        drop_until_announced(station, first=300, inside="day-1/")
    folder.unlink()
    (station.root / "disk-2").rename(folder)
    for left in (station.root / "disk-1").glob("*.jpg"):
        left.rename(folder / left.name)
    finish_by_scan(station)


@pytest.mark.fault(28)
def test_a_share_that_took_anothers_place_is_told_no_longer_when_images_come(
    station: Station,
) -> None:
    """An image that an event announces is moved before a scan could find it."""
    folder = station.folder("top-1")
    with station.running():
        station.drop("top-1", "before.jpg", surface_file(seed=1))
        station.wait_for_images(1)
        folder.rmdir()
        (station.root / "another").mkdir()
        folder.symlink_to(station.root / "another")
        wait_until(lambda: "mount top-1" in station.troubles(), what="another folder is told")
        rescans = station.status()["cameras"][0]["rescans"]
        wait_until(lambda: station.status()["cameras"][0]["rescans"] > rescans)
        assert "mount top-1" in station.troubles()
        station.drop("top-1", "after.jpg", surface_file(seed=2))
        station.wait_for_images(2)
        wait_until(lambda: station.troubles() == {}, what="mended")
    assert_every_image_accounted_for(station)


@pytest.mark.fault(19)
def test_subfolders_that_come_and_go_are_watched(by_events_only: Station) -> None:
    station = by_events_only
    with station.running():
        for number in range(4):
            drop_until_announced(station, first=100 * number, inside=f"day-{number}/shift/")
    finish_by_scan(station)


@pytest.mark.fault(29)
@pytest.mark.parametrize("watch", ["polling", "inotify", "auto"])
def test_images_that_no_event_announces_are_found_by_the_rescan(
    tmp_path: Path, model: Path, watch: str
) -> None:
    station = Station(root=tmp_path, model=model, watch=watch)
    with station.running():
        for number in range(6):
            station.drop_unannounced("top-1", f"{number}.jpg", surface_file(seed=number))
        station.wait_for_images(6)
        expected = "polling" if watch == "polling" else "inotify"
        assert station.status()["cameras"][0]["watching"] == expected
    assert_every_image_accounted_for(station)


@pytest.mark.fault(29)
def test_an_overflow_of_the_event_queue_loses_no_image(station: Station) -> None:
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if queue > 100_000:
        pytest.skip(f"fs.inotify.max_queued_events is {queue}: too many to overflow in a test")
    noise = [station.folder("top-1") / name for name in ("a.tmp", "b.tmp")]
    with station.process() as process:
        station.drop_surfaces(2)
        station.wait_for_images(2)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # until then it takes events from the queue
        for number in range(queue + 100):  # by turns: the kernel joins equal events
            noise[number % 2].open("wb").close()
        station.drop_surfaces(20, first=2)
        process.send_signal(signal.SIGCONT)
        station.wait_for_images(22)
        # The rescan may have found the images before all of the queue is read.
        wait_until(lambda: station.status()["cameras"][0]["overflows"] >= 1)
        cameras = station.status()["cameras"]
        assert (cameras[0]["watching"], cameras[1]["overflows"]) == ("inotify", 0)
    assert "overflow" in (station.root / "daemon.log").read_text().lower()
    for path in noise:
        path.unlink()
    assert_every_image_accounted_for(station)


@pytest.mark.fault(29)
@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
def test_without_inotify_watches_the_folder_is_polled_and_the_sysctl_named(
    station: Station, limit: str
) -> None:
    shell = f'echo 0 > /proc/sys/user/{limit} && exec "$@"'
    wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", shell, "sh"]
    if subprocess.run([*wrapper, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("user namespaces are not allowed here")
    with station.process(wrapper=wrapper):
        station.drop_surfaces(4)
        station.wait_for_images(4)
        assert {camera["watching"] for camera in station.status()["cameras"]} == {"polling"}
        assert "sysctl" in station.troubles()["watch top-1"]
    assert_every_image_accounted_for(station)


@pytest.mark.fault(29)
def test_a_subfolder_for_which_no_watch_is_left_is_polled_until_there_is_one(
    station: Station,
) -> None:
    """A camera that makes a folder a day comes to the limit while the service runs."""
    shell = 'echo 3 > /proc/sys/user/max_inotify_watches && exec "$@"'
    wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", shell, "sh"]
    if subprocess.run([*wrapper, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("user namespaces are not allowed here")

    def watching() -> str:
        return str(station.status()["cameras"][0]["watching"])

    with station.process(wrapper=wrapper):
        wait_until(lambda: watching() == "inotify")
        for day in ("day-1", "day-2"):
            station.drop("top-1", f"{day}/x.jpg", surface_file(seed=1))
        station.wait_for_images(2)
        wait_until(lambda: watching() == "polling", what="a folder without a watch is noticed")
        assert "max_user_watches" in station.troubles()["watch top-1"]
        (station.folder("top-1") / "day-1").rmdir()
        wait_until(lambda: watching() == "inotify", what="there is a watch for each again")
        wait_until(lambda: station.troubles() == {})
    assert_every_image_accounted_for(station)


@pytest.mark.fault(27)
def test_a_watch_that_was_refused_is_armed_when_it_may_be(station: Station) -> None:
    """`watching` says what is so now, not what was so at the start."""
    shutil.rmtree(station.folder("top-1"))
    with station.running():
        assert station.status()["cameras"][0]["watching"] == "lost"
        station.folder("top-1").mkdir()
        wait_until(lambda: station.status()["cameras"][0]["watching"] == "inotify")
        station.drop_surfaces(2)
        station.wait_for_images(2)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(30)
def test_a_long_backlog_of_one_camera_keeps_no_other_camera_waiting(station: Station) -> None:
    data = surface_file(seed=1)
    for number in range(300):
        station.drop("top-1", f"{number:04d}.jpg", data)
    for number in range(5):
        station.drop("bottom-1", f"{number}.jpg", data)
    with station.running():
        station.wait_for_images(305)
    last = station.query("SELECT max(id) FROM image WHERE camera = 'bottom-1'")[0][0]
    assert last <= 5 * 32, "the other camera was served after the backlog"
    assert_every_image_accounted_for(station)


@pytest.mark.fault(30)
def test_descriptors_threads_and_waiting_files_do_not_grow_with_images(station: Station) -> None:
    def descriptors() -> list[str]:
        """Of this process, those of images: the database's come and go as others read."""
        links = []
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):
                links.append(str(descriptor.readlink()))
        return [link for link in links if link.endswith(".jpg")]

    with station.running():
        station.drop_surfaces(40)
        station.drop("top-1", "bad-1.jpg", b"no picture")
        station.wait_for_images(41)
        threads = threading.active_count()
        station.drop_surfaces(80, first=40)
        station.drop("top-1", "bad-2.jpg", b"no picture")
        station.wait_for_images(122)
        wait_until(lambda: not descriptors(), what="no descriptor is left open")
        wait_until(lambda: threading.active_count() <= threads, what="no thread is left over")
        wait_until(lambda: all(c["waiting"] == 0 for c in station.status()["cameras"]))
    assert_every_image_accounted_for(station)
