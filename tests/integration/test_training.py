import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import drawn_manifest
from judged import judged
from trainings import CLASSES, CPU, RECIPE, SEEDS, SIDE

from models.checkpoint import CheckpointError, load_evidence, load_metadata
from models.decision import Policy
from models.network import load_network
from models.novelty import texture_of
from models.preprocessing import PREPROCESSING_VERSION
from models.reference import Use, read_reference
from models.registry import load_model
from models.runtimes.torch_runtime import TorchRuntime
from training import run
from training.crossvalidate import crossvalidate, fold_of
from training.data.dataset import load_part
from training.data.manifest import NAME, Manifest, ManifestError, Part, load_manifest
from training.fitting.fit import Epoch, FitError
from training.judging.corruptions import CORRUPTIONS, SEVERITIES
from training.judging.evaluate import Evaluation
from training.judging.evaluate import run as evaluated
from training.judging.serving import Served
from training.model_folder.references import reference_of


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return drawn_manifest(tmp_path_factory.mktemp("images"), CLASSES, SEEDS)


@pytest.fixture(scope="module")
def trained(
    manifest: Manifest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Evaluation, list[Epoch]]:
    out = tmp_path_factory.mktemp("models") / "new"
    epochs: list[Epoch] = []
    _, evaluation = run.train(
        manifest, out, recipe=RECIPE, seed=5, device=CPU, on_epoch=epochs.append
    )
    return out, evaluation, epochs


Trained = tuple[Path, Evaluation, list[Epoch]]


def test_a_training_run_writes_a_model_that_serves(trained: Trained, manifest: Manifest) -> None:
    out, _, _ = trained
    policy = Policy(
        normal_classes=("no_defect",), max_missed_defect_rate=0.5, min_defect_confidence=0.3
    )
    model = load_model(out, policy=policy)
    images = load_part(manifest, Part.TEST, side=model.input_size)
    decisions = model.judge(images.pixels)
    assert len(decisions) == len(images)
    assert {decision.predicted_class for decision in decisions} <= set(CLASSES)
    assert model.version == load_metadata(out).version


def test_a_model_folder_says_how_it_came_to_be(trained: Trained, manifest: Manifest) -> None:
    out, _, _ = trained
    metadata = load_metadata(out)
    assert metadata.classes == CLASSES
    assert metadata.input_size == SIDE
    assert metadata.manifest_sha256 == manifest.sha256
    assert metadata.version.endswith(manifest.sha256[:8])
    assert metadata.preprocessing == PREPROCESSING_VERSION
    settings = json.loads(json.dumps(asdict(RECIPE)))
    assert metadata.recipe == {**settings, "seed": 5, "started_from": None}
    assert metadata.metrics["images"] == {"fit": 30, "select": 15, "test": 12}


def test_the_figures_and_the_report_of_the_run_lie_beside_the_model(
    trained: Trained, manifest: Manifest
) -> None:
    out, evaluation, epochs = trained
    assert {path.name for path in out.iterdir()} == {
        "model.safetensors",
        "evidence.safetensors",
        "reference.safetensors",
        "model.json",
        "metrics.json",
        "manifest.json",
        "report.html",
    }
    document = json.loads((out / "metrics.json").read_text())
    assert document["metrics"] == load_metadata(out).metrics
    assert document["metrics"]["test"]["accuracy"] == evaluation.accuracy
    assert document["history"] == [asdict(epoch) for epoch in epochs]
    assert len(epochs) == RECIPE.epochs
    assert load_manifest(out / NAME) == manifest
    report = (out / "report.html").read_text()
    assert f"{100 * evaluation.accuracy:.2f} %" in report
    assert "How training went" in report
    assert "may have been in its training" not in report


def test_the_model_serves_as_well_as_its_folder_says(trained: Trained, manifest: Manifest) -> None:
    out, evaluation, _ = trained
    served = judged(out, manifest, Part.TEST)
    assert served.confusion == evaluation.confusion
    assert served.cross_entropy == pytest.approx(evaluation.cross_entropy, rel=1e-3)
    assert json.loads(json.dumps(asdict(evaluation))) == load_metadata(out).metrics["test"]
    select = judged(out, manifest, Part.SELECT)
    assert select.accuracy == load_metadata(out).metrics["select_accuracy"]


