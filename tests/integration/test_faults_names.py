"""Names, places and times that nobody expects of an image (rows 20, 26 and 44)."""

import os

import pytest
from builders import Station, assert_every_image_accounted_for, surface_file

from daemon.names import from_text


@pytest.mark.fault(20)
@pytest.mark.parametrize("picture_data", [b"no picture", surface_file(seed=12)])
def test_no_name_is_too_strange_to_be_recorded_without_loss(
    station: Station, picture_data: bytes
) -> None:
    names = [
        "x" * 251 + ".jpg",
        "ä" * 125 + ".jpg",
        os.fsdecode(b"latin-\xe9\xff.jpg"),
        "new\nline.jpg",
        "dots..jpg",
        "=HYPERLINK(1).jpg",
        "'; DROP TABLE image; --.jpg",
        "<script>alert(1)<_script>.JPG",
        "back\\xe9slash.jpg",
        "percent%20%s{0}.jpg",
        " leading and trailing .jpg",
        "/".join(["deep"] * 40) + "/x.jpg",
        "a..b/x.jpg",
    ]
    with station.running():
        for number, name in enumerate(names):
            station.drop("top-1", name, picture_data + b"%d" % number)
        station.wait_for_images(len(names))
    assert_every_image_accounted_for(station)
    stored = {from_text(name) for (name,) in station.query("SELECT filename FROM inspections")}
    assert stored == set(names)


@pytest.mark.fault(26, 44)
@pytest.mark.parametrize("seconds", [0, 253_402_300_799, -1_000_000_000, 4_102_444_800])
def test_an_image_from_another_time_is_judged_like_any_other(
    station: Station, seconds: int
) -> None:
    path = station.drop("top-1", "time.jpg", surface_file(seed=13))
    os.utime(path, (seconds, seconds))
    station.drop("top-1", "time-bad.jpg", b"no picture")
    os.utime(station.folder("top-1") / "time-bad.jpg", (seconds, seconds))
    with station.running():
        station.wait_for_images(2)
        assert station.status()["latency_ms"]["median"] >= 0  # as in /metrics
    assert_every_image_accounted_for(station)
