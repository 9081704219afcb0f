"""`crossvalidate` and `evaluate --corruptions`, on a few drawn surfaces."""

import json
from pathlib import Path

import pytest
from commands import Millwatch
from drawn import prepared_manifest

from models.checkpoint import load_metadata
from training.manifest import load_manifest

CLASSES = ("crazing", "scratches")


@pytest.fixture
def manifest(millwatch: Millwatch, tmp_path: Path) -> Path:
    return prepared_manifest(millwatch, tmp_path, CLASSES, images_of_a_class=30)


def test_a_recipe_is_cross_validated_and_its_models_can_be_evaluated_on_spoilt_pictures(
    millwatch: Millwatch, manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "folds"
    done = millwatch(
        "crossvalidate", manifest, "--out", out, "--folds", "2", "--recipe", "steel",
        "--epochs", "1", "--corruptions", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert told == json.loads((out / "crossvalidation.json").read_text())
    assert told["pooled"]["images"] == 60
    assert len(told["mistakes"]) == round(60 * (1 - told["pooled"]["accuracy"]))
    assert "fold 2/2" in done.err

    accuracies = [accuracy for of in told["corruptions"].values() for accuracy in of]
    assert len(accuracies) == 18
    assert all(0 <= accuracy <= 1 for accuracy in accuracies)

    table = millwatch("evaluate", out / "fold-0", manifest, "--corruptions")
    assert table.status == 0, table.err
    assert "motion blur" in table.out
    assert "mean over all of them" in table.out


def test_only_the_first_folds_are_trained_when_that_is_asked_for(
    millwatch: Millwatch, manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "folds"
    done = millwatch(
        "crossvalidate",
        manifest,
        "--out",
        out,
        "--folds",
        "4",
        "--first",
        "1",
        "--epochs",
        "1",
        "--recipe",
        "steel",
    )
    assert done.status == 0, done.err
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["fold-0"]
    assert "fold 1/4" in done.err
    assert "called unknown" in done.out


def test_each_class_is_left_out_in_turn(
    millwatch: Millwatch, manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "left"
    arguments = (
        "crossvalidate",
        manifest,
        "--out",
        out,
        "--leave-out",
        "--epochs",
        "1",
        "--recipe",
        "steel",
    )
    done = millwatch(*arguments)
    assert done.status == 0, done.err
    classes = {path.name.removeprefix("without-") for path in out.iterdir() if path.is_dir()}
    assert classes == set(load_manifest(manifest).classes)
    assert load_metadata(out / "without-scratches").classes == tuple(
        name for name in load_manifest(manifest).classes if name != "scratches"
    )
    assert "mean AUROC" in done.out
    again = millwatch(*arguments, "--json")
    assert "epoch" not in again.err, "what is trained is only judged"
    told = json.loads(again.out)
    assert told == json.loads((out / "left_out.json").read_text())
    assert all(0 <= of["auroc"] <= 1 for of in told.values())


def test_a_recipe_that_is_none_is_named(
    millwatch: Millwatch, manifest: Path, tmp_path: Path
) -> None:
    done = millwatch("crossvalidate", manifest, "--out", tmp_path / "folds", "--recipe", "best")
    assert done.status == 2
    assert "no recipe 'best'" in done.err
    assert not (tmp_path / "folds").exists()
