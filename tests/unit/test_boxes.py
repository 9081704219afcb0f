from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxed import annotation, write_boxed_manifest

from training.boxes import CELLS, boxes_of, coverage
from training.manifest import Manifest, Part
from training.voc import Box

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


@pytest.mark.parametrize("layout", ["train/images/scratches", "train/images", "IMAGES"])
def test_boxes_are_found_beside_the_images(tmp_path: Path, layout: str) -> None:
    above = tmp_path / layout.split("/images", maxsplit=1)[0] if "/" in layout else tmp_path
    annotations = above / ("ANNOTATIONS" if layout == "IMAGES" else "annotations")
    annotations.mkdir(parents=True)
    (annotations / "a.xml").write_text(annotation("scratches", (1, 2, 3, 4), (5, 5, 5, 9)))
    expected = Box(label="scratches", left=1, top=2, right=3, bottom=4)
    assert boxes_of(tmp_path, f"{layout}/a.jpg") == (expected,)
    assert boxes_of(tmp_path, f"{layout}/b.jpg") == ()
    (annotations / "a.xml").write_text("<annotation>")
    assert boxes_of(tmp_path, f"{layout}/a.jpg") == ()


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
