"""NEU-DET folders, whole and broken, to a manifest and a report."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.taxonomy import KNOWN_DEFECTS
from training.findings import Finding, Kind, PreparationReport
from training.manifest import Manifest, Part, load_manifest
from training.neu_det import PreparationError, prepare, write_class_folders

WHOLE = (1, 1, 16, 16)
SIDE = 16
REAL = os.environ.get("NEU_DET_DIR")

NamedBox = tuple[str, tuple[float, float, float, float]]


def picture(path: Path, *, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def voc(*boxes: NamedBox, filename: str) -> str:
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for label, (left, top, right, bottom) in boxes
    )
    return f"<annotation><filename>{filename}</filename>{objects}</annotation>"


class Tree:
    """A NEU-DET folder under construction, each picture different unless its seed is given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seed = 1000

    def add(
        self,
        name: str,
        *boxes: NamedBox,
        folder: str = "crazing",
        half: str = "train",
        xml: str | None = "",
        seed: int | None = None,
    ) -> Path:
        """One picture with its XML: whole-picture box of its folder's class unless told otherwise.

        `xml` is the text of the file, None for none.
        """
        self._seed += 1
        file = picture(self.root / half / "images" / folder / name, seed=seed or self._seed)
        if xml is not None:
            text = xml or voc(*(boxes or ((folder, WHOLE),)), filename=name)
            self.annotate(file.stem, text, half=half)
        return file

    def annotate(self, stem: str, text: str, *, half: str = "train") -> Path:
        file = self.root / half / "annotations" / f"{stem}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def prepare(self) -> tuple[Manifest, PreparationReport]:
        """With every train picture in fit, so that a test need not know hashes."""
        return prepare(self.root, select_percent=0, test_percent=0)

    def findings(self) -> tuple[Finding, ...]:
        return self.prepare()[1].findings

    def lines(self) -> tuple[str, ...]:
        return self.prepare()[1].lines()

    def label_of(self, name: str) -> str | None:
        labels = {Path(image.path).name: image.label for image in self.prepare()[0].images}
        return labels.get(name)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """One faultless picture, so that leaving another out never leaves the set empty."""
    tree = Tree(tmp_path / "NEU-DET")
    tree.add("crazing_1.jpg")
    return tree


def test_a_faultless_set_has_no_findings(tree: Tree) -> None:
    tree.add("inclusion_1.jpg", folder="inclusion")
    manifest, report = tree.prepare()
    assert report.findings == ()
    assert report.left_out == ()
    assert [(image.path, image.label) for image in manifest.images] == [
        ("train/images/crazing/crazing_1.jpg", "crazing"),
        ("train/images/inclusion/inclusion_1.jpg", "inclusion"),
    ]


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


# Labels


def test_the_label_is_the_class_with_the_most_box_area_not_the_most_boxes(tree: Tree) -> None:
    small = ("patches", (1, 1, 4, 4))
    tree.add("mixed.jpg", small, small, small, ("inclusion", (1, 1, 16, 10)), folder="inclusion")
    assert tree.label_of("mixed.jpg") == "inclusion"


def test_the_name_of_a_file_does_not_give_its_label(tree: Tree) -> None:
    tree.add("scratches_9.jpg", folder="patches")
    assert tree.label_of("scratches_9.jpg") == "patches"


def test_classes_of_the_same_area_leave_the_label_to_the_folder(tree: Tree) -> None:
    boxes = ("inclusion", (1, 1, 8, 8)), ("scratches", (8, 8, 15, 15))
    tree.add("even.jpg", *boxes, folder="scratches")
    assert tree.label_of("even.jpg") == "scratches"


def test_a_second_class_in_an_image_is_reported_with_both_names(tree: Tree) -> None:
    tree.add("s.jpg", ("scratches", WHOLE), ("inclusion", (1, 1, 4, 4)), folder="scratches")
    assert "s.jpg: labelled scratches, also has boxes of inclusion" in tree.lines()


def test_an_xml_that_disagrees_with_the_folder_wins_and_is_reported(tree: Tree) -> None:
    tree.add("c.jpg", ("patches", WHOLE), folder="crazing")
    assert tree.label_of("c.jpg") == "patches"
    assert "c.jpg: its XML says patches, its folder crazing; labelled patches" in tree.lines()


