"""What cameras and people put into a drop folder (rows 4 to 20 of the table of faults)."""

import hashlib
import io
import os
import socket
import stat
from pathlib import Path

import pytest
import structlog
from builders import Station, assert_every_image_accounted_for, surface_file, wait_until
from PIL import Image

PATIENT = {"intake": {"quiet_seconds": 0.2, "give_up_seconds": 60.0, "rescan_seconds": 0.3}}


@pytest.fixture
def patient_station(tmp_path: Path, model: Path) -> Station:
    """A station that never gives a file up while the test runs."""
    return Station(root=tmp_path, model=model, tables=PATIENT)


def wait_for_quiet_time(station: Station, name: str) -> None:
    """Until a file that no event announced, dropped now, was found quiet and was judged."""
    station.drop_unannounced("bottom-1", name, surface_file(seed=hash(name) % 1000))
    wait_until(lambda: recorded(station, name), what=f"{name} is recorded")


def recorded(station: Station, name: str) -> int:
    return len(station.query("SELECT 1 FROM inspections WHERE filename = ?", name))


def picture(mode: str, colour: object, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (70, 50), colour).save(file, format=form, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.fault(4)
def test_a_half_written_file_that_was_there_at_the_start_waits_for_its_rest(
    patient_station: Station,
) -> None:
    station, data = patient_station, surface_file(seed=1)
    path = station.folder("top-1") / "half.jpg"
    path.write_bytes(data[:-700])
    with station.running():
        wait_for_quiet_time(station, "later-1.jpg")
        wait_for_quiet_time(station, "later-2.jpg")
        assert recorded(station, "half.jpg") == 0
        with path.open("ab") as file:
            file.write(data[-700:])
        station.expect("top-1", "half.jpg", data)
        station.wait_for_images(3)
    assert_every_image_accounted_for(station)
    assert station.reasons() == {}


@pytest.mark.fault(5)
@pytest.mark.parametrize("form", ["jpeg", "png", "bmp"])
def test_a_writer_that_pauses_longer_than_the_quiet_time_is_waited_for(
    patient_station: Station, form: str
) -> None:
    station, data = patient_station, surface_file(seed=2, form=form)
    path = station.folder("top-1") / f"slow.{form}"
    with station.running():
        with path.open("wb", buffering=0) as file:
            for number in range(3):
                file.write(data[number * len(data) // 4 : (number + 1) * len(data) // 4])
                wait_for_quiet_time(station, f"meanwhile-{number}.jpg")
                assert recorded(station, path.name) == 0
            file.write(data[3 * len(data) // 4 :])
        station.expect("top-1", path.name, data)
        station.wait_for_images(4)
    assert_every_image_accounted_for(station)
    assert station.reasons() == {}


@pytest.mark.fault(5)
def test_a_writer_that_opens_and_closes_the_file_for_each_piece_is_waited_for(
    patient_station: Station,
) -> None:
    station, data = patient_station, surface_file(seed=3)
    path = station.folder("top-1") / "pieces.jpg"
    with station.running():
        for number in range(5):
            with path.open("ab") as file:
                file.write(data[number * len(data) // 5 : (number + 1) * len(data) // 5])
        station.expect("top-1", path.name, data)
        station.wait_for_images(1)
    assert_every_image_accounted_for(station)
    assert station.reasons() == {}


@pytest.mark.fault(6)
@pytest.mark.parametrize("form", ["jpeg", "bmp"])
def test_a_file_that_is_allocated_first_and_filled_later_is_not_judged_half_empty(
    patient_station: Station, form: str
) -> None:
    station, data = patient_station, surface_file(seed=4, form=form)
    path = station.folder("top-1") / f"allocated.{form}"
    with station.running():
        with path.open("wb", buffering=0) as file:
            file.truncate(len(data))
            file.write(data[: len(data) // 2])
            wait_for_quiet_time(station, "meanwhile.jpg")
            wait_for_quiet_time(station, "meanwhile-2.jpg")
            assert recorded(station, path.name) == 0
            file.write(data[len(data) // 2 :])
        station.expect("top-1", path.name, data)
        station.wait_for_images(3)
    assert_every_image_accounted_for(station)
    assert station.reasons() == {}


@pytest.mark.fault(6)
def test_closing_a_file_that_did_not_decode_and_looks_the_same_is_reason_to_try_again(
    patient_station: Station,
) -> None:
    """A whole file with the very size and time of the half one that was looked at before."""
    station, data = patient_station, surface_file(seed=5)
    path = station.folder("top-1") / "same-look.jpg"
    with station.running():
        path.write_bytes(data[:600] + bytes(len(data) - 600))
        wait_for_quiet_time(station, "meanwhile.jpg")
        status = path.stat()
        descriptor = os.open(path, os.O_WRONLY)
        os.pwrite(descriptor, data, 0)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.close(descriptor)
        station.expect("top-1", path.name, data)
        station.wait_for_images(2)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(7)
def test_a_file_renamed_into_place_is_taken_at_once_and_what_is_no_delivery_is_left_alone(
    tmp_path: Path, model: Path
) -> None:
    hours = {"quiet_seconds": 3000.0, "give_up_seconds": 3000.0}
    station = Station(root=tmp_path, model=model, tables={"intake": hours})
    folder = station.folder("top-1")
    ignored = [".hidden.jpg", "x.jpg.tmp", "y.jpg.part", "Thumbs.db", "@eaDir/z.jpg", "notes.txt"]
    with station.running():
        for name in ignored:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(surface_file(seed=6))
        station.drop("top-1", "renamed.jpg", surface_file(seed=7), rename=True)
        station.drop("top-1", "closed.jpg", surface_file(seed=8), rename=False)
        station.wait_for_images(2)
    assert all((folder / name).is_file() for name in ignored)
    for name in ignored:
        (folder / name).unlink()
    assert_every_image_accounted_for(station)


@pytest.mark.fault(8)
def test_the_same_name_with_other_content_is_another_image_and_overwrites_nothing(
    station: Station,
) -> None:
    with station.running():
        for number in range(1, 4):
            station.drop("top-1", "same.jpg", surface_file(seed=number))
            station.drop("top-1", "same-bad.jpg", b"no picture %d" % number)
            station.wait_for_images(2 * number)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(8)
def test_a_name_that_looks_like_one_with_an_id_stands_in_no_other_images_way(
    station: Station,
) -> None:
    with station.running():
        for number, name in enumerate(["a.jpg", "a__3.jpg", "a.jpg"], 1):  # the third has id 3
            station.drop("top-1", name, b"no picture %d" % number)
            station.wait_for_images(number)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(8, 9)
def test_a_camera_that_renames_over_its_last_image_is_followed(station: Station) -> None:
    """Each image that was recorded lies where its record says; the last one is among them."""
    with station.running():
        for number in range(60):
            data = surface_file(seed=number % 20) + b"%d" % number
            station.drop("top-1", "latest.jpg", data)
        last = hashlib.sha256(data).hexdigest()
        wait_until(lambda: station.query("SELECT 1 FROM inspections WHERE sha256 = ?", last))
        station.wait_for_images(1)
    rows = station.query("SELECT sha256, path FROM inspections")
    # What the camera itself replaced before it could be read was never delivered for long enough.
    station.dropped = {("top-1", "latest.jpg"): [sha256 for sha256, _ in rows]}
    assert_every_image_accounted_for(station)
    assert len({sha256 for sha256, _ in rows}) == len(rows)


@pytest.mark.fault(5, 9)
def test_a_camera_that_writes_over_its_last_image_in_place_is_followed(station: Station) -> None:
    with station.running():
        for number in range(60):
            data = surface_file(seed=number % 20) + b"%d" % number
            station.drop("top-1", "latest.jpg", data, rename=False)
        last = hashlib.sha256(data).hexdigest()
        wait_until(lambda: station.query("SELECT 1 FROM inspections WHERE sha256 = ?", last))
        station.wait_for_images(1)
    rows = station.query("SELECT sha256, path FROM inspections")
    station.dropped = {("top-1", "latest.jpg"): [sha256 for sha256, _ in rows]}
    assert_every_image_accounted_for(station)


@pytest.mark.fault(10)
def test_the_same_content_under_another_name_is_another_image(station: Station) -> None:
    data = surface_file(seed=9)
    with station.running():
        station.drop("top-1", "one.jpg", data)
        station.drop("top-1", "two.jpg", data)
        station.drop("bottom-1", "one.jpg", data)
        station.wait_for_images(3)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(11, 12, 13, 15, 16)
def test_what_is_no_whole_picture_goes_to_quarantine_with_its_reason_and_its_neighbours_pass(
    station: Station,
) -> None:
    whole = surface_file(seed=10)
    png = surface_file(seed=10, form="png")
    wide = io.BytesIO()
    Image.new("1", (12_000, 9_000)).save(wide, format="PNG")  # 108 million pixels
    pages = io.BytesIO()
    Image.new("L", (9, 9)).save(
        pages, format="TIFF", save_all=True, append_images=[Image.new("L", (9, 9))]
    )
    bad = {
        "zero-bytes.jpg": (b"", "empty"),
        "cut.jpg": (whole[:-20], "truncated"),
        "cut-to-one-percent.jpg": (whole[: len(whole) // 100], "not_an_image"),
        "text.jpg": (b"not an image at all", "not_an_image"),
        "chunks-broken.png": (png[:8] + b"\0\0\0\1" + png[12:], "not_an_image"),
        "cut.png": (png[:-40], "truncated"),
        "bomb.png": (wide.getvalue(), "too_many_pixels"),
        "pages.tif": (pages.getvalue(), "several_pages"),
    }
    for number, (name, (data, _)) in enumerate(bad.items()):
        station.drop("top-1", name, data)
        station.drop("top-1", f"good-{number}.jpg", surface_file(seed=number))
    with station.running():
        station.wait_for_images(2 * len(bad))
    assert_every_image_accounted_for(station)
    verdicts = dict(station.query("SELECT filename, verdict FROM inspections"))
    assert {name for name, verdict in verdicts.items() if verdict == "unreadable"} == set(bad)
    assert station.reasons() == {name: reason for name, (_, reason) in bad.items()}


@pytest.mark.fault(13)
def test_a_file_larger_than_the_limit_goes_to_quarantine_unread(
    tmp_path: Path, model: Path
) -> None:
    station = Station(root=tmp_path, model=model, tables={"intake": {"max_bytes": 20_000}})
    with station.running():
        station.drop("top-1", "large.jpg", surface_file(seed=1) + bytes(30_000))
        station.drop("top-1", "small.jpg", surface_file(seed=2))
        station.wait_for_images(2)
    assert_every_image_accounted_for(station)
    assert station.reasons() == {"large.jpg": "too_many_bytes"}


@pytest.mark.fault(13)
def test_a_file_of_a_terabyte_holds_up_no_other_of_its_camera(tmp_path: Path, model: Path) -> None:
    station = Station(root=tmp_path, model=model, tables={"model": {"runtime": "torch"}})
    with station.process():  # which ends amid it
        huge = station.folder("top-1") / "huge.jpg"
        huge.touch()
        os.truncate(huge, 10**12)
        wait_for_quiet_time(station, "other camera's.jpg")  # and so of that one
        station.drop("top-1", "small.jpg", surface_file(seed=1))
        wait_until(lambda: recorded(station, "small.jpg"), seconds=20.0)
        assert station.troubles() == {}
        assert not recorded(station, "huge.jpg")
        assert huge.exists()


@pytest.mark.fault(14, 15)
def test_each_kind_of_picture_has_one_defined_conversion_that_the_record_tells(
    station: Station,
) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds = {
        "grey16.png": (picture("I;16", 3000), "12-bit samples scaled to 8"),
        "grey16.tif": (picture("I;16", 60_000, "TIFF"), "16-bit samples scaled to 8"),
        "palette.png": (picture("P", 3), "palette applied"),
        "alpha.png": (picture("RGBA", (9, 99, 9, 9)), "alpha dropped"),
        "cmyk.jpg": (picture("CMYK", (9, 9, 9, 9), "JPEG"), "CMYK converted"),
        "turned.jpg": (picture("L", 99, "JPEG", exif=turned), "EXIF orientation 6 applied"),
        "plain.bmp": (picture("L", 99, "BMP"), None),
        "colour.webp": (picture("RGB", (9, 99, 9), "WEBP"), None),
    }
    for name, (data, _) in kinds.items():
        station.drop("top-1", name, data)
    with station.running():
        station.wait_for_images(len(kinds))
    assert_every_image_accounted_for(station)
    notes = dict(station.query("SELECT filename, notes FROM inspections"))
    assert notes == {name: note for name, (_, note) in kinds.items()}
    assert station.reasons() == {}


@pytest.mark.fault(18)
def test_links_pipes_sockets_and_devices_are_neither_followed_nor_opened_nor_told_twice(
    station: Station, tmp_path: Path
) -> None:
    folder = station.folder("top-1")
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(surface_file(seed=11))
    (folder / "link.jpg").symlink_to(outside)
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "dangling.jpg").symlink_to(tmp_path / "nothing.jpg")
    (folder / "folder-link").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.jpg"))
    strange = ["link.jpg", "loop.jpg", "dangling.jpg", "pipe.jpg", "socket.jpg"]
    if os.geteuid() == 0:
        os.mknod(folder / "device.jpg", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        strange.append("device.jpg")
    with structlog.testing.capture_logs() as logs, station.running():
        for number in range(3):  # each found again by rescans before and after it
            wait_for_quiet_time(station, f"good-{number}.jpg")
        station.wait_for_images(3)
    told = [entry["path"] for entry in logs if entry["event"].startswith("not a regular file")]
    assert sorted(told) == sorted(str(folder / name) for name in strange)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*strange, "folder-link"])
    for name in [*strange, "folder-link"]:
        (folder / name).unlink()
    assert_every_image_accounted_for(station)


@pytest.mark.fault(19)
def test_a_folder_of_images_that_is_moved_in_is_judged_even_if_it_is_named_like_an_image(
    station: Station, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    for number in range(4):
        name = f"day.jpg/shift-{number % 2}/{number}.jpg"
        data = surface_file(seed=number)
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(data)
        station.expect("top-1", name, data)
    with station.running():
        (made / "day.jpg").rename(station.folder("top-1") / "day.jpg")
        station.wait_for_images(4)
    assert_every_image_accounted_for(station)


def test_with_markers_an_image_waits_for_its_own_and_takes_it_along(
    tmp_path: Path, model: Path
) -> None:
    intake = {"marker_suffix": ".done", "give_up_seconds": 60.0, "quiet_seconds": 0.1}
    station = Station(root=tmp_path, model=model, tables={"intake": intake})
    folder = station.folder("top-1")
    with station.running():
        for number in (1, 2):
            station.drop("top-1", "same.jpg", surface_file(seed=number))
            station.drop("bottom-1", f"{number}.jpg", surface_file(seed=20 + number))
            (station.folder("bottom-1") / f"{number}.jpg.done").touch()
            station.wait_for_images(2 * number - 1)
            assert (folder / "same.jpg").exists(), "judged without its marker"
            (folder / "same.jpg.done").touch()
            station.wait_for_images(2 * number)
            assert not (folder / "same.jpg.done").exists()
    assert_every_image_accounted_for(station)
