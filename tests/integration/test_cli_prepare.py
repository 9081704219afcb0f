import json
import os
import shutil
from pathlib import Path

import pytest
from builders import surface_file
from commands import Millwatch

from training.data.dataset import load_part
from training.data.manifest import Part, load_manifest

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


def test_prepare_shows_on_a_terminal_how_far_it_is(
    millwatch: Millwatch, neu_det: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--select-percent", "0", "--test-percent", "0")
    elsewhere = millwatch("prepare", neu_det, "--out", tmp_path / "manifest.json", *options)
    assert elsewhere.err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # as rich takes for a terminal
    monkeypatch.setenv("TERM", "xterm")
    done = millwatch("prepare", neu_det, "--out", tmp_path / "manifest.json", *options)
    assert done.status == 0
    assert done.out == elsewhere.out
    assert "reading images" in done.err
    assert "100%" in done.err


def test_prepare_says_what_is_wrong_with_a_folder_that_is_not_neu_det(
    millwatch: Millwatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    done = millwatch("prepare", tmp_path / "empty", "--out", tmp_path / "manifest.json")
    assert done.status == 1
    assert done.err.startswith("millwatch: ")
    assert str(tmp_path / "empty") in done.err
    assert not (tmp_path / "manifest.json").exists()


def test_a_zip_is_unpacked_beside_the_manifest_and_told_where(
    millwatch: Millwatch, neu_det: Path, tmp_path: Path
) -> None:
    made = shutil.make_archive(str(tmp_path / "set"), "zip", neu_det.parent, neu_det.name)
    out = tmp_path / "out" / "manifest.json"
    options = ("--out", out, "--select-percent", "0", "--test-percent", "0")
    done = millwatch("prepare", made, *options)
    assert done.status == 0, done.err
    assert f"{tmp_path / 'out' / 'set'}: set.zip unpacked; training reads" in done.out
    assert len(load_part(load_manifest(out), Part.FIT, side=32)) == 6
    again = millwatch("prepare", made, *options)
    assert "set.zip unpacked before, used again" in again.out


def test_a_file_that_is_no_zip_is_refused_in_words(millwatch: Millwatch, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_text("no zip")
    done = millwatch("prepare", tmp_path / "set.zip", "--out", tmp_path / "out" / "m.json")
    assert done.status == 1
    assert "set.zip cannot be unpacked" in done.err
    assert list((tmp_path / "out").iterdir()) == []


def test_labels_that_may_be_wrong_are_listed_when_asked_for(
    millwatch: Millwatch, tmp_path: Path, model: Path
) -> None:
    """Twenty pictures of each of two classes, one of them in the wrong folder."""
    images = tmp_path / "set" / "train" / "images"
    for label in ("patches", "scratches"):
        (images / label).mkdir(parents=True)
        for seed in range(20):
            (images / label / f"{label}_{seed}.jpg").write_bytes(surface_file(label, seed=seed))
    (images / "scratches" / "wrong.jpg").write_bytes(surface_file("patches", seed=99))
    command = ("prepare", tmp_path / "set", "--out", tmp_path / "m.json")
    done = millwatch(*command, "--label-errors", "--model", model)
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert any("labels to look at" in line for line in lines)
    (told,) = [line for line in lines if line.startswith("train/images/scratches/wrong.jpg: ")]
    assert told.split(" (")[0].endswith("labelled scratches, likely patches")
    assert "labels to look at" not in millwatch(*command).out


def test_a_model_without_label_errors_is_wrong_usage(
    millwatch: Millwatch, neu_det: Path, tmp_path: Path
) -> None:
    done = millwatch("prepare", neu_det, "--out", tmp_path / "m.json", "--model", tmp_path)
    assert done.status == 2
    assert "--model" in done.err


def test_a_model_that_is_not_there_is_told_after_the_manifest_is_written(
    millwatch: Millwatch, neu_det: Path, tmp_path: Path
) -> None:
    options = ("--out", tmp_path / "m.json", "--select-percent", "0", "--test-percent", "0")
    done = millwatch("prepare", neu_det, *options, "--label-errors", "--model", tmp_path / "none")
    assert done.status == 1
    assert "the labels cannot be judged" in done.err
    assert (tmp_path / "m.json").exists()


def test_a_manifest_that_cannot_be_written_is_named_and_leaves_nothing(
    millwatch: Millwatch, neu_det: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "taken").mkdir(parents=True)
    done = millwatch("prepare", neu_det, "--out", out / "taken")
    assert done.status == 2
    assert "is a directory" in done.err
    assert [path.name for path in out.iterdir()] == ["taken"]


def test_a_pipe_or_a_device_is_not_replaced_by_a_file(
    millwatch: Millwatch, neu_det: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    shares = ("--select-percent", "0", "--test-percent", "0")
    done = millwatch("prepare", neu_det, "--out", pipe, *shares)
    assert pipe.is_fifo()
    assert done.status == 1
    assert f"{pipe} cannot be written: it is neither a file nor a folder" in done.err


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
        (("train", "m.json", "--out", tmp_path / "o", "--recipe", "soup"), "steel"),
        (("evaluate", tmp_path, "m.json", "--part", "soup"), "select"),
    ):
        done = millwatch(*command)
        assert done.status == 2
        assert "soup" in done.err
        assert told in done.err


def test_names_that_are_no_text_or_drive_a_terminal_are_told_on_one_line(
    millwatch: Millwatch, neu_det: Path, tmp_path: Path
) -> None:
    odd = Path(os.fsdecode(b"odd\xff\x1b[2J\n.jpg"))
    shutil.copy(
        neu_det / "train/images/crazing/crazing_1.jpg", neu_det / "train/images/crazing" / odd
    )
    done = millwatch("prepare", neu_det, "--out", tmp_path / "manifest.json")
    assert done.status == 0, done.err
    assert r"crazing_1.jpg, odd\xff\x1b[2J\n.jpg: the same pixels" in done.out.splitlines()
