"""One file, moved: each test is a moment at which something else happens."""

import os
from pathlib import Path

import pytest
from delivered import DATA, SHA256, delivery_of, names
from meanwhile import just_before

from daemon.files import moving
from daemon.files.moving import Release
from daemon.files.placing import (
    ChangedError,
    GoneError,
    TargetTakenError,
    make_folder,
    write_durably,
)
from daemon.values import Delivery


def test_what_is_brought_and_released_lies_at_the_target_only(
    delivery: Delivery, target: Path
) -> None:
    moving.bring(delivery, SHA256, target, None)
    assert moving.release(delivery) is Release.REMOVED
    assert target.read_bytes() == DATA
    assert names(delivery.path.parent) == set()
    assert names(target.parent) == {"x.jpg"}


def test_doing_it_again_at_any_point_changes_nothing(delivery: Delivery, target: Path) -> None:
    for _ in range(2):
        moving.bring(delivery, SHA256, target, None)
    for end in (Release.REMOVED, Release.ABSENT):
        assert moving.release(delivery) is end
        moving.bring(delivery, SHA256, target, None)
    assert target.read_bytes() == DATA


def test_a_file_that_the_camera_renamed_over_the_delivered_one_stays(
    delivery: Delivery, target: Path
) -> None:
    with delivery.path.open("rb") as held:
        newer = delivery.path.with_name("newer.part")
        newer.write_bytes(b"newer")
        newer.rename(delivery.path)
        moving.bring(delivery, SHA256, target, held.fileno())
        assert moving.release(delivery) is Release.ABSENT
    assert target.read_bytes() == DATA
    assert delivery.path.read_bytes() == b"newer"
    assert names(delivery.path.parent) == {"x.jpg"}


def test_a_file_renamed_over_the_delivered_one_in_the_last_instant_is_not_lost(
    delivery: Delivery, target: Path
) -> None:
    moving.bring(delivery, SHA256, target, None)
    newer = delivery.path.with_name("newer.part")
    newer.write_bytes(b"newer")
    just_before("os.rename", delivery.path, lambda: newer.replace(delivery.path))
    assert moving.release(delivery) is Release.ABSENT
    assert delivery.path.read_bytes() == b"newer"
    assert names(delivery.path.parent) == {"x.jpg"}


def test_a_write_in_the_last_instant_is_not_lost(delivery: Delivery, target: Path) -> None:
    moving.bring(delivery, SHA256, target, None)

    def write() -> None:
        delivery.path.write_bytes(b"written in place")

    just_before("os.rename", delivery.path, write)
    assert moving.release(delivery) is Release.WRITTEN
    assert delivery.path.read_bytes() == b"written in place"
    assert names(delivery.path.parent) == {"x.jpg"}


def test_when_the_name_is_used_a_third_time_meanwhile_all_three_are_kept(
    delivery: Delivery, target: Path
) -> None:
    moving.bring(delivery, SHA256, target, None)
    second = delivery.path.with_name("second.part")
    second.write_bytes(b"second")

    def put_second() -> None:
        second.replace(delivery.path)
        aside = moving.aside_of(delivery)
        just_before("os.link", aside, lambda: delivery.path.write_bytes(b"third"))

    just_before("os.rename", delivery.path, put_second)
    assert moving.release(delivery) is Release.ABSENT
    contents = {path.read_bytes() for path in delivery.path.parent.iterdir()}
    assert contents == {b"second", b"third"}
    assert all(path.suffix == ".jpg" for path in delivery.path.parent.iterdir())


def test_a_kill_with_the_delivered_file_aside_is_made_up_for(
    delivery: Delivery, target: Path
) -> None:
    moving.bring(delivery, SHA256, target, None)
    delivery.path.rename(moving.aside_of(delivery))
    moving.bring(delivery, SHA256, target, None)
    assert moving.release(delivery) is Release.REMOVED
    assert names(delivery.path.parent) == set()


def test_a_kill_with_the_only_copy_aside_is_made_up_for(delivery: Delivery, target: Path) -> None:
    delivery.path.rename(moving.aside_of(delivery))
    moving.bring(delivery, SHA256, target, None)
    assert moving.release(delivery) is Release.REMOVED
    assert target.read_bytes() == DATA
    assert names(delivery.path.parent) == set()


