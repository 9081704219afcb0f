import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filesystems import filesystem
from numpy.typing import NDArray
from safetensors.numpy import load_file

from models.checkpoint import (
    EVIDENCE,
    METADATA,
    WEIGHTS,
    CheckpointError,
    Metadata,
    load_evidence,
    load_metadata,
    load_weights,
    save,
)
from models.decision import Policy
from models.network import SurfaceNetwork, half_precision, load_network, stored_weights
from models.preprocessing import PREPROCESSING_VERSION
from models.registry import load_model

POLICY = Policy(
    normal_classes=("no_defect",), max_missed_defect_rate=0.005, min_defect_confidence=0.5
)
DESCRIPTION = Metadata(
    version="20260101-000000-abcdef01",
    classes=("crazing", "scratches"),
    input_size=64,
    created_at="2026-01-01T00:00:00Z",
    manifest_sha256="ab" * 32,
    metrics={"test": {"accuracy": 0.5}},
    recipe={"seed": 3},
)
SOME_EVIDENCE: dict[str, NDArray[Any]] = {
    "labels": np.arange(4),
    "novelty": np.linspace(0, 1, 4, dtype=np.float32),
}


@pytest.fixture(scope="module")
def network() -> SurfaceNetwork:
    torch.manual_seed(0)
    network = SurfaceNetwork(2).eval()
    half_precision(network)
    return network


@pytest.fixture
def copied(tmp_path: Path, model: Path) -> Path:
    """A model folder of six defects that a test may damage."""
    return Path(shutil.copytree(model, tmp_path / "copied"))


