"""`evaluate --report`, on a few drawn surfaces."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from boxed import write_boxed_manifest
from builders import surface_file
from commands import Millwatch
from filesystems import obeying_permissions


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    out = tmp_path / "manifest.json"
    write_boxed_manifest(tmp_path / "data", each=2, boxed=1).save(out)
    return out


def test_evaluate_leaves_a_report_with_all_that_was_measured(
    millwatch: Millwatch, model: Path, manifest: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other-metal"
    other.mkdir()
    (other / "one.jpg").write_bytes(surface_file("no_defect", seed=3))
    report = tmp_path / "reports" / "model.html"
    done = millwatch("evaluate", model, manifest, "--report", report, "--novel", other, "--json")
    assert done.status == 0, done.err
    told = report.read_text()
    assert f"{100 * json.loads(done.out)['accuracy']:.2f} %" in told
    for words in ("motion blur", "known against other-metal", "pointing game, mean over classes"):
        assert words in told


def test_pictures_of_other_things_need_a_report_to_go_into(
    millwatch: Millwatch, model: Path, manifest: Path, tmp_path: Path
) -> None:
    done = millwatch("evaluate", model, manifest, "--novel", tmp_path)
    assert done.status == 2
    assert "goes into a report; name its file too" in " ".join(done.err.split())


def test_a_report_that_cannot_be_written_or_filled_is_said(
    millwatch: Millwatch, model: Path, manifest: Path, tmp_path: Path
) -> None:
    done = millwatch("evaluate", model, manifest, "--report", tmp_path)
    assert done.status == 2
    assert "is a directory" in " ".join(done.err.split())
    nowhere = tmp_path / "nowhere"
    report = tmp_path / "report.html"
    done = millwatch("evaluate", model, manifest, "--report", report, "--novel", nowhere)
    assert done.status == 1
    assert f"{nowhere} holds no picture" in done.err
    assert not report.exists()


def test_what_keeps_a_report_from_being_measured_is_not_told_as_a_report_that_cannot_be_written(
    millwatch: Millwatch, model: Path, manifest: Path, tmp_path: Path
) -> None:
    annotations = tmp_path / "data" / "train" / "annotations"
    annotations.chmod(0o600)
    with obeying_permissions():
        done = millwatch("evaluate", model, manifest, "--report", tmp_path / "report.html")
    assert done.status == 1
    assert f"{model} cannot be evaluated on {manifest}: " in done.err
    assert str(annotations) in done.err
    assert "cannot be written" not in done.err


def test_figures_of_images_that_the_model_may_know_are_marked_without_a_report_too(
    millwatch: Millwatch, model: Path, manifest: Path
) -> None:
    done = millwatch("evaluate", model, manifest, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["images"] == 12
    assert done.err == (
        "millwatch: This is not the manifest that the model was trained on: some of these images may "
        "have been in its training.\n"
    )


def test_a_report_shows_pictures_whose_names_are_no_text(
    millwatch: Millwatch, model: Path, tmp_path: Path
) -> None:
    made = write_boxed_manifest(tmp_path / "data", each=1, boxed=0)
    images = []
    for image in made.images:
        odd = f"{image.label}-{os.fsdecode(bytes([255]))}.jpg"
        (made.root / image.path).rename(made.root / odd)
        images.append(replace(image, path=odd))
    manifest, report = tmp_path / "manifest.json", tmp_path / "model.html"
    replace(made, images=tuple(images)).save(manifest)
    done = millwatch("evaluate", model, manifest, "--report", report)
    assert done.status == 0, done.err
    assert r"-\xff.jpg" in report.read_text()


def test_too_little_memory_is_told_in_words(
    millwatch: Millwatch, model: Path, manifest: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    shutil.copytree(model, large)
    described = json.loads((large / "model.json").read_text())
    (large / "model.json").write_text(json.dumps({**described, "input_size": 10**7}))
    done = millwatch("evaluate", large, manifest)
    assert done.status == 1
    assert done.err.startswith("millwatch: there is too little memory (Unable to allocate ")
    assert "; close other programs, or do it where there is more" in done.err