def test_a_kill_with_the_cameras_next_file_aside_is_made_up_for(
    delivery: Delivery, target: Path
) -> None:
    moving.bring(delivery, SHA256, target, None)
    delivery.path.unlink()
    moving.aside_of(delivery).write_bytes(b"newer")
    moving.bring(delivery, SHA256, target, None)
    assert delivery.path.read_bytes() == b"newer"
    assert moving.release(delivery) is Release.ABSENT
    assert names(delivery.path.parent) == {"x.jpg"}


@pytest.mark.parametrize("written", [DATA[::-1], b"shorter"])
def test_what_was_written_to_since_it_was_judged_is_not_brought(
    delivery: Delivery, target: Path, written: bytes
) -> None:
    with delivery.path.open("rb") as held:
        delivery.path.write_bytes(written)
        with pytest.raises(ChangedError):
            moving.bring(delivery, SHA256, target, held.fileno())
    assert not target.exists()
    assert delivery.path.read_bytes() == written


def test_a_linked_target_that_was_written_to_goes_back(delivery: Delivery, target: Path) -> None:
    moving.bring(delivery, SHA256, target, None)
    target.write_bytes(b"through the second name")
    with pytest.raises(ChangedError):
        moving.bring(delivery, SHA256, target, None)
    assert not target.exists()
    assert delivery.path.read_bytes() == b"through the second name"


@pytest.mark.fault(5)
def test_a_target_written_to_after_the_source_was_removed_goes_back(
    delivery: Delivery, target: Path
) -> None:
    with delivery.path.open("r+b") as held:
        moving.bring(delivery, SHA256, target, held.fileno())
        moving.release(delivery)
        held.write(b"more")
        held.flush()
        assert moving.take_back_if_written(delivery, target, held.fileno())
    assert not target.exists()
    assert delivery.path.read_bytes().startswith(b"more")


def test_the_same_found_only_after_a_kill_goes_back_too(delivery: Delivery, target: Path) -> None:
    moving.bring(delivery, SHA256, target, None)
    moving.release(delivery)
    target.write_bytes(b"more")
    with pytest.raises(ChangedError):
        moving.bring(delivery, SHA256, target, None)
    assert delivery.path.read_bytes() == b"more"
    assert not target.exists()


def test_what_was_written_goes_back_beside_the_cameras_next_file(
    delivery: Delivery, target: Path
) -> None:
    with delivery.path.open("r+b") as held:
        moving.bring(delivery, SHA256, target, held.fileno())
        moving.release(delivery)
        held.write(b"more")
        held.flush()
        delivery.path.write_bytes(b"next")
        assert moving.take_back_if_written(delivery, target, held.fileno())
    assert delivery.path.read_bytes() == b"next"
    assert len(names(delivery.path.parent)) == 2


def test_an_untouched_move_is_not_taken_back(delivery: Delivery, target: Path) -> None:
    with delivery.path.open("rb") as held:
        moving.bring(delivery, SHA256, target, held.fileno())
        moving.release(delivery)
        assert not moving.take_back_if_written(delivery, target, held.fileno())
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("kind", ["file", "same size", "folder", "link"])
def test_a_strangers_file_at_the_target_is_never_touched(
    delivery: Delivery, target: Path, kind: str
) -> None:
    content = DATA[::-1] if kind == "same size" else b"a stranger's"
    if kind == "folder":
        target.mkdir()
    elif kind == "link":
        target.symlink_to(delivery.path)
    else:
        target.write_bytes(content)
    with pytest.raises(TargetTakenError):
        moving.bring(delivery, SHA256, target, None)
    assert delivery.path.read_bytes() == DATA
    if kind in ("file", "same size"):
        assert target.read_bytes() == content
    assert names(target.parent) == {"x.jpg"}


def test_what_is_nowhere_is_gone(delivery: Delivery, target: Path) -> None:
    delivery.path.unlink()
    with pytest.raises(GoneError):
        moving.bring(delivery, SHA256, target, None)
    delivery.path.parent.rmdir()
    with pytest.raises(GoneError):
        moving.bring(delivery, SHA256, target, None)
    assert moving.release(delivery) is Release.ABSENT


def test_another_file_under_the_delivered_name_is_not_taken_for_it(
    delivery: Delivery, target: Path
) -> None:
    other = delivery.path.with_name("other.jpg")
    other.write_bytes(DATA)
    os.utime(other, ns=(delivery.mtime_ns, delivery.mtime_ns))
    other.replace(delivery.path)
    with pytest.raises(GoneError):
        moving.bring(delivery, SHA256, target, None)
    assert moving.release(delivery) is Release.ABSENT
    assert delivery.path.read_bytes() == DATA


