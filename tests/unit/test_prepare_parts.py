"""Which pictures are kept, and which part each falls to."""

from pathlib import Path

import numpy as np
from neu_det_trees import Tree
from numpy.typing import NDArray

from training.crossvalidate import fold_of
from training.data.findings import Kind
from training.data.manifest import Part
from training.data.neu_det import prepare
from training.synthetic import draw_surface


def test_an_unreadable_image_is_left_out_and_named(tree: Tree) -> None:
    file = tree.add("cut.jpg")
    file.write_bytes(file.read_bytes()[:-20])
    _, report = tree.prepare()
    assert report.left_out == ("train/images/crazing/cut.jpg",)
    (finding,) = report.of(Kind.UNREADABLE)
    assert (finding.files, finding.because[:9]) == (report.left_out, "truncated")
    assert report.lines()[0] == "2 images: 1 in the manifest, 1 left out"


def test_of_many_broken_files_each_is_named_with_what_is_wrong(tree: Tree) -> None:
    for number in range(10, 15):
        tree.add(f"c_{number}.jpg").write_bytes(b"")
        tree.add(f"d_{number}.jpg", xml="<annotation>")
    lines = tree.lines()
    for number in range(10, 15):
        (cut,) = (line for line in lines if line.startswith(f"c_{number}.jpg: unreadable"))
        assert "empty" in cut
        (xml,) = (line for line in lines if line.startswith(f"d_{number}.jpg: its XML cannot"))
        assert "malformed: no element found" in xml


def test_a_file_that_is_no_picture_by_its_name_is_named(tree: Tree) -> None:
    (tree.root / "train" / "images" / "crazing" / "Thumbs.db").write_bytes(b"x")
    assert "Thumbs.db: not a picture by its name, ignored" in tree.lines()


def test_the_same_pixels_twice_both_stay_and_are_named_together(tree: Tree) -> None:
    file = tree.add("p_1.jpg", seed=7)
    tree.add("p_5.jpg", seed=7)
    file.write_bytes(file.read_bytes() + b"other bytes, same picture")
    manifest, report = tree.prepare()
    assert len(manifest.images) == 3
    assert "p_1.jpg, p_5.jpg: the same pixels" in report.lines()


def test_the_same_pixels_with_two_labels_are_left_out_and_named(tree: Tree) -> None:
    tree.add("p.jpg", seed=7, folder="patches")
    tree.add("i.jpg", seed=7, folder="inclusion")
    manifest, report = tree.prepare()
    assert len(manifest.images) == 1
    expected = "i.jpg, p.jpg: the same pixels labelled inclusion and patches; all left out"
    assert expected in report.lines()


def test_a_train_picture_that_is_also_in_validation_is_left_out_of_train(tree: Tree) -> None:
    tree.add("t.jpg", seed=7)
    tree.add("v.jpg", seed=7, half="validation")
    manifest, report = tree.prepare()
    assert {image.path for image in manifest.of_part(Part.TEST)} == {
        "validation/images/crazing/v.jpg"
    }
    assert report.left_out == ("train/images/crazing/t.jpg",)
    expected = "t.jpg, v.jpg: the same pixels in train and validation; left out of train"
    assert expected in report.lines()


def test_the_same_pixels_with_another_label_in_validation_leave_both_out(tree: Tree) -> None:
    tree.add("t.jpg", seed=7)
    tree.add("v.jpg", seed=7, half="validation", folder="patches")
    _, report = tree.prepare()
    assert len(report.left_out) == 2
    assert len(report.of(Kind.CONTRADICTION)) == 1


def test_without_a_validation_half_pictures_fall_to_three_parts_by_hash(tree: Tree) -> None:
    for number in range(60):
        tree.add(f"many_{number}.jpg")
    manifest, _ = prepare(tree.root, select_percent=30, test_percent=30)
    before = {image.path: image.part for image in manifest.images}
    assert set(before.values()) == set(Part)
    tree.add("another.jpg")
    manifest, _ = prepare(tree.root, select_percent=30, test_percent=30)
    after = {image.path: image.part for image in manifest.images}
    assert after.items() > before.items()


def test_with_a_validation_half_it_alone_is_the_test_part(tree: Tree) -> None:
    for number in range(40):
        tree.add(f"many_{number}.jpg")
    tree.add("v.jpg", half="validation")
    manifest, _ = prepare(tree.root, select_percent=40, test_percent=90)
    tested = [image.path for image in manifest.of_part(Part.TEST)]
    assert tested == ["validation/images/crazing/v.jpg"]
    assert manifest.of_part(Part.SELECT)
    assert manifest.of_part(Part.FIT)