def test_a_network_gives_the_same_bits_after_it_was_stored(
    tmp_path: Path, network: SurfaceNetwork
) -> None:
    written = save(tmp_path / "m", stored_weights(network), DESCRIPTION, SOME_EVIDENCE)
    loaded, metadata = load_network(tmp_path / "m")
    pictures = torch.randint(
        256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    with torch.inference_mode():
        assert torch.equal(loaded(pictures), network(pictures))
    assert metadata == written
    assert metadata == replace(
        DESCRIPTION,
        weights_sha256=metadata.weights_sha256,
        evidence_sha256=metadata.evidence_sha256,
    )
    stored = load_evidence(tmp_path / "m", metadata)
    assert all(np.array_equal(stored[key], value) for key, value in SOME_EVIDENCE.items())


def test_channels_last_weights_are_stored_in_the_order_of_their_shape(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = SurfaceNetwork(2)
    half_precision(plain)
    save(tmp_path / "plain", stored_weights(plain), DESCRIPTION, SOME_EVIDENCE)
    turned = plain.to(memory_format=torch.channels_last)
    save(tmp_path / "turned", stored_weights(turned), DESCRIPTION, SOME_EVIDENCE)
    stored = [load_file(tmp_path / name / WEIGHTS) for name in ("plain", "turned")]
    assert all(np.array_equal(stored[0][key], stored[1][key]) for key in stored[0])


def test_a_model_folder_holds_safetensors_and_json_alone(model: Path) -> None:
    assert {path.suffix for path in model.iterdir()} == {".safetensors", ".json"}
    for path in model.iterdir():
        if path.suffix == ".json":
            json.loads(path.read_text())
        else:
            load_file(path)


def test_the_service_may_read_a_model_that_another_user_wrote(model: Path) -> None:
    assert {path.stat().st_mode & 0o444 for path in model.iterdir()} == {0o444}


def test_what_a_killed_save_left_behind_is_replaced(
    tmp_path: Path, network: SurfaceNetwork
) -> None:
    leftover = tmp_path / ".m.part"
    leftover.mkdir()
    (leftover / WEIGHTS).write_bytes(b"half")
    (leftover / "stale.json").write_text("{}")
    save(tmp_path / "m", stored_weights(network), DESCRIPTION, SOME_EVIDENCE)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert {path.name for path in (tmp_path / "m").iterdir()} == {WEIGHTS, EVIDENCE, METADATA}


def test_a_save_that_fails_leaves_no_model_folder(tmp_path: Path) -> None:
    unwritable: dict[str, Any] = {"weights": np.array(["text"], dtype=object)}
    with pytest.raises(Exception, match=r"."):
        save(tmp_path / "m", unwritable, DESCRIPTION, SOME_EVIDENCE)
    assert list(tmp_path.iterdir()) == []


def test_a_model_from_before_there_was_a_choice_of_normalisation_has_the_only_one_there_was(
    copied: Path,
) -> None:
    fields = json.loads((copied / METADATA).read_text())
    del fields["normalisation"]
    (copied / METADATA).write_text(json.dumps(fields))
    network, metadata = load_network(copied)
    assert metadata.normalisation == network.normalisation == "picture"


def test_a_model_is_never_overwritten(tmp_path: Path, network: SurfaceNetwork) -> None:
    target = tmp_path / "m"
    target.mkdir()
    (target / "precious").write_text("kept")
    with pytest.raises(CheckpointError, match="never overwritten, name another folder"):
        save(target, stored_weights(network), DESCRIPTION, SOME_EVIDENCE)
    assert (target / "precious").read_text() == "kept"
    assert list(tmp_path.iterdir()) == [target]


def edit(**changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        fields = {**json.loads((folder / METADATA).read_text()), **changes}
        (folder / METADATA).write_text(json.dumps(fields))

    return change


def lose(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def flip_a_bit(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[-1] ^= 1
        (folder / name).write_bytes(data)

    return change


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-9])


def forget_classes(folder: Path) -> None:
    fields = json.loads((folder / METADATA).read_text())
    del fields["classes"]
    (folder / METADATA).write_text(json.dumps(fields))


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, r"model.json is missing; name a folder that `millwatch train` wrote"),
        (lose(METADATA), r"model.json is missing; name a folder that `millwatch train` wrote"),
        (lose(WEIGHTS), r"model.safetensors cannot be read .*; restore it or retrain"),
        (lose(EVIDENCE), r"evidence.safetensors cannot be read .*; restore it or retrain"),
        (flip_a_bit(WEIGHTS), r"model.safetensors is not the file .*; restore the folder"),
        (flip_a_bit(EVIDENCE), r"evidence.safetensors is not the file .*; restore the folder"),
        (cut(WEIGHTS), r"model.safetensors is not the file .*; restore the folder"),
        (cut(METADATA), r"model.json cannot be read .*; restore it or retrain"),
        (forget_classes, r"model.json cannot be read .*classes.*; restore it or retrain"),
        (edit(surprise=1), r"model.json cannot be read .*surprise.*; restore it or retrain"),
        (edit(classes=[]), r"classes must be distinct names.*; restore it or retrain"),
        (edit(classes=["a", "a"]), r"classes must be distinct names.*; restore it or retrain"),
        (edit(classes=[1, 2]), r"classes must be distinct names.*; restore it or retrain"),
        (edit(input_size="64"), r"input_size must be a number of pixels.*; restore it or retrain"),
        (edit(input_size=0), r"input_size must be a number of pixels.*; restore it or retrain"),
        (edit(input_size=True), r"input_size must be a number of pixels.*; restore it or retrain"),
        (edit(version=3), r"version must be text on one line, it is 3.*; restore it or retrain"),
        (edit(version=""), r"version is empty.*; restore it or retrain"),
        (edit(created_at="now\nthen"), r"created_at must be text on one.*; restore it or retrain"),
        (edit(metrics=None), r"metrics, .*must be objects.*; restore it or retrain"),
        (edit(metrics={"test": [1]}), r"metrics, .*must be objects.*; restore it or retrain"),
        (edit(recipe="steel"), r"metrics, .*must be objects.*; restore it or retrain"),
        (edit(normalisation="luck"), r"normalisation must be one of picture.*'luck'.*; restore it"),
        (
            edit(classes=["a", "b"]),
            r"(?s)do not fit a ResNet18 of 2 classes.*; restore the folder or retrain",
        ),
        (edit(format=99), r"made for format 99.*: retrain, or run the version"),
        (
            edit(preprocessing=PREPROCESSING_VERSION + 1),
            rf"preprocessing {PREPROCESSING_VERSION + 1}; this version serves.*: retrain, or run",
        ),
    ],
)
def test_a_damaged_model_is_refused_in_words_that_say_what_to_do(
    copied: Path, damage: Callable[[Path], object], words: str
) -> None:
    load_model(copied, policy=POLICY, runtime="torch")
    damage(copied)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_model(copied, policy=POLICY, runtime="torch")
    assert str(copied) in str(caught.value)


@pytest.mark.fault(32)
def test_weights_of_another_shape_are_refused_though_their_hash_is_right(
    tmp_path: Path, network: SurfaceNetwork
) -> None:
    three = replace(DESCRIPTION, classes=("a", "b", "c"))
    save(tmp_path / "m", stored_weights(network), three, SOME_EVIDENCE)
    assert load_weights(tmp_path / "m", load_metadata(tmp_path / "m"))
    with pytest.raises(CheckpointError, match=r"do not fit a ResNet18 of 3 classes"):
        load_network(tmp_path / "m")


def test_a_model_for_which_there_is_no_room_is_not_written_by_half(
    tmp_path: Path, network: SurfaceNetwork
) -> None:
    disk = tmp_path / "disk"
    with filesystem(disk, size="1m"):
        with pytest.raises(CheckpointError, match=r"cannot be written .*make room there"):
            save(disk / "new", stored_weights(network), DESCRIPTION, SOME_EVIDENCE)
        assert list(disk.iterdir()) == []
