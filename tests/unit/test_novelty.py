from pathlib import Path

import numpy as np
import pytest
from boxed import write_boxed_manifest
from builders import surface_file

from training.data.manifest import ManifestError
from training.judging.evaluate import auroc
from training.judging.novelty import compare, read_pictures, roc
from training.judging.serving import Served


def test_the_curve_of_a_small_case_is_that_by_hand() -> None:
    known = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
    foreign = np.array([0.25, 0.5], dtype=np.float32)
    assert roc(known, foreign) == (
        (0.0, 0.0),
        (0.0, 0.5),
        (0.25, 0.5),
        (0.5, 0.5),
        (0.5, 1.0),
        (0.75, 1.0),
        (1.0, 1.0),
    )


def test_a_long_curve_is_thinned_and_encloses_the_same_area() -> None:
    random = np.random.default_rng(0)
    known = random.normal(0, 1, 2000).astype(np.float32)
    foreign = random.normal(1, 1, 2000).astype(np.float32)
    curve = np.array(roc(known, foreign))
    assert len(curve) <= 201
    assert (np.diff(curve, axis=0) >= 0).all()
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(auroc(known, foreign), abs=5e-3)


def test_pictures_of_other_things_are_judged_and_other_files_counted(
    model: Path, tmp_path: Path
) -> None:
    served = Served.open(model, write_boxed_manifest(tmp_path / "data", each=1)).model
    folder = tmp_path / "other metal"
    (folder / "deep").mkdir(parents=True)
    for number in range(3):
        (folder / "deep" / f"{number}.png").write_bytes(surface_file(seed=number, form="png"))
    (folder / "notes.txt").write_text("no picture")
    known = np.full(4, -1.0, dtype=np.float32)
    pictures = read_pictures(folder, side=served.input_size)
    foreign = compare(served, known, pictures)
    assert foreign.name == "other metal"
    assert (foreign.called_unknown.of, foreign.left_out) == (3, 1)
    assert foreign.auroc == 1.0
    assert compare(served, -known * 10, pictures).auroc == 0.0


def test_a_folder_without_pictures_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.xml").write_text("<annotation/>")
    for folder in (tmp_path / "annotations", tmp_path / "nowhere"):
        with pytest.raises(ManifestError, match=f"{folder.name} holds no picture; name a folder"):
            read_pictures(folder, side=64)
