"""A share that is away when the service starts (row 28)."""

import pytest
from builders import Station, assert_every_image_accounted_for, surface_file, wait_until
from filesystems import filesystem


@pytest.mark.fault(28)
def test_a_share_that_is_away_at_the_start_is_told_from_an_idle_camera(station: Station) -> None:
    folder = station.folder("top-1")
    with filesystem(folder, size="1m"), station.running():
        station.drop("top-1", "before.jpg", surface_file(seed=1))
        station.wait_for_images(1)
    with station.running():
        told = wait_until(lambda: station.troubles().get("mount top-1"))
        assert "see whether its share is still mounted" in told
        assert "mount bottom-1" not in station.troubles()
        with filesystem(folder, size="1m"):
            wait_until(lambda: "mount top-1" not in station.troubles())
            station.drop("top-1", "after.jpg", surface_file(seed=2))
            station.wait_for_images(2)
    assert_every_image_accounted_for(station)
