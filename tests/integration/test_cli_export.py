"""`export`, on a few drawn surfaces."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import clean_environment, surface_file
from commands import Millwatch
from exports import Exported, write_manifest, write_model_of
from filesystems import filesystem, read_only

from models.checkpoint import EVIDENCE as TRAINED_EVIDENCE
from models.checkpoint import METADATA, WEIGHTS, CheckpointError, load_metadata
from models.decision import Policy
from models.preprocessing import decode
from models.registry import load_model
from models.runtimes.exported import EVIDENCE, FILES, GRAPH_WEIGHTS, RECORD, read_exported
from models.taxonomy import KNOWN_DEFECTS

POLICY = Policy(normal_classes=(), max_missed_defect_rate=0.1, min_defect_confidence=0.5)


@pytest.fixture
def copy(exported_model: Exported, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported_model.folder, tmp_path / "copy"))


def test_an_exported_model_is_served_in_int8_with_thresholds_of_its_own(copy: Path) -> None:
    int8 = load_model(copy, policy=POLICY, runtime="openvino")
    trained = load_model(copy, policy=POLICY, runtime="torch")
    assert int8.runtime.name == "openvino int8 on cpu"
    assert int8.remarks == ()
    assert int8.decider.temperature != trained.decider.temperature
    pixels = np.stack([decode(surface_file("scratches", seed=i), size=64).pixels for i in range(8)])
    ours, theirs = int8.judge(pixels), trained.judge(pixels)
    agreed = sum(a.predicted_class == b.predicted_class for a, b in zip(ours, theirs, strict=True))
    assert agreed >= 7


def test_a_model_whose_int8_disagrees_is_served_in_fp32_and_says_so(
    millwatch: Millwatch, tmp_path: Path
) -> None:
    # Of six classes that a random network hardly tells apart, INT8 moves many.
    manifest = write_manifest(tmp_path / "data", KNOWN_DEFECTS, fitted=4)
    manifest.save(tmp_path / "manifest.json")
    folder = write_model_of(manifest, tmp_path / "m")
    done = millwatch("export", folder, "--manifest", tmp_path / "manifest.json", "--json")
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert told["serves"] == "fp32"
    assert "images get another class" in told["reason"]
    assert told["int8"]["classes_changed"] > 1
    assert told["fp32"]["classes_changed"] == 0
    assert not (folder / GRAPH_WEIGHTS).exists()
    model = load_model(folder, policy=POLICY, runtime="openvino")
    assert model.runtime.name == "openvino fp32 on cpu"
    assert "images get another class" in model.remarks[0]


def test_a_model_that_was_not_exported_is_served_in_fp32_and_says_so(model: Path) -> None:
    loaded = load_model(model, policy=POLICY, runtime="openvino")
    assert loaded.runtime.name == "openvino fp32 on cpu"
    assert "millwatch export" in loaded.remarks[0]


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_auto_is_openvino_without_a_gpu(copy: Path) -> None:
    assert load_model(copy, policy=POLICY).runtime.name == "openvino int8 on cpu"


def test_a_processor_that_computes_int8_otherwise_gets_fp32(copy: Path) -> None:
    record = json.loads((copy / RECORD).read_text())
    off = np.array(record["expected"])
    record["expected"] = off + off.std() * np.sign(np.arange(off.size).reshape(off.shape) % 2 - 0.5)
    record["expected"] = record["expected"].tolist()
    (copy / RECORD).write_text(json.dumps(record))
    model = load_model(copy, policy=POLICY, runtime="openvino")
    assert model.runtime.name == "openvino fp32 on cpu"
    assert "cannot be believed on this processor" in model.remarks[0]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["altered", "missing"])
def test_a_file_of_an_export_that_is_altered_or_missing_is_refused(
    copy: Path, name: str, how: str
) -> None:
    path = copy / name
    data = path.read_bytes()
    path.unlink()
    if how == "altered":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=rf"{name}.*export the model again"):
        load_model(copy, policy=POLICY, runtime="openvino")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights_sha256": "0" * 64}, "other weights"),
        ({"format": 2}, "has format 2"),
        ({"serves": "int4"}, "int4"),
        ({"files": {}}, "files must be"),
        ({"strange": 1}, "strange"),
    ],
)
def test_a_record_that_does_not_fit_its_model_is_refused(
    copy: Path, change: dict[str, object], words: str
) -> None:
    record = json.loads((copy / RECORD).read_text())
    (copy / RECORD).write_text(json.dumps({**record, **change}))
    with pytest.raises(CheckpointError, match=rf"{words}.*export the model again"):
        load_model(copy, policy=POLICY, runtime="openvino")


KILLED = """
import os, signal, sys
from pathlib import Path
from training.model_folder.export import export
from training.data.manifest import load_manifest

