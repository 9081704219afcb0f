from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxed import annotation, write_boxed_manifest
from neu_det_trees import picture

from training.data.boxes import CELLS, Boxed, boxes_of, coverage
from training.data.manifest import Manifest, Part
from training.data.neu_det import prepare
from training.data.voc import Box

HALF = CELLS // 2


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Two images of each class boxed in their upper left quarter, a third one not."""
    return write_boxed_manifest(tmp_path)


def annotate(manifest: Manifest, *boxes: tuple[str, tuple[float, float, float, float]]) -> None:
    """Of the first image, which is of crazing and 96 px wide."""
    texts = [annotation(label, corners) for label, corners in boxes]
    objects = [text.removeprefix("<annotation>").removesuffix("</annotation>") for text in texts]
    xml = manifest.root / "train" / "annotations" / "crazing_0.xml"
    xml.write_text(f"<annotation>{''.join(objects)}</annotation>")


@pytest.mark.parametrize("suffix", [".xml", ".XML"])
@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("train/images/scratches", "train/annotations"),
        ("train/images", "train/annotations"),
        ("IMAGES", "ANNOTATIONS"),
        ("Train/Images/scratches", "Train/AnnoTations"),
        ("train/images/scratches", "validation/annotations"),
    ],
)
def test_boxes_are_those_of_the_xml_that_prepare_labelled_by(
    tmp_path: Path, images: str, annotations: str, suffix: str
) -> None:
    picture(tmp_path / images / "a.jpg", seed=1)
    xml = tmp_path / annotations / f"a{suffix}"
    xml.parent.mkdir(parents=True)
    xml.write_text(annotation("Scratches", (1, 2, 3, 4), (5, 5, 5, 9), (16, 0, 20, 20)))
    manifest, _ = prepare(tmp_path, select_percent=0, test_percent=0)
    assert [image.label for image in manifest.images] == ["scratches"]
    inside = Box(label="scratches", left=1, top=2, right=3, bottom=4)
    assert boxes_of(manifest, Part.FIT) == [Boxed(height=16, width=16, boxes=(inside,))]
    xml.write_text("<annotation>")
    assert boxes_of(manifest, Part.FIT) == [None]


def test_of_an_image_whose_boxes_lie_beside_it_nothing_is_known(manifest: Manifest) -> None:
    annotate(manifest, ("crazing", (96, 0, 140, 96)))
    maps = coverage(manifest, Part.TEST)
    assert maps is not None
    own, unknown = maps[0]
    assert own.max() == 0
    assert unknown.min() == 1


def test_a_map_says_what_of_each_image_is_boxed(manifest: Manifest) -> None:
    maps = coverage(manifest, Part.TEST)
    assert maps is not None
    assert maps.shape == (18, 2, CELLS, CELLS)
    own, unknown = maps[0]
    assert own[:HALF, :HALF].min() == 1
    assert own.sum() == HALF**2
    assert unknown.max() == 0


def test_of_an_image_without_a_box_nothing_is_known(manifest: Manifest) -> None:
    maps = coverage(manifest, Part.TEST)
    assert maps is not None
    own, unknown = maps[2]
    assert own.max() == 0
    assert unknown.min() == 1


def test_where_another_class_is_boxed_nothing_is_known(manifest: Manifest) -> None:
    annotate(manifest, ("crazing", (0, 0, 48, 96)), ("patches", (24, 0, 72, 96)))
    maps = coverage(manifest, Part.TEST)
    assert maps is not None
    own, unknown = maps[0]
    quarter = np.array([0.0, 12.5, 25.0, 37.5]).astype(int) + 1
    assert own[0, quarter].tolist() == [1, 1, 0, 0]
    assert unknown[0, quarter].tolist() == [0, 0, 1, 0]


def test_an_image_with_boxes_of_other_classes_alone_teaches_no_place(manifest: Manifest) -> None:
    annotate(manifest, ("patches", (0, 0, 48, 48)))
    maps = coverage(manifest, Part.TEST)
    assert maps is not None
    assert maps[0, 0].max() == 0
    assert maps[0, 1].min() == 1


def test_a_box_that_reaches_outside_is_cut_and_a_small_one_covers_part_of_a_cell(
    manifest: Manifest,
) -> None:
    annotate(manifest, ("crazing", (-20, 95, 200, 110)))
    maps = coverage(manifest, Part.TEST)
    assert maps is not None
    own = maps[0, 0]
    assert own[-1].tolist() == [0.5] * CELLS
    assert own[:-1].max() == 0


def test_without_any_box_there_are_no_maps(manifest: Manifest) -> None:
    unboxed = tuple(image for image in manifest.images if image.path.endswith("_2.jpg"))
    assert coverage(replace(manifest, images=unboxed), Part.TEST) is None
