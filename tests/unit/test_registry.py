from pathlib import Path

import numpy as np
import pytest
from builders import surface_file
from numpy.typing import NDArray

from models.checkpoint import CheckpointError, load_evidence, load_metadata, load_weights, save
from models.decision import Policy
from models.heatmap import heatmap
from models.preprocessing import decode
from models.registry import Model, load_model
from models.runtimes.protocol import RuntimeUnavailableError
from models.taxonomy import KNOWN_DEFECTS, NO_DEFECT, Verdict

POLICY = Policy(normal_classes=(NO_DEFECT,), max_missed_defect_rate=0.1, min_defect_confidence=0.5)
SURFACES = (*KNOWN_DEFECTS, NO_DEFECT)


@pytest.fixture(scope="module")
def seven(commissioned_model: Path) -> Model:
    return load_model(commissioned_model, policy=POLICY, runtime="torch")


def drawn(surface: str, seed: int, size: int) -> NDArray[np.uint8]:
    return decode(surface_file(surface, seed=seed), size=size).pixels


def test_a_loaded_model_judges_every_image_of_a_batch(seven: Model) -> None:
    pixels = np.stack([drawn(surface, 50, seven.input_size) for surface in SURFACES])
    decisions = seven.judge(pixels)
    choices = seven.runtime.infer(pixels).logits.argmax(axis=1)
    assert [decision.predicted_class for decision in decisions] == [
        seven.metadata.classes[choice] for choice in choices
    ]
    assert len(set(choices)) >= 3
    assert Verdict.UNREADABLE not in {decision.verdict for decision in decisions}


def test_a_model_explains_the_class_that_it_predicts(seven: Model) -> None:
    pixels = drawn("scratches", 51, seven.input_size)
    decision, heat = seven.explain(pixels)
    assert decision.predicted_class == seven.judge(pixels[None])[0].predicted_class
    maps = seven.runtime.infer(pixels[None], with_maps=True).maps
    assert maps is not None
    row = seven.metadata.classes.index(decision.predicted_class)
    np.testing.assert_allclose(heat, heatmap(maps[0], seven.runtime.head[row]), atol=1e-5)


def test_a_model_tells_its_version_and_size(seven: Model, commissioned_model: Path) -> None:
    metadata = load_metadata(commissioned_model)
    assert (seven.version, seven.input_size) == (metadata.version, metadata.input_size)


@pytest.mark.fault(32)
def test_a_model_without_a_normal_class_passes_nothing(model: Path) -> None:
    six = load_model(model, policy=POLICY)
    pixels = [
        drawn(surface, seed, six.input_size) for surface in SURFACES for seed in range(60, 63)
    ]
    assert Verdict.PASS not in {decision.verdict for decision in six.judge(np.stack(pixels))}


def test_a_runtime_that_this_version_lacks_is_refused_by_name(model: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match=r'no runtime "abacus".*model.runtime'):
        load_model(model, policy=POLICY, runtime="abacus")


BY_CLASS = {
    "textures": None,
    "reference": np.ones((9, 768), np.float16),
    "distances": np.zeros((60, 6), np.float32),
}


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"novelty": np.array([np.nan] * 60, np.float32)}, "novelty holds what is no number"),
        ({"labels": np.zeros(60, np.int64) + 6}, "do not belong together"),
        ({"logits": np.zeros((60, 9), np.float32)}, "is of 9 classes, the model of 6"),
        ({"textures": None}, "reference"),
        ({"textures": np.ones((9, 300), np.float16)}, "do not belong together"),
        (BY_CLASS | {"reference_labels": np.full(9, 6)}, "do not belong together"),
        (BY_CLASS | {"reference_labels": np.zeros(9)}, "do not belong together"),
        (BY_CLASS | {"reference_labels": np.zeros((9, 2), np.int64)}, "do not belong together"),
    ],
)
def test_evidence_that_does_not_fit_its_model_is_refused(
    tmp_path: Path, model: Path, change: dict[str, NDArray[np.generic] | None], words: str
) -> None:
    metadata = load_metadata(model)
    changed = {**load_evidence(model, metadata), **change}
    evidence = {key: value for key, value in changed.items() if value is not None}
    save(tmp_path / "m", load_weights(model, metadata), metadata, evidence)
    with pytest.raises(CheckpointError, match=rf"{words}.*restore the folder or retrain"):
        load_model(tmp_path / "m", policy=POLICY)
