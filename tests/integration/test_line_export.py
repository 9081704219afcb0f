"""INT8 of a model with a line's own network: what of it is rounded, and what is if that is too much."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import INPUT_SIZE
from exports import write_manifest
from networks import suited

from models.checkpoint import Metadata, save
from models.line_network import LineNetwork
from models.network import SurfaceNetwork, stored_weights
from models.runtimes.engine import openvino
from models.runtimes.exported import GRAPH
from models.runtimes.openvino_graph import FIRST_CONVOLUTION, LINE, LINEAR, POOL, SUM
from models.runtimes.torch_runtime import TorchRuntime
from training.data.dataset import load_part
from training.data.manifest import Manifest, Part
from training.model_folder.export import Export, export
from training.model_folder.packing import evidence_by
from training.retraining.line_fitting import LineRecipe, Question, fit_line

CLASSES = ("no_defect", "patches")
CONVOLUTION = f"{LINE}layer4.0.conv1"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write_manifest(tmp_path_factory.mktemp("data"), CLASSES)


@pytest.fixture(scope="module")
def fitted(manifest: Manifest) -> LineNetwork:
    """Tells the two apart, of which no other network knows anything."""
    own = np.arange(2)
    part = load_part(manifest, Part.FIT, side=INPUT_SIZE)
    question = Question(classes=2, own=own, alone=own, clean=np.array([0]))
    recipe = LineRecipe(steps=15, clean=4, defects=4, learning_rate=1e-3)
    return fit_line(
        part.pixels, part.labels, question, first_side=INPUT_SIZE, recipe=recipe, seed=1
    )


def exported(folder: Path, manifest: Manifest, line: LineNetwork) -> Export:
    known, selected = (
        load_part(manifest, part, side=INPUT_SIZE) for part in (Part.FIT, Part.SELECT)
    )
    torch.manual_seed(0)
    network = suited(SurfaceNetwork(len(CLASSES)), known.pixels)
    network.line = line
    metadata = Metadata(
        version="two",
        classes=CLASSES,
        input_size=INPUT_SIZE,
        created_at="2026-01-01T00:00:00Z",
        manifest_sha256=manifest.sha256,
    )
    evidence = evidence_by(TorchRuntime(network, device="cpu"), known, selected)
    save(folder, stored_weights(network), metadata, evidence.arrays())
    return export(folder, manifest)


def with_one_huge_channel(line: LineNetwork) -> LineNetwork:
    """The same function: what one channel of each block gives is a thousand times as much, and counts a thousandth.

    Eight bits that span that channel leave nothing of the others.
    """
    made = copy.deepcopy(line)
    with torch.no_grad():
        for stage in (made.layer1, made.layer2, made.layer3, made.layer4):
            for block in stage:
                channel = int(block.bn1.bias.argmax())
                block.bn1.weight[channel] *= 1000
                block.bn1.bias[channel] *= 1000
                block.conv2.weight[:, channel] /= 1000
    return made


def rounded(folder: Path) -> set[str]:
    """The nodes whose inputs are rounded to eight bits."""
    graph = openvino().Core().read_model(folder / GRAPH)
    return {
        target.get_node().get_friendly_name()
        for node in graph.get_ops()
        if node.get_type_name() == "FakeQuantize"
        for target in node.output(0).get_target_inputs()
    }


def test_a_lines_own_network_is_put_into_int8_but_for_what_rounding_would_spoil(
    tmp_path: Path, manifest: Manifest, fitted: LineNetwork
) -> None:
    done = exported(tmp_path / "model", manifest, fitted)
    assert done.serves == "int8", done.reason
    assert done.reason.startswith("INT8 agrees")
    names = rounded(tmp_path / "model")
    assert {CONVOLUTION, CONVOLUTION.removeprefix(LINE)} <= names
    kept = (f".{SUM}", f"{LINE}{FIRST_CONVOLUTION}", f"{LINE}{POOL}", f"{LINE}{LINEAR}")
    assert not [name for name in names if name.startswith(LINE) and name.endswith(kept)]


def test_where_it_disagrees_in_int8_it_stays_in_float32_and_the_first_network_does_not(
    tmp_path: Path, manifest: Manifest, fitted: LineNetwork
) -> None:
    fragile = with_one_huge_channel(fitted)
    done = exported(tmp_path / "model", manifest, fragile)
    assert done.serves == "int8", done.reason
    assert done.reason.startswith("INT8 of all but the line's own network agrees")
    assert "; INT8 does not: " in done.reason, "with what it was refused for"
    names = rounded(tmp_path / "model")
    assert CONVOLUTION.removeprefix(LINE) in names
    assert not [name for name in names if name.startswith(LINE)]
