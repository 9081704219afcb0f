from pathlib import Path

from builders import Station, assert_every_image_accounted_for, surface_file


def test_dropped_images_are_recorded_and_moved_to_review(station: Station) -> None:
    with station.running():
        station.drop_surfaces(24)
        station.wait_for_images(24)
    assert_every_image_accounted_for(station)
    places = {
        Path(path).relative_to(station.review).parts[0]
        for (path,) in station.query("SELECT path FROM inspections")
    }
    assert places == {"to_check"}


def test_images_that_were_there_before_the_start_are_found(station: Station) -> None:
    station.drop_surfaces(5)
    station.drop("top-1", "deep/er/x.jpg", surface_file(seed=77), rename=False)
    with station.running():
        station.wait_for_images(6)
    assert_every_image_accounted_for(station)