def test_an_image_without_xml_is_labelled_by_its_folder_and_named(tree: Tree) -> None:
    tree.add("crazing_240.jpg", xml=None)
    assert tree.label_of("crazing_240.jpg") == "crazing"
    assert "crazing_240.jpg: no XML; labelled crazing by its folder" in tree.lines()


def test_an_image_without_xml_in_an_unknown_folder_is_left_out_and_named(tree: Tree) -> None:
    tree.add("x.jpg", folder="misc", xml=None)
    _, report = tree.prepare()
    assert report.left_out == ("train/images/misc/x.jpg",)
    expected = "x.jpg: no XML; left out, as its folder (misc) is no known class"
    assert expected in report.lines()


def test_a_clean_picture_needs_no_xml(tree: Tree) -> None:
    tree.add("clean.jpg", folder="no_defect", xml=None)
    assert tree.label_of("clean.jpg") == "no_defect"


@pytest.mark.parametrize("label", ["unknown", "../escape", "..", "a\\b", "C:"])
def test_a_label_that_cannot_be_a_class_is_left_out_and_named(tree: Tree, label: str) -> None:
    tree.add("x.jpg", (label, WHOLE))
    _, report = tree.prepare()
    assert report.left_out == ("train/images/crazing/x.jpg",)
    assert f"x.jpg: its XML says {label!r}, which cannot be a class; left out" in report.lines()


# XML files


def test_an_xml_in_the_validation_half_is_used_and_reported(tree: Tree) -> None:
    tree.add("crazing_240.jpg", xml=None)
    text = voc(("patches", WHOLE), filename="crazing_240.jpg")
    tree.annotate("crazing_240", text, half="validation")
    assert tree.label_of("crazing_240.jpg") == "patches"
    assert "crazing_240.jpg: its XML lies in validation/annotations" in tree.lines()


def test_an_xml_that_describes_a_validation_picture_is_not_borrowed(tree: Tree) -> None:
    tree.add("a.jpg", xml=None)
    tree.add("a.jpg", folder="patches", half="validation")
    manifest, report = tree.prepare()
    assert [image.label for image in manifest.images] == ["crazing", "crazing", "patches"]
    expected = "train/images/crazing/a.jpg: no XML; labelled crazing by its folder"
    assert expected in report.lines()


def test_an_xml_without_an_image_is_named(tree: Tree) -> None:
    tree.add("bare.jpg", xml=None)
    tree.annotate("gone", voc(("patches", WHOLE), filename="gone.jpg"))
    assert "gone.xml: XML without an image of its name, ignored" in tree.lines()
    assert tree.label_of("bare.jpg") == "crazing"


def test_a_filename_without_an_extension_is_tolerated_and_named(tree: Tree) -> None:
    tree.add("p.jpg", xml=voc(("patches", WHOLE), filename="p"), folder="patches")
    assert tree.label_of("p.jpg") == "patches"
    assert "p.jpg: <filename> without an extension in its XML" in tree.lines()
    assert len(tree.findings()) == 1


def test_a_filename_with_a_windows_folder_is_no_finding(tree: Tree) -> None:
    tree.add("p.jpg", xml=voc(("crazing", WHOLE), filename="D:\\neu\\p.jpg"))
    assert tree.findings() == ()


def test_a_filename_of_another_image_is_named(tree: Tree) -> None:
    tree.add("p.jpg", xml=voc(("crazing", WHOLE), filename="q.jpg"))
    assert "p.jpg: <filename> of another image in its XML (q.jpg)" in tree.lines()


def test_two_images_that_share_one_xml_are_named_by_their_paths(tree: Tree) -> None:
    tree.add("0001.jpg", folder="patches")
    tree.add("0001.jpg", folder="scratches", xml=None)
    assert (
        "train/images/patches/0001.jpg, train/images/scratches/0001.jpg: "
        "share one XML, which can describe only one of them"
    ) in tree.lines()


def test_malformed_xml_is_named_with_its_line_and_the_folder_labels(tree: Tree) -> None:
    tree.add("m.jpg", xml="<annotation>\n<object>")
    (finding,) = tree.findings()
    assert finding.kind is Kind.XML_UNUSABLE
    assert finding.detail == "its XML cannot be used; labelled crazing by its folder"
    assert "line 2" in finding.because
    assert tree.label_of("m.jpg") == "crazing"


def test_xml_of_something_else_is_named(tree: Tree) -> None:
    tree.add("m.jpg", xml="<html/>")
    assert tree.findings()[0].because == "begins with <html>, expected <annotation>"