def test_the_evidence_is_of_the_select_part_alone(trained: Trained, manifest: Manifest) -> None:
    out, _, _ = trained
    arrays = load_evidence(out, load_metadata(out))
    select = load_part(manifest, Part.SELECT, side=SIDE)
    np.testing.assert_array_equal(arrays["labels"], select.labels)
    assert arrays["textures"].shape == (30, 256)
    network, _ = load_network(out)
    fitted = evaluated(
        TorchRuntime(network, device="cpu"), load_part(manifest, Part.FIT, side=SIDE)
    )
    np.testing.assert_allclose(
        arrays["textures"], texture_of(fitted.features), rtol=1e-2, atol=1e-3
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_what_a_gpu_leaves_in_a_model_folder_is_what_the_processor_would_have(
    tmp_path: Path, manifest: Manifest
) -> None:
    out = tmp_path / "new"
    run.train(manifest, out, recipe=RECIPE, device=torch.device("cuda"))
    network, metadata = load_network(out)
    select = evaluated(
        TorchRuntime(network, device="cpu"), load_part(manifest, Part.SELECT, side=SIDE)
    )
    evidence = load_evidence(out, metadata)
    np.testing.assert_allclose(evidence["logits"], select.logits, atol=0.02)
    kept, again = read_reference(out, metadata), reference_of(network, metadata, manifest)
    assert kept is not None
    for use in Use:
        np.testing.assert_allclose(kept.maps(use), again.maps(use), atol=again.maps(use).max() / 32)


def test_a_model_is_never_overwritten_and_that_is_said_before_training(
    trained: Trained, manifest: Manifest
) -> None:
    out, _, _ = trained
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    epochs: list[Epoch] = []
    with pytest.raises(CheckpointError, match="never overwritten"):
        run.train(manifest, out, recipe=RECIPE, device=CPU, on_epoch=epochs.append)
    assert epochs == []
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_training_that_diverges_writes_nothing(tmp_path: Path, manifest: Manifest) -> None:
    wild = replace(RECIPE, optimiser="adam", learning_rate=1e30)
    with pytest.raises(FitError):
        run.train(manifest, tmp_path / "new", recipe=wild, device=CPU)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_knows_one_class_alone_is_not_trained(
    tmp_path: Path, manifest: Manifest
) -> None:
    name = manifest.classes[0]
    images = tuple(image for image in manifest.images if image.label == name)
    with pytest.raises(FitError, match=f"nothing to tell {name} from"):
        run.train(
            replace(manifest, classes=(name,), images=images),
            tmp_path / "new",
            recipe=RECIPE,
            device=CPU,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", list(Part))
def test_a_manifest_that_lacks_a_part_is_refused_before_training(
    tmp_path: Path, manifest: Manifest, part: Part
) -> None:
    images = tuple(image for image in manifest.images if image.part is not part)
    epochs: list[Epoch] = []
    with pytest.raises(ManifestError, match=f"no image in its part '{part}'"):
        run.train(
            replace(manifest, images=images),
            tmp_path / "new",
            recipe=RECIPE,
            device=CPU,
            on_epoch=epochs.append,
        )
    assert epochs == []
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_evaluated_only_on_the_classes_that_it_was_trained_on(
    trained: Trained, manifest: Manifest
) -> None:
    out, _, _ = trained
    other = replace(manifest, classes=("crazing", "no_defect", "scratches", "stain"))
    with pytest.raises(ManifestError, match=r"knows crazing, .*stain: evaluate a model on"):
        judged(out, other, Part.TEST)


def test_each_kind_of_corruption_is_judged_at_each_severity(
    trained: tuple[Path, Evaluation, list[Epoch]], manifest: Manifest
) -> None:
    out, clean, _ = trained
    served = Served.open(out, manifest)
    images = served.images(manifest, Part.TEST)
    spoilt = served.judge_spoilt(images)
    assert set(spoilt) == set(CORRUPTIONS)
    assert all(len(of) == len(SEVERITIES) for of in spoilt.values())
    assert {each.images for of in spoilt.values() for each in of} == {clean.images}
    assert served.judge_spoilt(images) == spoilt
    assert any(each.cross_entropy != clean.cross_entropy for of in spoilt.values() for each in of)


def test_every_image_is_tested_once_in_cross_validation(manifest: Manifest, tmp_path: Path) -> None:
    folds = [fold_of(manifest, number, folds=2) for number in range(2)]
    tested = [image.path for fold in folds for image in fold.of_part(Part.TEST)]
    assert sorted(tested) == sorted(image.path for image in manifest.images)
    told: list[tuple[int, int]] = []
    short = replace(RECIPE, epochs=1, batch=15)  # no batch of one picture
    recipes = [short, replace(short, name="second")]
    result = crossvalidate(
        manifest,
        tmp_path,
        recipes=recipes,
        folds=2,
        corruptions=True,
        on_epoch=lambda fold, epoch: told.append((fold, epoch.number)),
    )
    assert told == [(0, 1), (0, 1), (1, 1), (1, 1)]
    assert result.pooled.images == len(manifest.images)
    assert sum(fold.of for fold in result.folds) == result.called_unknown.of == len(manifest.images)
    assert sum(fold.count for fold in result.folds) == len(manifest.images) - len(result.mistakes)
    assert len(result.mistakes) == len(result.pooled.mistakes)
    assert all(true != choice for _, true, choice in result.mistakes)
    assert load_metadata(tmp_path / "fold-1").manifest_sha256 == folds[1].sha256
    again = crossvalidate(manifest, tmp_path, recipes=recipes, folds=2, foreign=manifest.root)
    assert again.pooled == result.pooled, "what is trained is only judged"
    assert [seen.called_unknown.of for seen in again.foreign] == [len(manifest.images)] * 2

    def refused(**changed: Any) -> None:
        asked = {"recipes": recipes, "folds": 2, "only": [1], **changed}
        with pytest.raises(CheckpointError, match="fold-0 was trained on other images, with other"):
            crossvalidate(manifest, tmp_path, **asked)

    refused(folds=3)  # some of what it would be tested on it was fitted to
    refused(seed=2)
    refused(recipes=recipes[1:])
    refused(recipes=[replace(short, name="none"), *recipes])
    refused(recipes=[replace(short, epochs=2), recipes[1]])