def test_a_validation_folder_without_pictures_is_no_validation_half(tree: Tree) -> None:
    for number in range(40):
        tree.add(f"many_{number}.jpg")
    (tree.root / "validation" / "annotations").mkdir(parents=True)
    manifest, _ = prepare(tree.root, select_percent=0, test_percent=40)
    assert manifest.of_part(Part.TEST)


def test_a_class_that_only_validation_has_is_named(tree: Tree) -> None:
    tree.add("v.jpg", half="validation", folder="patches")
    assert "class patches has no image in fit, so it cannot be learned" in tree.lines()


# Near-duplicates


def steel(seed: int, *, brighter: int = 0) -> NDArray[np.uint8]:
    """Pictures of one seed are nearly the same, and the same if equally bright."""
    drawn = draw_surface("patches", seed=seed, height=100, width=100)
    return np.clip(drawn.astype(int) + brighter, 0, 255).astype(np.uint8)


def test_pictures_that_are_nearly_the_same_fall_to_one_part_and_are_named(tree: Tree) -> None:
    for number in range(12):
        tree.add(f"a_{number}.jpg", pixels=steel(number))
        tree.add(f"b_{number}.jpg", pixels=steel(number, brighter=9))
    manifest, report = prepare(tree.root, select_percent=30, test_percent=30)
    parts = {Path(image.path).stem: image.part for image in manifest.images}
    assert all(parts[f"a_{number}"] is parts[f"b_{number}"] for number in range(12))
    assert len(set(parts.values())) == 3
    assert "24 images are near-duplicates, in 12 groups, at most 2 in one" in report.lines()
    told = [line for line in report.lines() if "nearly the same picture (correlation 1.00)" in line]
    assert len(told) == 12


def test_the_smallest_pixel_hash_decides_for_all_that_are_nearly_the_same(tree: Tree) -> None:
    for number in range(4):
        tree.add(f"{number}.jpg", pixels=steel(1, brighter=3 * number))
    manifest, _ = tree.prepare()
    alike = [image for image in manifest.images if Path(image.path).stem.isdigit()]
    assert {image.group for image in alike} == {min(image.pixels for image in alike)}
    (other,) = set(manifest.images) - set(alike)
    assert other.is_alone


def test_a_near_duplicate_stays_in_one_fold_of_a_cross_validation(tree: Tree) -> None:
    for number in range(12):
        tree.add(f"a_{number}.jpg", pixels=steel(number))
        tree.add(f"b_{number}.jpg", pixels=steel(number, brighter=9))
    manifest, _ = tree.prepare()
    for fold in range(5):
        parts = {Path(it.path).stem: it.part for it in fold_of(manifest, fold).images}
        assert all(parts[f"a_{number}"] is parts[f"b_{number}"] for number in range(12))


def test_a_train_picture_nearly_the_same_as_one_in_validation_is_left_out_of_train(
    tree: Tree,
) -> None:
    tree.add("t.jpg", pixels=steel(1))
    tree.add("v.jpg", pixels=steel(1, brighter=9), half="validation")
    manifest, report = tree.prepare()
    assert [image.path for image in manifest.of_part(Part.TEST)] == [
        "validation/images/crazing/v.jpg"
    ]
    assert report.left_out == ("train/images/crazing/t.jpg",)
    assert (
        "t.jpg, v.jpg: nearly the same picture in train and validation; left out of train "
        "(correlation 1.00)"
    ) in report.lines()


def test_pictures_nearly_the_same_with_two_labels_both_stay_and_are_told(tree: Tree) -> None:
    tree.add("p.jpg", pixels=steel(1), folder="patches")
    tree.add("i.jpg", pixels=steel(1, brighter=9), folder="inclusion")
    manifest, report = tree.prepare()
    assert len(manifest.images) == 3
    expected = (
        "i.jpg, p.jpg: nearly the same picture, labelled inclusion and patches (correlation 1.00)"
    )
    assert expected in report.lines()


def test_exact_copies_of_a_near_duplicate_stay_with_it(tree: Tree) -> None:
    tree.add("a.jpg", pixels=steel(1))
    tree.add("a_again.jpg", pixels=steel(1))
    tree.add("b.jpg", pixels=steel(1, brighter=9))
    manifest, report = tree.prepare()
    alike = {image.group for image in manifest.images if "crazing_1" not in image.path}
    assert len(alike) == 1
    assert "a.jpg, a_again.jpg, b.jpg: nearly the same picture (correlation 1.00)" in report.lines()
