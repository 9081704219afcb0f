from pathlib import Path

import numpy as np
import pytest
from builders import write_model

from models.checkpoint import (
    REFERENCE,
    CheckpointError,
    load_evidence,
    load_metadata,
    load_weights,
    save,
)
from models.reference import Reference, Use, read_reference
from models.taxonomy import KNOWN_DEFECTS


def some_reference(
    *, textured: bool = True
) -> tuple[Reference, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    random = np.random.default_rng(0)
    maps = np.maximum(random.standard_normal((9, 16, 2, 3)), 0).astype(np.float32)
    uses = np.repeat([Use.FIT, Use.EVIDENCE, Use.GATE], [4, 3, 2]).astype(np.int64)
    textures = random.random((9, 256), np.float32) if textured else None
    return Reference.of(maps, np.arange(9) % len(KNOWN_DEFECTS), uses, textures), maps


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "m")


def saved(model: Path, folder: Path, reference: bytes) -> Path:
    metadata = load_metadata(model)
    weights, evidence = load_weights(model, metadata), load_evidence(model, metadata)
    save(folder, weights, metadata, evidence, reference=reference)
    return folder


def test_activations_come_back_from_a_model_folder_to_within_half_a_step(
    model: Path, tmp_path: Path
) -> None:
    reference, maps = some_reference()
    folder = saved(model, tmp_path / "m", reference.to_bytes())
    read = read_reference(folder, load_metadata(folder))
    assert read is not None
    step = maps.max(axis=(0, 2, 3))[None, :, None, None] / 63
    for use, rows in ((Use.FIT, slice(4)), (Use.EVIDENCE, slice(4, 7)), (Use.GATE, slice(7, 9))):
        assert (np.abs(read.maps(use) - maps[rows]) <= step / 2 + 1e-6).all()
        np.testing.assert_array_equal(read.labels_of(use), np.arange(9)[rows] % len(KNOWN_DEFECTS))
    assert read.to_bytes() == reference.to_bytes(), "a candidate hands on what it was given"


def test_features_come_back_with_the_textures_that_are_kept_and_without_them_from_an_older_model(
    model: Path, tmp_path: Path
) -> None:
    pooled = np.ones((3, 512), np.float32)
    for textured in (True, False):
        reference, _ = some_reference(textured=textured)
        folder = saved(model, tmp_path / f"textured-{textured}", reference.to_bytes())
        read = read_reference(folder, load_metadata(folder))
        assert read is not None
        features = read.features_of(Use.EVIDENCE, pooled)
        assert features.shape == (3, 512 + 256 * textured)
        np.testing.assert_array_equal(features[:, :512], pooled)
        if reference.textures is not None:
            np.testing.assert_array_equal(features[:, 512:], reference.textures[4:7])


def test_a_model_that_keeps_nothing_says_so(model: Path, tmp_path: Path) -> None:
    folder = saved(model, tmp_path / "m", b"")
    assert not (folder / REFERENCE).exists()
    assert read_reference(folder, load_metadata(folder)) is None


def test_altered_activations_are_refused(model: Path, tmp_path: Path) -> None:
    reference, _ = some_reference()
    folder = saved(model, tmp_path / "m", reference.to_bytes())
    data = bytearray((folder / REFERENCE).read_bytes())
    data[-1] ^= 1
    (folder / REFERENCE).write_bytes(data)
    with pytest.raises(CheckpointError, match="its SHA-256 differs"):
        read_reference(folder, load_metadata(folder))