def test_an_empty_xml_file_is_named(tree: Tree) -> None:
    tree.add("m.jpg", xml=" ")
    assert tree.findings()[0].kind is Kind.XML_UNUSABLE


def test_xml_in_an_encoding_that_does_not_exist_is_named(tree: Tree) -> None:
    tree.add("m.jpg", xml='<?xml version="1.0" encoding="klingon"?><annotation/>')
    assert tree.findings()[0].kind is Kind.XML_UNUSABLE


@pytest.mark.parametrize("number", ["", "left", "nan", "inf"])
def test_a_corner_that_is_not_a_number_is_named(tree: Tree, number: str) -> None:
    text = voc(("crazing", WHOLE), filename="m.jpg").replace(
        "<xmin>1</xmin>", f"<xmin>{number}</xmin>"
    )
    tree.add("m.jpg", xml=text)
    assert tree.findings()[0].because.startswith("object 1 (crazing) has <xmin>")


def test_an_object_without_a_name_is_named(tree: Tree) -> None:
    tree.add("m.jpg", xml="<annotation><object/></annotation>")
    assert tree.findings()[0].because == "object 1 has no <name>"


ENTITIES = (
    '<!DOCTYPE a [<!ENTITY x "crazing">]><annotation><object><name>&x;</name></object></annotation>'
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_with_a_doctype_is_refused_before_it_can_expand(tree: Tree, encoding: str) -> None:
    tree.add("bomb.jpg")
    bomb = tree.annotate("bomb", "")
    bomb.write_bytes(ENTITIES.encode(encoding))
    (finding,) = tree.findings()
    assert finding.because == "has a DOCTYPE, which could expand without limit"


def test_xml_of_more_than_a_megabyte_is_refused(tree: Tree) -> None:
    text = voc(("crazing", WHOLE), filename="huge.jpg")
    tree.add("huge.jpg", xml=text + " " * 1_000_000)
    assert tree.findings()[0].because == "larger than 1000000 bytes"


def test_xml_without_an_object_is_named_and_the_folder_labels(tree: Tree) -> None:
    tree.add("e.jpg", xml="<annotation/>")
    assert "e.jpg: its XML has no object; labelled crazing by its folder" in tree.lines()


def test_a_box_that_reaches_outside_is_named_and_its_inside_counts(tree: Tree) -> None:
    far = ("inclusion", (-100, 14, 100, 100))
    tree.add("b.jpg", far, ("patches", (1, 1, 16, 14)), folder="patches")
    assert tree.label_of("b.jpg") == "patches"
    expected = "b.jpg: a box reaches outside the image; the part inside counts (image 16x16)"
    assert expected in tree.lines()


@pytest.mark.parametrize("corners", [(4, 4, 4, 9), (9, 9, 4, 4)])
def test_a_box_without_area_is_named_and_does_not_count(
    tree: Tree, corners: tuple[float, float, float, float]
) -> None:
    tree.add("b.jpg", ("inclusion", corners), ("patches", (1, 1, 3, 3)), folder="patches")
    assert tree.label_of("b.jpg") == "patches"
    assert "b.jpg: a box without area" in tree.lines()


def test_an_image_whose_boxes_have_no_area_on_it_is_labelled_by_its_folder(tree: Tree) -> None:
    tree.add("b.jpg", ("inclusion", (40, 40, 90, 90)), folder="patches")
    assert tree.label_of("b.jpg") == "patches"
    expected = "b.jpg: its XML has no box with area on the image; labelled patches by its folder"
    assert expected in tree.lines()


# Pictures


def test_an_unreadable_image_is_left_out_and_named(tree: Tree) -> None:
    file = tree.add("cut.jpg")
    file.write_bytes(file.read_bytes()[:-20])
    _, report = tree.prepare()
    assert report.left_out == ("train/images/crazing/cut.jpg",)
    (finding,) = report.of(Kind.UNREADABLE)
    assert (finding.files, finding.because[:9]) == (report.left_out, "truncated")
    assert report.lines()[0] == "2 images: 1 in the manifest, 1 left out"


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


# Parts


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
    with pytest.raises(PreparationError, match=r"expected train/images/<class>; found holiday$"):
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


# Class folders


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
    tree.add("crazing_1.jpg", folder="patches", xml=None)
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


# The real set


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