def test_a_held_file_whose_name_is_gone_is_still_brought(delivery: Delivery, target: Path) -> None:
    with delivery.path.open("rb") as held:
        delivery.path.unlink()
        moving.bring(delivery, SHA256, target, held.fileno())
    assert target.read_bytes() == DATA
    assert target.stat().st_mtime_ns == delivery.mtime_ns
    assert names(target.parent) == {"x.jpg"}


@pytest.mark.fault(3)
def test_what_a_kill_left_of_a_copy_is_removed(delivery: Delivery, target: Path) -> None:
    partial = moving.partial_of(target, delivery, SHA256)
    partial.write_bytes(DATA[:50])
    with delivery.path.open("rb") as held:
        delivery.path.unlink()
        moving.bring(delivery, SHA256, target, held.fileno())
    assert names(target.parent) == {"x.jpg"}
    os.link(target, partial)
    moving.bring(delivery, SHA256, target, None)
    assert names(target.parent) == {"x.jpg"}


def test_a_copy_of_bytes_that_are_not_those_judged_is_refused(
    delivery: Delivery, target: Path
) -> None:
    with delivery.path.open("rb") as held:
        delivery.path.unlink()
        with pytest.raises(ChangedError):
            moving.bring(delivery, "0" * 64, target, held.fileno())
    assert names(target.parent) == set()


def test_the_marker_goes_with_its_image_and_with_no_other(delivery: Delivery) -> None:
    marker = Path(f"{delivery.path}.done")
    marker.touch()
    delivery.path.rename(delivery.path.with_name("away.jpg"))
    delivery.path.write_bytes(b"another")
    assert moving.release(delivery, ".done") is Release.ABSENT
    assert marker.exists()
    assert moving.release(delivery_of(delivery.path), ".done") is Release.REMOVED
    assert not marker.exists()


@pytest.mark.fault(38)
def test_a_small_file_is_replaced_whole(tmp_path: Path) -> None:
    write_durably(tmp_path / "x.json", "one")
    write_durably(tmp_path / "x.json", "two")
    assert (tmp_path / "x.json").read_text() == "two"
    assert names(tmp_path) == {"x.json"}


def test_folders_are_made_with_those_above_them(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


@pytest.mark.fault(59)
def test_a_file_that_the_camera_still_has_under_another_name_is_not_altered_through_it(
    delivery: Delivery, target: Path
) -> None:
    moving.bring(delivery, SHA256, target, None)
    renamed = delivery.path.rename(delivery.path.with_name("renamed.jpg"))
    assert moving.release(delivery) is Release.ABSENT
    moving.make_own(target, delivery, SHA256)
    renamed.write_bytes(b"written in place")
    assert target.read_bytes() == DATA
    assert names(target.parent) == {"x.jpg"}


def test_a_file_that_only_the_target_names_is_not_copied(delivery: Delivery, target: Path) -> None:
    moving.bring(delivery, SHA256, target, None)
    moving.release(delivery)
    moving.make_own(target, delivery, SHA256)
    assert target.stat().st_ino == delivery.inode


@pytest.mark.fault(60)
@pytest.mark.parametrize("inside", [".", "deeper"])
def test_what_was_written_to_and_renamed_after_a_kill_lies_under_its_new_name_only(
    delivery: Delivery, target: Path, inside: str
) -> None:
    moving.bring(delivery, SHA256, target, None)
    delivery.path.write_bytes(b"written in place")
    (delivery.path.parent / inside).mkdir(exist_ok=True)
    renamed = delivery.path.rename(delivery.path.parent / inside / "renamed.jpg")
    with pytest.raises(ChangedError):
        moving.bring(delivery, SHA256, target, None)
    assert not delivery.path.exists()
    assert not target.exists()
    assert renamed.read_bytes() == b"written in place"


@pytest.mark.fault(61)
@pytest.mark.parametrize("end", [ChangedError, GoneError, TargetTakenError])
def test_what_a_kill_left_of_a_copy_is_removed_though_the_copy_is_not_made(
    delivery: Delivery, target: Path, end: type[Exception]
) -> None:
    partial = moving.partial_of(target, delivery, SHA256)
    partial.write_bytes(DATA[:10])
    if end is ChangedError:
        delivery.path.write_bytes(b"other")
    elif end is GoneError:
        delivery.path.unlink()
    else:
        target.write_bytes(b"a stranger's")
    with pytest.raises(end):
        moving.bring(delivery, SHA256, target, None)
    assert not partial.exists()
