"""Which class a picture is of, by its XML and by where it lies."""

from pathlib import Path

import pytest
from neu_det_trees import WHOLE, Tree, voc

from training.data.boxes import boxes_of
from training.data.findings import Kind
from training.data.manifest import Part
from training.data.voc import Box


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


def test_classes_that_read_alike_are_told_and_kept_apart(tree: Tree) -> None:
    for number, label in enumerate(("Oil stain", "oil-stain", "stain")):
        tree.add(f"{number}.jpg", (label, WHOLE))
    assert tree.label_of("0.jpg") == "Oil stain"
    told = [line for line in tree.lines() if "read alike" in line]
    assert len(told) == 1
    assert told[0].startswith("classes Oil stain, oil-stain read alike")


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
    expected = (
        "x.jpg: no XML; left out, as its folder (misc) is no known class; an XML can name others"
    )
    assert expected in report.lines()


def test_a_clean_picture_needs_no_xml(tree: Tree) -> None:
    tree.add("clean.jpg", folder="no_defect", xml=None)
    assert tree.label_of("clean.jpg") == "no_defect"


@pytest.mark.parametrize(
    "label", ["unknown", "../escape", "..", "a\\b", "C:", "x" * 65, "\U00010348" * 60]
)
def test_a_label_that_cannot_be_a_class_is_left_out_and_named(tree: Tree, label: str) -> None:
    tree.add("x.jpg", (label, WHOLE))
    _, report = tree.prepare()
    assert report.left_out == ("train/images/crazing/x.jpg",)
    assert f"x.jpg: its XML says {label!r}, which cannot be a class; left out" in report.lines()


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


def test_of_images_that_share_one_xml_those_of_another_class_keep_their_own(tree: Tree) -> None:
    tree.add("0001.jpg", folder="patches")
    tree.add("0001.jpg", folder="scratches", xml=None)
    manifest, report = tree.prepare()
    labels = {image.path: image.label for image in manifest.images if "0001" in image.path}
    assert labels == {
        "train/images/patches/0001.jpg": "patches",
        "train/images/scratches/0001.jpg": "scratches",
    }
    expected = (
        "train/images/scratches/0001.jpg: the XML of its name is another image's; "
        "labelled scratches by its folder"
    )
    assert expected in report.lines()


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


def test_boxes_of_an_image_that_was_resized_since_are_scaled_with_it(tree: Tree) -> None:
    lower_right = ("inclusion", (80, 40, 160, 80))
    tree.add("b.jpg", xml=voc(lower_right, filename="b.jpg", size=(160, 80)))
    manifest, report = tree.prepare()
    expected = (
        "b.jpg: its XML is of an image of another size; the boxes are scaled to this one "
        "(160x80, here 16x16)"
    )
    assert expected in report.lines()
    assert [finding.kind for finding in report.findings].count(Kind.BOX_OUTSIDE) == 0
    paths = [Path(image.path).name for image in manifest.of_part(Part.FIT)]
    boxed = boxes_of(manifest, Part.FIT)[paths.index("b.jpg")]
    assert boxed is not None
    assert boxed.boxes == (Box(label="inclusion", left=8, top=8, right=16, bottom=16),)


@pytest.mark.parametrize("size", [(0, 0), (16, 16), (-16, 16)])
def test_a_size_that_is_the_images_own_or_none_changes_no_box(
    tree: Tree, size: tuple[int, int]
) -> None:
    tree.add("b.jpg", xml=voc(("crazing", WHOLE), filename="b.jpg", size=size))
    assert tree.findings() == ()


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
