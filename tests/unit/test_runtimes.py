"""What every runtime promises, of each of them; and OpenVINO against torch."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import Exported
from numpy.typing import NDArray

from models.checkpoint import (
    CheckpointError,
    Metadata,
    Normalisation,
    load_metadata,
    load_weights,
    save,
)
from models.network import SurfaceNetwork, half_precision, stored_weights
from models.novelty import POOLED, TEXTURE, pooled_of
from models.runtimes import openvino_runtime, torch_runtime
from models.runtimes.exported import GRAPH
from models.runtimes.protocol import Outputs, Runtime

RUNTIMES = ("torch", "openvino fp32", "openvino int8")


@pytest.fixture(scope="module")
def torch_here(exported_model: Exported) -> Runtime:
    return torch_runtime.load(exported_model.folder, device="cpu")


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, exported_model: Exported) -> Runtime:
    return load(request.param, exported_model.folder)


def load(name: str, folder: Path) -> Runtime:
    loaded: Runtime
    if name == "torch":
        loaded = torch_runtime.load(folder, device="cpu")
    elif name == "openvino fp32":
        loaded = openvino_runtime.load_fp32(folder)
    else:
        loaded = openvino_runtime.load_int8(folder / GRAPH)
    assert loaded.name == f"{name} on cpu"
    return loaded


def one_by_one(runtime: Runtime, pictures: NDArray[np.uint8]) -> Outputs:
    each = [runtime.infer(picture[None]) for picture in pictures]
    return Outputs(
        logits=np.concatenate([outputs.logits for outputs in each]),
        features=np.concatenate([outputs.features for outputs in each]),
    )


@pytest.mark.parametrize("count", [1, 2, 7, 33])
def test_a_batch_is_judged_as_its_images_one_by_one(
    runtime: Runtime, pictures: NDArray[np.uint8], count: int
) -> None:
    together = runtime.infer(pictures[:count])
    alone = one_by_one(runtime, pictures[:count])
    np.testing.assert_allclose(together.logits, alone.logits, atol=1e-3)
    np.testing.assert_allclose(together.features, alone.features, atol=1e-3)
    assert together.maps is None


def test_what_comes_out_has_the_promised_shapes(
    runtime: Runtime, pictures: NDArray[np.uint8]
) -> None:
    outputs = runtime.infer(pictures[:9], with_maps=True)
    assert outputs.maps is not None
    shapes = (outputs.logits.shape, outputs.features.shape, outputs.maps.shape)
    assert shapes == ((9, 2), (9, POOLED + TEXTURE), (9, 512, 2, 2))
    assert {outputs.logits.dtype, outputs.features.dtype, outputs.maps.dtype} == {np.dtype("f4")}


def test_asking_for_the_feature_map_changes_no_judgement_and_its_mean_is_the_features(
    runtime: Runtime, pictures: NDArray[np.uint8]
) -> None:
    plain, mapped = runtime.infer(pictures), runtime.infer(pictures, with_maps=True)
    assert mapped.maps is not None
    np.testing.assert_allclose(mapped.logits, plain.logits, atol=1e-3)
    np.testing.assert_allclose(mapped.maps.mean(axis=(2, 3)), pooled_of(plain.features), atol=1e-3)


def test_the_head_is_the_one_that_the_logits_come_from(
    runtime: Runtime, pictures: NDArray[np.uint8]
) -> None:
    outputs = runtime.infer(pictures)
    bias = outputs.logits - pooled_of(outputs.features) @ runtime.head.T
    np.testing.assert_allclose(bias, np.broadcast_to(bias[0], bias.shape), atol=1e-3)


def test_pictures_cut_out_of_larger_ones_need_not_lie_in_one_piece_nor_be_writable(
    runtime: Runtime, pictures: NDArray[np.uint8]
) -> None:
    mirrored = pictures[:2, :, ::-1]
    expected = runtime.infer(mirrored.copy()).logits
    np.testing.assert_array_equal(runtime.infer(mirrored).logits, expected)
    locked = mirrored.copy()
    locked.flags.writeable = False
    np.testing.assert_array_equal(runtime.infer(locked).logits, expected)


def test_outputs_are_not_overwritten_by_the_next_batch(
    runtime: Runtime, pictures: NDArray[np.uint8]
) -> None:
    outputs = runtime.infer(pictures[:3])
    before = outputs.logits.copy(), outputs.features.copy()
    runtime.infer(pictures[3:6])
    np.testing.assert_array_equal(outputs.logits, before[0])
    np.testing.assert_array_equal(outputs.features, before[1])


def test_two_batches_judged_at_once_each_get_their_own_answers(
    runtime: Runtime, pictures: NDArray[np.uint8]
) -> None:
    batches = [pictures[first : first + 20] for first in (0, 4, 9, 13)]
    expected = [runtime.infer(batch).logits for batch in batches]
    with ThreadPoolExecutor(len(batches)) as threads:
        for _ in range(3):
            together = threads.map(runtime.infer, batches)
            for outputs, alone in zip(together, expected, strict=True):
                np.testing.assert_allclose(outputs.logits, alone, atol=1e-3)


@pytest.mark.parametrize("name", RUNTIMES)
def test_an_image_that_comes_alone_and_those_right_behind_it_are_judged_as_in_a_batch(
    name: str, exported_model: Exported, pictures: NDArray[np.uint8]
) -> None:
    loaded = load(name, exported_model.folder)
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(loaded.infer, [picture[None] for picture in pictures]))
    expected = loaded.infer(pictures)
    logits = np.concatenate([outputs.logits for outputs in together])
    features = np.concatenate([outputs.features for outputs in together])
    np.testing.assert_allclose(logits, expected.logits, atol=1e-3)
    np.testing.assert_allclose(features, expected.features, atol=1e-3)


@pytest.mark.fault(69)
@pytest.mark.parametrize("name", RUNTIMES)
def test_what_is_written_over_the_files_of_a_loaded_model_changes_no_judgement(
    name: str, exported_model: Exported, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported_model.folder, folder)
    loaded = load(name, folder)
    expected = load(name, exported_model.folder).infer(pictures).logits
    for file in folder.iterdir():
        file.write_bytes(bytes(file.stat().st_size))
    alone = loaded.infer(pictures[:1]).logits
    np.testing.assert_allclose(alone, expected[:1], atol=1e-3)
    np.testing.assert_allclose(loaded.infer(pictures).logits, expected, atol=1e-3)
    mapped = loaded.infer(pictures, with_maps=True).logits
    np.testing.assert_allclose(mapped, expected, atol=1e-3)


def test_openvino_in_float32_computes_what_torch_does(
    torch_here: Runtime, exported_model: Exported, pictures: NDArray[np.uint8]
) -> None:
    ours = openvino_runtime.load_fp32(exported_model.folder).infer(pictures, with_maps=True)
    theirs = torch_here.infer(pictures, with_maps=True)
    assert ours.maps is not None
    assert theirs.maps is not None
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-3)
    np.testing.assert_allclose(ours.features, theirs.features, atol=1e-3)
    np.testing.assert_allclose(ours.maps, theirs.maps, atol=1e-2)


@pytest.mark.parametrize("normalisation", ["picture", "imagenet", "unit"])
def test_each_normalisation_is_the_one_of_the_trained_network(
    tmp_path: Path, pictures: NDArray[np.uint8], normalisation: Normalisation
) -> None:
    torch.manual_seed(1)
    network = SurfaceNetwork(3, normalisation=normalisation)
    half_precision(network)
    metadata = Metadata(
        version="random",
        classes=("a", "b", "c"),
        input_size=64,
        created_at="2026-01-01T00:00:00Z",
        manifest_sha256="0" * 64,
        normalisation=normalisation,
    )
    save(tmp_path / "m", stored_weights(network), metadata, {"none": np.zeros(1)})
    faint = 97 + pictures[:1] % 3  # below the least contrast
    shown = np.concatenate([pictures[:4], faint])
    expected = torch_runtime.load(tmp_path / "m", device="cpu").infer(shown)
    ours = openvino_runtime.load_fp32(tmp_path / "m").infer(shown)
    scale = np.abs(expected.features).max()
    np.testing.assert_allclose(ours.features / scale, expected.features / scale, atol=1e-4)


def test_weights_that_are_no_resnet18_are_refused_by_openvino_too(
    tmp_path: Path, model: Path
) -> None:
    metadata = load_metadata(model)
    save(tmp_path / "m", {"fc.weight": np.zeros((6, 512))}, metadata, {"none": np.zeros(1)})
    with pytest.raises(CheckpointError, match=r"do not fit a ResNet18.*restore the folder"):
        openvino_runtime.load_fp32(tmp_path / "m")


@pytest.mark.fault(32)
@pytest.mark.parametrize("names", [("bn1.weight",), ("fc.weight", "fc.bias")])
def test_weights_of_other_shapes_are_refused_by_openvino_too(
    tmp_path: Path, model: Path, names: tuple[str, ...]
) -> None:
    metadata = load_metadata(model)
    weights = load_weights(model, metadata)
    for name in names:
        weights[f"backbone.{name}"] = weights[f"backbone.{name}"][:-1]
    save(tmp_path / "m", weights, metadata, {"none": np.zeros(1)})
    with pytest.raises(CheckpointError, match=r"do not fit a ResNet18|are of 5 classes, the model"):
        openvino_runtime.load_fp32(tmp_path / "m")


WITHOUT_TORCH = """
import sys
from pathlib import Path
import numpy as np
from daemon.cli import main  # every command is registered
from models.decision import Policy
from models.registry import load_model

policy = Policy(normal_classes=("no_defect",), max_missed_defect_rate=0.1, min_defect_confidence=0.5)
model = load_model(Path(sys.argv[1]), policy=policy, runtime="openvino")
pixels = np.zeros((3, model.input_size, model.input_size), np.uint8)
assert len(model.judge(pixels)) == 3
model.explain(pixels[0])
heavy = {"torch", "torchvision", "nncf", "scipy", "matplotlib", "openvino_telemetry.main"}
print(model.runtime.name, sorted(heavy & set(sys.modules)))
"""


def test_a_service_on_openvino_judges_and_explains_without_torch(exported_model: Exported) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(exported_model.folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "openvino int8 on cpu []\n", done.stderr
