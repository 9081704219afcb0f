"""Where pictures and XML files may lie."""

import shutil
from pathlib import Path

import pytest
from filesystems import obeying_permissions
from neu_det_trees import WHOLE, NamedBox, Tree, picture, voc

from training.data.findings import Kind, PreparationError, PreparationReport
from training.data.manifest import Manifest
from training.data.neu_det import prepare


def flat_picture(
    root: Path, name: str, *boxes: NamedBox, images: str = "IMAGES", xml: str = "ANNOTATIONS"
) -> None:
    """A picture in a flat layout, with an XML where it is given boxes."""
    file = picture(root / images / name, seed=len(list(root.rglob("*"))) + 1)
    if boxes:
        (root / xml).mkdir(exist_ok=True)
        (root / xml / f"{file.stem}.xml").write_text(voc(*boxes, filename=name))


def prepare_all(root: Path) -> tuple[Manifest, PreparationReport]:
    return prepare(root, select_percent=0, test_percent=0)


def labels(root: Path) -> dict[str, str]:
    return {image.path: image.label for image in prepare_all(root)[0].images}


@pytest.mark.parametrize(
    ("images", "xml"),
    [("IMAGES", "ANNOTATIONS"), ("images", "annotations"), ("Images", "Annotations")],
)
def test_a_flat_layout_is_labelled_by_xml_and_without_one_by_the_name(
    tmp_path: Path, images: str, xml: str
) -> None:
    flat_picture(tmp_path, "crazing_1.jpg", ("crazing", WHOLE), images=images, xml=xml)
    flat_picture(tmp_path, "rolled-in_scale_12.jpg", images=images)
    flat_picture(tmp_path, "Scratches_3.JPG", images=images)
    assert labels(tmp_path) == {
        f"{images}/crazing_1.jpg": "crazing",
        f"{images}/rolled-in_scale_12.jpg": "rolled-in_scale",
        f"{images}/Scratches_3.JPG": "scratches",
    }


def test_in_a_flat_layout_the_xml_wins_over_the_name_and_that_is_told(tmp_path: Path) -> None:
    flat_picture(tmp_path, "crazing_1.jpg", ("patches", WHOLE))
    manifest, report = prepare_all(tmp_path)
    assert [image.label for image in manifest.images] == ["patches"]
    expected = "crazing_1.jpg: its XML says patches, its name crazing; labelled patches"
    assert expected in report.lines()


def test_in_a_flat_layout_the_name_decides_among_the_classes_of_the_xml(tmp_path: Path) -> None:
    boxes = ("inclusion", WHOLE), ("scratches", (1, 1, 3, 9))
    flat_picture(tmp_path, "scratches_1.jpg", *boxes)
    assert labels(tmp_path) == {"IMAGES/scratches_1.jpg": "scratches"}


def test_a_name_that_begins_with_no_class_labels_nothing(tmp_path: Path) -> None:
    flat_picture(tmp_path, "crazing_1.jpg")
    flat_picture(tmp_path, "holiday_1.jpg")
    _, report = prepare_all(tmp_path)
    assert report.left_out == ("IMAGES/holiday_1.jpg",)
    expected = "holiday_1.jpg: no XML; left out, as its name begins with no known class"
    assert expected in report.lines()


def test_xml_files_may_end_in_capitals(tmp_path: Path) -> None:
    flat_picture(tmp_path, "crazing_1.jpg", ("patches", WHOLE))
    xml = tmp_path / "ANNOTATIONS" / "crazing_1.xml"
    xml.rename(xml.with_suffix(".XML"))
    assert labels(tmp_path) == {"IMAGES/crazing_1.jpg": "patches"}


def test_folders_as_kaggle_names_them_may_be_in_capitals(tree: Tree) -> None:
    tree.add("v.jpg", half="validation")
    (tree.root / "train" / "images").rename(tree.root / "train" / "IMAGES")
    (tree.root / "train").rename(tree.root / "Train")
    (tree.root / "validation").rename(tree.root / "Validation")
    manifest, report = tree.prepare()
    parts = {image.path: image.part.value for image in manifest.images}
    assert parts == {
        "Train/IMAGES/crazing/crazing_1.jpg": "fit",
        "Validation/images/crazing/v.jpg": "test",
    }
    assert report.findings == ()


@pytest.mark.parametrize("written", ["Rolled-in Scale", "rolled_in_scale", "ROLLED-IN_SCALE"])
def test_a_class_that_is_known_is_known_however_a_folder_or_an_xml_spells_it(
    tree: Tree, written: str
) -> None:
    tree.add("by_folder.jpg", folder=written, xml=None)
    tree.add("by_xml.jpg", (written, WHOLE), folder="rolled-in_scale")
    manifest, _ = tree.prepare()
    assert manifest.classes == ("crazing", "rolled-in_scale")
    assert tree.label_of("by_folder.jpg") == tree.label_of("by_xml.jpg") == "rolled-in_scale"
    assert not [it for it in tree.findings() if it.kind is Kind.FOLDER_DISAGREES]


def test_folders_of_images_that_are_not_read_are_named(tree: Tree) -> None:
    tree.add("v.jpg", half="val")
    tree.add("v.jpg", half="validation")
    picture(tree.root / "images" / "a.jpg", seed=7)
    (tree.root / "docs").mkdir()
    manifest, report = tree.prepare()
    assert len(manifest.images) == 2
    told = "images there are not read, as it is neither train nor validation"
    assert [line for line in report.lines() if told in line] == [
        f"images: {told}",
        f"val: {told}",
    ]


def test_folders_around_it_all_are_passed_through(tree: Tree, tmp_path: Path) -> None:
    around = tmp_path / "download"
    shutil.copytree(tree.root, around / "archive" / "NEU-DET")
    (around / "__MACOSX").mkdir()
    manifest, _ = prepare_all(around)
    assert manifest.root == around / "archive" / "NEU-DET"
    assert len(manifest.images) == 1


def test_of_two_folders_none_is_chosen(tree: Tree, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(tree.root, tmp_path / "two" / name)
    with pytest.raises(PreparationError, match=r"no images under .*two: .* found a, b"):
        prepare_all(tmp_path / "two")


@pytest.mark.parametrize("folder", ["train/annotations/{}", "train/images/{}"])
def test_xml_files_may_lie_in_class_folders_or_beside_the_images_each_with_its_own_stem(
    tree: Tree, folder: str
) -> None:
    for name, box in (("patches", "crazing"), ("scratches", "inclusion")):
        tree.add("0001.jpg", folder=name, xml=None)
        file = tree.root / folder.format(name) / "0001.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(voc((box, WHOLE), filename="0001.jpg"))
    given = labels(tree.root)
    assert given["train/images/patches/0001.jpg"] == "crazing"
    assert given["train/images/scratches/0001.jpg"] == "inclusion"
    assert {found.kind for found in tree.findings()} == {Kind.FOLDER_DISAGREES}


@pytest.mark.parametrize("folder", ["images/crazing", "annotations"])
def test_a_folder_that_is_closed_is_not_taken_for_an_empty_one(tree: Tree, folder: str) -> None:
    tree.add("0001.jpg", folder="crazing")
    closed = tree.root / "train" / folder
    closed.chmod(0)
    with obeying_permissions(), pytest.raises(PermissionError, match=folder):
        tree.prepare()
    closed.chmod(0o755)
