"""A manifest written as folders of classes."""

from pathlib import Path

import pytest
from filesystems import filesystem
from neu_det_trees import WHOLE, Tree, picture, voc

from training.data.class_folders import write_class_folders
from training.data.findings import PreparationError
from training.data.neu_det import prepare


def test_class_folders_hold_fit_and_select_in_train_and_test_in_validation(
    tree: Tree, tmp_path: Path
) -> None:
    file = tree.add("v.jpg", half="validation", folder="patches")
    manifest, _ = tree.prepare()
    out = tmp_path / "out"
    assert write_class_folders(manifest, out) == 2
    assert sorted(found.relative_to(out).as_posix() for found in out.rglob("*.*")) == [
        "train/crazing/crazing_1.jpg",
        "validation/patches/v.jpg",
    ]
    assert (out / "validation/patches/v.jpg").read_bytes() == file.read_bytes()


def test_selected_images_are_written_to_train(tree: Tree, tmp_path: Path) -> None:
    for number in range(40):
        tree.add(f"many_{number}.jpg")
    manifest, _ = prepare(tree.root, select_percent=50, test_percent=0)
    write_class_folders(manifest, tmp_path / "out")
    assert len(list((tmp_path / "out" / "train" / "crazing").iterdir())) == 41


def test_images_of_one_name_and_class_are_both_written(tree: Tree, tmp_path: Path) -> None:
    tree.add("crazing_1.jpg", folder="more", xml=None)
    tree.annotate("crazing_1", voc(("crazing", WHOLE), filename="crazing_1.jpg"))
    manifest, _ = tree.prepare()
    write_class_folders(manifest, tmp_path / "out")
    written = sorted((tmp_path / "out" / "train" / "crazing").iterdir())
    assert [file.name for file in written] == ["crazing_1.jpg", "crazing_1_2.jpg"]
    assert written[0].read_bytes() != written[1].read_bytes()


def test_class_folders_are_not_written_over_anything(tree: Tree, tmp_path: Path) -> None:
    manifest, _ = tree.prepare()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(PreparationError, match="out is not an empty folder"):
        write_class_folders(manifest, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").rglob("*")] == ["mine.txt"]


def test_an_image_that_changed_since_is_not_written(tree: Tree, tmp_path: Path) -> None:
    manifest, _ = tree.prepare()
    picture(manifest.root / manifest.images[0].path, seed=99)
    with pytest.raises(PreparationError, match="changed since it was prepared"):
        write_class_folders(manifest, tmp_path / "out")


def test_an_image_that_is_gone_is_told_by_name(tree: Tree, tmp_path: Path) -> None:
    manifest, _ = tree.prepare()
    (manifest.root / manifest.images[0].path).unlink()
    with pytest.raises(PreparationError, match=r"cannot copy .*crazing_1\.jpg"):
        write_class_folders(manifest, tmp_path / "out")


def test_of_copies_that_a_disk_has_no_room_for_nothing_is_left(tree: Tree, tmp_path: Path) -> None:
    for number in range(40):
        tree.add(f"many_{number}.jpg")
    manifest, _ = tree.prepare()
    disk = tmp_path / "disk"
    with filesystem(disk, size="64k"):
        for out in (disk, disk / "out"):
            with pytest.raises(PreparationError, match="No space left"):
                write_class_folders(manifest, out)
            assert list(disk.iterdir()) == []
