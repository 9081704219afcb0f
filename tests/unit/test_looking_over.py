from dataclasses import replace
from pathlib import Path

from boxed import annotation, write_boxed_manifest

from training.data.manifest import Manifest, Part
from training.judging.looking_over import Alike, Mixed, look_over


def of_two_classes(root: Path, each: int) -> Manifest:
    """Which the features of a random network tell apart."""
    made = write_boxed_manifest(root, each=each, boxed=1)
    kept = tuple(image for image in made.images if image.label in ("inclusion", "scratches"))
    return replace(made, images=kept)


def test_a_wrong_label_pictures_alike_and_a_second_defect_are_found(
    model: Path, tmp_path: Path
) -> None:
    made = of_two_classes(tmp_path / "data", 15)
    images = list(made.images)
    wrong = images[3] = replace(images[3], label="scratches")
    copy = images[20] = replace(images[20], part=Part.FIT, group=images[21].group)
    boxes = annotation("inclusion", (0, 0, 40, 40)).replace("</annotation>", "")
    second = annotation("scratches", (50, 50, 90, 90)).replace("<annotation>", "")
    xml = tmp_path / "data" / "train" / "annotations" / "inclusion_0.xml"
    xml.write_text(boxes + second)
    look = look_over(replace(made, images=tuple(images)), model)
    assert look.images == 30
    assert look.doubts is not None
    first = look.doubts[0]
    assert (first.path, first.given, first.likelier) == (wrong.path, "scratches", "inclusion")
    assert look.alike == (Alike(paths=(copy.path, images[21].path), parts=(Part.FIT, Part.TEST)),)
    assert look.divided == 1
    assert look.mixed == (Mixed(path=images[0].path, label="inclusion", others=("scratches",)),)


def test_a_handful_of_images_tells_nothing_of_labels(model: Path, tmp_path: Path) -> None:
    made = of_two_classes(tmp_path / "data", 1)
    alone = replace(made, images=made.images[:1])
    assert look_over(alone, model).doubts is None
