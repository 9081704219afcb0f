"""Folders of pictures, whole and broken, to a manifest and a report."""

import os
from pathlib import Path

import numpy as np
import pytest
from neu_det_trees import WHOLE, Tree, voc

from models.taxonomy import KNOWN_DEFECTS
from training.data.findings import Kind, PreparationError
from training.data.manifest import load_manifest
from training.data.neu_det import prepare
from training.synthetic import encode

REAL = os.environ.get("NEU_DET_DIR")


def test_a_faultless_set_has_no_findings(tree: Tree) -> None:
    tree.add("inclusion_1.jpg", folder="inclusion")
    manifest, report = tree.prepare()
    assert report.findings == ()
    assert report.left_out == ()
    assert [(image.path, image.label) for image in manifest.images] == [
        ("train/images/crazing/crazing_1.jpg", "crazing"),
        ("train/images/inclusion/inclusion_1.jpg", "inclusion"),
    ]


def test_a_picture_that_ends_in_black_is_told_with_what_helps_in_a_data_set(tree: Tree) -> None:
    file = tree.root / "train/images/crazing/black.bmp"
    pixels = np.full((64, 64), 200, np.uint8)
    pixels[:12] = 0  # a BMP ends with its topmost row
    file.write_bytes(encode(pixels, "bmp"))
    (told,) = (line for line in tree.lines() if "black.bmp" in line)
    assert "if it ends in black, store it as PNG" in told
    assert "intake" not in told


def test_a_prepared_manifest_can_be_saved_and_loaded(tree: Tree, tmp_path: Path) -> None:
    manifest, _ = tree.prepare()
    manifest.save(tmp_path / "manifest.json")
    assert load_manifest(tmp_path / "manifest.json") == manifest
    assert manifest.root == tree.root.resolve()


def test_the_train_folder_itself_can_be_prepared(tree: Tree) -> None:
    manifest, report = prepare(tree.root / "train", select_percent=0, test_percent=0)
    assert [image.path for image in manifest.images] == ["images/crazing/crazing_1.jpg"]
    assert report.findings == ()


def test_known_classes_come_in_the_networks_order_and_others_sorted_after_them(tree: Tree) -> None:
    for folder in ("scratches", "dent", "blister", "patches"):
        tree.add(f"{folder}_1.jpg", folder=folder)
    manifest, report = tree.prepare()
    assert manifest.classes == ("crazing", "patches", "scratches", "blister", "dent")
    assert report.classes == manifest.classes


def test_progress_is_told_after_each_picture(tree: Tree) -> None:
    tree.add("crazing_2.jpg")
    told: list[tuple[int, int]] = []
    prepare(
        tree.root,
        select_percent=0,
        test_percent=0,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 2), (2, 2)]


# The report


def test_the_report_counts_each_class_in_each_part(tree: Tree) -> None:
    tree.add("i.jpg", folder="inclusion")
    tree.add("v.jpg", folder="inclusion", half="validation")
    assert tree.lines() == (
        "3 images: 3 in the manifest, 0 left out",
        "class         fit  select    test     all",
        "crazing         1       0       0       1",
        "inclusion       1       0       1       2",
        "all             2       0       1       3",
    )


def test_a_long_list_of_findings_is_one_line_with_its_count_and_the_first_names(
    tree: Tree,
) -> None:
    for number in range(10, 20):
        tree.add(f"c_{number}.jpg", xml=voc(("crazing", WHOLE), filename=f"c_{number}"))
    assert tree.lines()[-1] == (
        "10 times: <filename> without an extension in its XML: "
        "c_10.jpg, c_11.jpg, c_12.jpg and 7 more"
    )
    assert len(tree.findings()) == 10


# What cannot be prepared


def test_a_missing_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PreparationError, match="nowhere is not a folder"):
        prepare(tmp_path / "nowhere")


def test_a_folder_without_images_is_refused_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / ".unpacked-from").touch()
    with pytest.raises(PreparationError, match=r"expected train/images/<class>, .* found holiday$"):
        prepare(tmp_path)


def test_an_empty_train_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "images" / "crazing").mkdir(parents=True)
    with pytest.raises(PreparationError, match="no images under"):
        prepare(tmp_path)


@pytest.mark.parametrize(("select", "test"), [(50, 50), (100, 0), (-1, 15), (15, -1)])
def test_percents_that_leave_nothing_for_fit_are_refused(
    tree: Tree, select: int, test: int
) -> None:
    with pytest.raises(PreparationError, match="leave nothing for fit"):
        prepare(tree.root, select_percent=select, test_percent=test)


def test_a_set_so_small_that_nothing_falls_to_fit_is_refused(tree: Tree) -> None:
    with pytest.raises(PreparationError, match="none of 1 images falls to fit"):
        prepare(tree.root, select_percent=0, test_percent=99)


def test_a_set_without_one_usable_image_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    Tree(tmp_path).add("c.jpg").write_bytes(b"")
    with pytest.raises(PreparationError, match=r"none of the 1 images can be used.*empty"):
        prepare(tmp_path)


# The real set


@pytest.mark.timeout(600)
@pytest.mark.skipif(
    REAL is None, reason="set NEU_DET_DIR to a NEU-DET folder to prepare the real set"
)
def test_the_real_sets_known_faults_are_found() -> None:
    manifest, report = prepare(Path(REAL or ""))
    lines = report.lines()
    train = [image for image in manifest.images if not image.path.startswith("validation/")]
    assert len(train) == 1440
    assert manifest.classes == KNOWN_DEFECTS
    assert report.left_out == ()
    assert any(line.startswith("crazing_240.jpg: no XML") for line in lines)
    assert "patches_101.jpg, patches_105.jpg: the same pixels" in lines
    assert len(report.of(Kind.FILENAME_WITHOUT_EXTENSION)) == 174
    # Found by eye: one piece of steel each, under other light and moved.
    near = {tuple(Path(file).stem for file in it.files) for it in report.of(Kind.NEAR_COPY)}
    assert {("crazing_132", "crazing_134"), ("patches_199", "patches_201")} <= near
    assert max(map(len, near)) <= 3