folder, manifest = Path(sys.argv[1]), load_manifest(Path(sys.argv[2]))
moves = []

def die_before_the_third_move(event, arguments):
    if event == "os.rename" and Path(arguments[1]).parent == folder:
        moves.append(arguments)
        if len(moves) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die_before_the_third_move)
export(folder, manifest)
"""


def test_an_export_that_is_killed_leaves_a_whole_model(
    exported_model: Exported, copy: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(copy), str(exported_model.manifest_file)],
        env={**clean_environment(), "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert read_exported(copy, load_metadata(copy)) is None
    model = load_model(copy, policy=POLICY, runtime="openvino")
    assert model.runtime.name == "openvino fp32 on cpu"


def test_exporting_again_replaces_what_was_there_and_loads_no_telemetry_of_its_tools(
    millwatch: Millwatch, exported_model: Exported, copy: Path
) -> None:
    (copy / EVIDENCE).write_bytes(b"damaged")
    leftover = copy / ".export-killed"
    leftover.mkdir()
    done = millwatch("export", copy, "--manifest", exported_model.manifest_file)
    assert done.status == 0, done.err
    assert "OpenVINO serves INT8: INT8 agrees with the trained network on 20 held-out" in done.out
    assert load_model(copy, policy=POLICY, runtime="openvino").remarks == ()
    assert not leftover.exists()
    assert all((copy / name).stat().st_mode & 0o777 == 0o644 for name in (*FILES, RECORD))
    assert "nncf" in sys.modules
    assert "openvino_telemetry.main" not in sys.modules


def test_a_manifest_of_another_training_run_is_refused(
    millwatch: Millwatch, model: Path, exported_model: Exported
) -> None:
    done = millwatch("export", model, "--manifest", exported_model.manifest_file)
    assert done.status == 1
    assert "was trained on another manifest" in done.err
    assert not (model / RECORD).exists()


def test_an_export_without_images_says_what_to_name(millwatch: Millwatch, model: Path) -> None:
    done = millwatch("export", model)
    assert done.status == 2
    assert "--manifest" in done.err


def test_an_export_to_a_folder_that_is_read_only_says_so_before_the_work(
    millwatch: Millwatch, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "disk" / "model"
    with filesystem(folder.parent, size="64m"):
        shutil.copytree(model, folder)
        with read_only(folder.parent):
            # That is no manifest, which would be told where it came to be read.
            done = millwatch("export", folder, "--manifest", folder / METADATA)
    assert (done.status, done.out) == (1, "")
    assert "cannot be written: Read-only file system; name another" in done.err


def test_an_export_for_which_there_is_no_room_says_so_and_leaves_a_whole_model(
    millwatch: Millwatch, exported_model: Exported, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with filesystem(disk, size="26m"):  # 23 of them for the weights
        folder = disk / "model"
        folder.mkdir()
        for name in (METADATA, WEIGHTS, TRAINED_EVIDENCE):
            shutil.copy(exported_model.folder / name, folder)
        done = millwatch("export", folder, "--manifest", exported_model.manifest_file)
        assert done.status == 1
        assert "was not exported: the graph cannot be written" in done.err
        assert {path.name for path in folder.iterdir()} == {METADATA, WEIGHTS, TRAINED_EVIDENCE}
