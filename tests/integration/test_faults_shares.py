"""A share that is away when the service starts (row 28)."""

from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from builders import (
    Station,
    assert_every_image_accounted_for,
    surface_file,
    wait_until,
)
from filesystems import filesystem, hanging, unmounted
from pages import open_page

from config.mounted import mount_of
from daemon.files.mounts import DROP_FOLDERS, MountMemory


@pytest.mark.fault(28)
def test_a_share_that_is_away_at_the_start_is_told_from_an_idle_camera(
    tmp_path: Path, model: Path, unused_port: int
) -> None:
    web = {"enabled": True, "port": unused_port, "open_on_loopback": True}
    station = Station(root=tmp_path, model=model, tables={"web": web})
    folder = station.folder("top-1")
    with filesystem(folder, size="1m"), station.running():
        station.drop("top-1", "before.jpg", surface_file(seed=1))
        station.wait_for_images(1)
    with station.running():
        told = wait_until(lambda: station.troubles().get("mount top-1"))
        assert "see whether its share is still mounted" in told
        assert "mount bottom-1" not in station.troubles()
        pushed = f"http://127.0.0.1:{unused_port}/api/inspections?camera=top-1&filename=a.jpg"
        answer = httpx.post(pushed, content=surface_file(seed=3))
        assert (answer.status_code, list(folder.iterdir())) == (507, [])
        assert told in answer.json()["detail"]
        with filesystem(folder, size="1m"):
            wait_until(lambda: "mount top-1" not in station.troubles())
            station.drop("top-1", "after.jpg", surface_file(seed=2))
            station.wait_for_images(2)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(28)
def test_nothing_is_put_where_the_share_of_the_review_folder_belongs(station: Station) -> None:
    elsewhere = station.root / "elsewhere"
    elsewhere.mkdir()
    with filesystem(station.review, size="8m"), ExitStack() as away:
        with station.running():
            station.drop("top-1", "before.jpg", surface_file(seed=1))
            wait_until(lambda: station.query("SELECT 1 FROM image WHERE progress = 'moved'"))
        away.enter_context(unmounted(station.review, elsewhere))
        with station.running():
            station.drop("top-1", "after.jpg", surface_file(seed=2))
            told = wait_until(lambda: station.troubles().get("moving"))
            assert "mount its share" in told
            assert list(station.review.iterdir()) == []
            away.close()
            wait_until(lambda: "moving" not in station.troubles())
        assert_every_image_accounted_for(station)


@pytest.mark.fault(28)
def test_shares_that_hang_at_the_start_are_told_and_the_other_cameras_are_served(
    station: Station,
) -> None:
    station.tables = {"intake": {"quiet_seconds": 0.1, "give_up_seconds": 1.0}}
    station.write_config()
    for camera in station.cameras:
        station.drop(camera, "a.jpg", surface_file(seed=1))
    station.review.mkdir(exist_ok=True)
    with ExitStack() as away:
        away.enter_context(hanging(station.folder("top-1")))
        away.enter_context(hanging(station.review))
        with station.process():
            wait_until(lambda: station.query("SELECT camera FROM image") == [("bottom-1",)])
            log = (station.root / "daemon.log").read_text()
            assert f"the folder of camera top-1 ({station.folder('top-1')}) does not answer" in log
            assert f"the review folder ({station.review}) does not answer" in log
            away.close()
            station.wait_for_images(2)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(28)
def test_nothing_is_pushed_to_where_a_share_was_until_just_now(tmp_path: Path, model: Path) -> None:
    """Before anybody has looked into the folder since."""
    with open_page(tmp_path, model, open_on_loopback=True) as page:
        folder = tmp_path / "cameras" / "top-1"
        pushed = "/api/inspections?camera=top-1&filename=a.jpg&wait_seconds=0"
        with filesystem(folder, size="1m"):
            memory = MountMemory(page.settings.state_dir / DROP_FOLDERS)
            memory.remember(folder, mount_of(folder))
            assert page.browser().post(pushed, content=b"x").status_code == 202
        refused = page.browser().post(pushed, content=b"x")
        assert (refused.status_code, list(folder.iterdir())) == (507, [])
        assert "see whether its share is still mounted" in refused.json()["detail"]
