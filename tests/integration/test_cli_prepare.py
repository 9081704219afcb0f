import json
from pathlib import Path

import pytest
from builders import surface_file
from commands import Millwatch

XML = """<annotation><filename>{name}</filename><object><name>{label}</name><bndbox>
<xmin>1</xmin><ymin>1</ymin><xmax>90</xmax><ymax>90</ymax></bndbox></object></annotation>"""


@pytest.fixture
def neu_det(tmp_path: Path) -> Path:
    """A NEU-DET folder with three pictures of each of two classes, one of them labelled by its XML."""
    root = tmp_path / "NEU-DET"
    annotations = root / "train" / "annotations"
    annotations.mkdir(parents=True)
    for seed, (label, number) in enumerate(
        (label, number) for label in ("crazing", "patches") for number in (1, 2, 3)
    ):
        folder = root / "train" / "images" / label
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{label}_{number}.jpg"
        (folder / name).write_bytes(surface_file(label, seed=seed))
        said = "patches" if name == "crazing_3.jpg" else label
        (annotations / f"{label}_{number}.xml").write_text(XML.format(name=name, label=said))
    return root


def test_prepare_writes_the_manifest_and_the_folders_that_it_is_asked_for(
    millwatch: Millwatch, neu_det: Path, tmp_path: Path
) -> None:
    out, folders = tmp_path / "manifest.json", tmp_path / "classes"
    options = ("--select-percent", "0", "--test-percent", "0", "--folders", folders)
    done = millwatch("prepare", neu_det, "--out", out, *options)
    assert done.status == 0, done.err
    labels = {
        Path(each["path"]).name: each["label"] for each in json.loads(out.read_text())["images"]
    }
    assert len(labels) == 6
    assert labels["crazing_3.jpg"] == "patches"
    assert labels["crazing_1.jpg"] == "crazing"
    assert len(list((folders / "train" / "patches").iterdir())) == 4
    assert f"{folders}: 6 images in class folders" in done.out


def test_prepare_says_what_is_wrong_with_a_folder_that_is_not_neu_det(
    millwatch: Millwatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    done = millwatch("prepare", tmp_path / "empty", "--out", tmp_path / "manifest.json")
    assert done.status == 1
    assert done.err.startswith("millwatch: ")
    assert str(tmp_path / "empty") in done.err
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("value", ["-1", "100", "many"])
def test_a_share_that_cannot_be_is_wrong_usage(
    millwatch: Millwatch, neu_det: Path, tmp_path: Path, value: str
) -> None:
    done = millwatch("prepare", neu_det, "--out", tmp_path / "m.json", "--test-percent", value)
    assert done.status == 2
    assert "--test-percent" in done.err


def test_a_recipe_or_part_that_there_is_not_is_wrong_usage(
    millwatch: Millwatch, tmp_path: Path
) -> None:
    for command, told in (
        (("train", "m.json", "--out", tmp_path / "o", "--recipe", "soup"), "better"),
        (("evaluate", tmp_path, "m.json", "--part", "soup"), "select"),
    ):
        done = millwatch(*command)
        assert done.status == 2
        assert "soup" in done.err
        assert told in done.err
