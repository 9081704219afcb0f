"""`models list`, `models show` and `models import`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import ALL_CLASSES, Station
from commands import Millwatch
from composed import by_hand
from drawn import prepared_manifest
from promoting import kept, promoter_of
from reported import RUN
from torchvision.models import resnet18

from daemon.serving import load_serving_model, point_to, registry_folder
from daemon.store.models import remember_candidate
from models.checkpoint import METADATA, load_metadata
from models.registry import PRETRAINED
from models.taxonomy import KNOWN_DEFECTS

CLASSES = ("crazing", "scratches")


def test_every_model_at_hand_is_listed_with_the_one_that_serves(
    millwatch: Millwatch, station: Station, commissioned_model: Path
) -> None:
    registry = station.state_dir / "models"
    shutil.copytree(commissioned_model, registry / "tiny-7-0")
    (registry / "broken").mkdir()
    (registry / ".half.part").mkdir()
    told = json.loads(millwatch("models", "list", "--config", station.config, "--json").out)
    shipped, broken, kept, serving = told
    assert (shipped["origin"], shipped["folder"]) == ("shipped", str(PRETRAINED))
    assert shipped["version"] == load_metadata(PRETRAINED).version
    assert shipped["accuracy"] == load_metadata(PRETRAINED).metrics["test"]["accuracy"]
    assert (broken["version"], "model.json is missing" in broken["trouble"]) == (None, True)
    assert (kept["origin"], kept["classes"]) == ("registry", list(ALL_CLASSES))
    assert (serving["origin"], serving["folder"]) == ("configured", str(station.model))
    assert [each["serving"] for each in told] == [False, False, False, True]
    table = millwatch("models", "list", "--config", station.config)
    assert table.status == 0
    for words in ("tiny-6-0", "tiny-7-0", shipped["version"], "model.json is missing"):
        assert words in table.out


def test_what_became_of_each_model_is_listed_with_the_reason(
    millwatch: Millwatch, station: Station, commissioned_model: Path
) -> None:
    """As the alarm and the trouble say who send people here."""
    with by_hand(station.settings()) as line:
        promoter_of(station, line)
        for version, status, reason in (
            ("worse", "rejected", "it no longer knows [crazing]"),
            ("perhaps", "needs_a_person", "only 3 labelled images are held out"),
        ):
            folder = registry_folder(station.settings()) / kept(
                station, commissioned_model, version
            )
            made = load_metadata(folder)
            remember_candidate(line.database, made, status=status, reason=reason, figures=RUN)
    asked = ("models", "list", "--config", station.config)
    told = {each["version"]: each for each in json.loads(millwatch(*asked, "--json").out)}
    assert told["tiny-6-0"]["status"] == "current"
    assert told["worse"]["status"] == "rejected"
    assert told["perhaps"]["reason"] == "only 3 labelled images are held out"
    assert told[load_metadata(PRETRAINED).version]["status"] is None
    words = millwatch(*asked).out
    assert "worse: it no longer knows [crazing]\n" in words
    assert (
        "perhaps: only 3 labelled images are held out; `millwatch models promote perhaps`" in words
    )
    assert "needs_a_person" in words
    assert "19 of 20 of this line; before 7" in words
    station.database.write_bytes(b"garbage" * 1000)
    listed = millwatch(*asked)
    assert (listed.status, "perhaps" in listed.out) == (0, True)
    assert "what became of each model cannot be told" in listed.err


def test_a_configured_model_is_at_hand_while_one_that_was_promoted_serves(
    millwatch: Millwatch, station: Station, commissioned_model: Path
) -> None:
    """As where somebody trained a model and set `model.folder`, on a line that promoted one before."""
    kept = station.state_dir / "models" / "tiny-7-0"
    shutil.copytree(commissioned_model, kept)
    point_to(station.settings(), kept)

    def listed() -> dict[str, tuple[str, bool]]:
        told = json.loads(millwatch("models", "list", "--config", station.config, "--json").out)
        return {each["version"]: (each["origin"], each["serving"]) for each in told}

    shipped = load_metadata(PRETRAINED).version
    assert listed() == {
        shipped: ("shipped", False),
        "tiny-7-0": ("registry", True),
        "tiny-6-0": ("configured", False),
    }
    done = millwatch("models", "promote", "tiny-6-0", "--config", station.config)
    assert done.status == 0, done.err
    assert listed()["tiny-6-0"] == ("configured", True)
    refused = millwatch("models", "promote", shipped, "--config", station.config)
    assert refused.status == 1
    assert f"model {shipped} is the shipped one" in refused.err
    assert "take model.folder out of the configuration" in refused.err


def test_without_a_configuration_the_shipped_model_serves(
    millwatch: Millwatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLWATCH_STATE_DIR", str(tmp_path))
    (only,) = json.loads(millwatch("models", "list", "--json").out)
    assert only["serving"]


def test_a_model_is_shown_with_its_thresholds_and_what_its_evidence_supports(
    millwatch: Millwatch, station: Station
) -> None:
    shown = millwatch("models", "show", "--config", station.config, "--json")
    assert shown.status == 0, shown.err
    told = json.loads(shown.out)
    assert told["version"] == "tiny-6-0"
    decision = told["decision"]
    assert decision["pass_rule"] is None
    assert decision["missed"]["held_out"] == 60
    assert decision["missed"]["further_needed"] == 538
    assert [each["name"] for each in decision["classes"]] == list(KNOWN_DEFECTS)
    assert all(each["threshold"]["threshold"] >= 0.5 for each in decision["classes"])
    words = millwatch("models", "show", "--config", station.config).out
    for expected in (*KNOWN_DEFECTS, "holds no figures", "all defects", "538", "no normal class"):
        assert expected in words


@pytest.mark.parametrize(
    "figures",
    [
        {"accuracy": 0.9},
        {"accuracy": "good", "images": 3, "classes": []},
        {
            "accuracy": 0.9,
            "images": 10,
            "accuracy_interval": [0.8, 1.0],
            "expected_calibration_error": 0.1,
            "classes": {"crazing": {"images": 10}},
        },
    ],
    ids=["one alone", "no numbers", "half a class"],
)
def test_a_model_whose_figures_are_not_whole_is_listed_and_shown_without_them(
    millwatch: Millwatch, station: Station, figures: dict[str, Any]
) -> None:
    folder = station.state_dir / "models" / "odd"
    shutil.copytree(station.model, folder)
    described = json.loads((folder / METADATA).read_text())
    described["metrics"] = {"test": figures}
    (folder / METADATA).write_text(json.dumps(described))
    assert millwatch("models", "list", "--config", station.config).status == 0
    shown = millwatch("models", "show", folder, "--config", station.config)
    assert shown.status == 0
    assert "its folder holds no figures that can be shown" in shown.out
    assert "Believed to be a defect" in shown.out


def test_thresholds_are_shown_under_the_configured_policy(
    millwatch: Millwatch, station: Station, commissioned_model: Path
) -> None:
    policy = {"max_missed_defect_rate": 0.2, "min_defect_confidence": 0.25}
    station.tables = {"policy": {**policy, "max_wrong_class_rate": 1.0}}
    station.write_config()
    told = json.loads(
        millwatch("models", "show", commissioned_model, "--config", station.config, "--json").out
    )["decision"]
    assert told["pass_rule"]["kept"]
    assert told["missed"]["further_needed"] == 0
    thresholds = [each["threshold"] for each in told["classes"]]
    assert [each["threshold"] for each in thresholds[:-1]] == [0.25] * 6
    assert thresholds[-1] is None
    (now,) = [each for each in told["points"] if each["rate"] == 0.2]
    assert now["threshold"] == told["pass_rule"]["threshold"]
    words = millwatch("models", "show", commissioned_model, "--config", station.config).out
    assert "An image may pass from confidence" in words
    (row,) = [line for line in words.splitlines() if "20.00 % (now)" in line]
    assert f"{now['passed']} of {told['normal']}" in row


def test_the_thresholds_that_are_shown_are_those_that_serve(
    millwatch: Millwatch, station: Station
) -> None:
    shown = {}
    for runtime in ("openvino", "torch"):
        station.tables = {"model": {"folder": str(PRETRAINED), "runtime": runtime}}
        station.write_config()
        told = json.loads(millwatch("models", "show", "--config", station.config, "--json").out)
        decider = load_serving_model(station.settings()).decider
        assert told["decision"]["temperature"] == decider.temperature
        assert told["decision"]["novelty_threshold"] == decider.novelty_threshold
        assert {
            each["name"]: each["threshold"]["threshold"] for each in told["decision"]["classes"]
        } == {name: each.threshold for name, each in decider.defect_thresholds.items()}
        shown[runtime] = decider.temperature
    assert shown["openvino"] != shown["torch"]


def test_a_model_is_found_by_its_version(millwatch: Millwatch, station: Station) -> None:
    version = load_metadata(PRETRAINED).version
    shown = millwatch("models", "show", version, "--config", station.config)
    assert shown.status == 0
    assert f"{PRETRAINED}: model {version}" in shown.out
    unknown = millwatch("models", "show", "2001", "--config", station.config)
    assert unknown.status == 2
    assert "neither a folder nor a known version" in unknown.err


def test_a_folder_that_is_no_model_is_said_to_be_none(
    millwatch: Millwatch, station: Station, tmp_path: Path
) -> None:
    shown = millwatch("models", "show", tmp_path, "--config", station.config)
    assert shown.status == 1
    assert "is not a model folder" in shown.err


@pytest.fixture
def manifest(millwatch: Millwatch, tmp_path: Path) -> Path:
    return prepared_manifest(millwatch, tmp_path, CLASSES, images_of_a_class=25)


def test_a_network_from_elsewhere_is_imported_shown_and_judges(
    millwatch: Millwatch, station: Station, manifest: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    file, out = tmp_path / "model_best.pth", tmp_path / "imported"
    torch.save({"state_dict": resnet18(num_classes=2).state_dict(), "epoch": 9}, file)
    done = millwatch(
        "models", "import", file, "--classes", "scratches, crazing", "--manifest", manifest,
        "--out", out, "--input-size", "64", "--config", station.config,
    )  # fmt: skip
    assert done.status == 0, done.err
    metadata = load_metadata(out)
    assert (metadata.classes, metadata.input_size) == (CLASSES, 64)
    for words in (metadata.version, "imagenet normalisation", "set model.folder", "all defects"):
        assert words in done.out
    judged = millwatch("predict", tmp_path / "data", "--model", out)
    assert judged.status == 0, judged.err
    image = next((tmp_path / "data").rglob("*.jpg"))
    line = json.loads(millwatch("predict", image, "--model", out).out)
    assert line["model_version"] == metadata.version


def test_an_import_that_is_refused_says_why_and_writes_nothing(
    millwatch: Millwatch, manifest: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "whole.pth", tmp_path / "imported"
    torch.save(resnet18(num_classes=2), file)
    arguments = ("--classes", "crazing,scratches", "--manifest", manifest, "--out", out)
    done = millwatch("models", "import", file, *arguments)
    assert done.status == 1
    assert "nothing was imported" in done.err
    assert "torch.save(model.state_dict()" in done.err
    assert not out.exists()
