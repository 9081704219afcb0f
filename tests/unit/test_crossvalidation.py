from pathlib import Path

import numpy as np
import pytest
from filesystems import no_file_larger

from training.crossvalidate import Crossvalidation, crossvalidate
from training.data.manifest import LabelledImage, Manifest, ManifestError, Part
from training.fitting.recipe import RECIPES
from training.judging.evaluate import Rate, evaluate
from training.leaveout import leave_out


def test_figures_that_no_disk_has_room_for_leave_those_before(tmp_path: Path) -> None:
    logits = np.array([[2, 0], [0, 2]], np.float32)
    figures = Crossvalidation(
        pooled=evaluate(logits, np.array([0, 1]), ("crazing", "scratches")),
        numbers=[1],
        folds=[Rate.measured(2, 2)],
        called_unknown=Rate.measured(0, 2),
        mistakes=[],
        corruptions={},
        pointing=None,
        foreign=[],
    )
    path = tmp_path / "crossvalidation.json"
    path.write_text("those before")
    with no_file_larger(100), pytest.raises(OSError, match="File too large"):
        figures.save(path)
    assert path.read_text() == "those before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_class_that_cannot_be_left_out_is_told_before_the_others_are(tmp_path: Path) -> None:
    """Only the last one has test images: without it nothing tells known images from strange ones."""
    classes = ("crazing", "patches", "scratches")
    images = [
        LabelledImage(path=f"{name}-{part}", label=name, sha256="", pixels="", part=part)
        for name in classes
        for part in Part
        if part is not Part.TEST or name == "scratches"
    ]
    manifest = Manifest(root=tmp_path, classes=classes, images=tuple(images))
    with pytest.raises(
        ManifestError, match="without scratches there is no image in the part 'test'"
    ):
        leave_out(manifest, tmp_path / "left", recipes=[RECIPES["steel"]])
    assert not (tmp_path / "left").exists()


def test_a_class_that_a_fold_could_not_learn_is_told_before_the_others_are(tmp_path: Path) -> None:
    """All of its images are alike, so they stay together: where they are tested, none is fitted."""

    def images(name: str, beginnings: range) -> list[LabelledImage]:
        """In the fold that the beginning says; every other one of them selects where it is not tested."""
        return [
            LabelledImage(
                path=f"{name}-{begin}-{part}",
                label=name,
                sha256="",
                pixels=f"{begin:08x}{10 * part:08x}",
                part=Part.FIT,
            )
            for begin in beginnings
            for part in range(2)
        ]

    manifest = Manifest(
        root=tmp_path,
        classes=("crazing", "scratches"),
        images=tuple(images("crazing", range(3)) + images("scratches", range(1, 2))),
    )
    recipes = [RECIPES["steel"]]
    with pytest.raises(ManifestError, match="in fold 2 of 3 class scratches has no image in fit"):
        crossvalidate(manifest, tmp_path / "folds", recipes=recipes, folds=3)
    assert not (tmp_path / "folds").exists()
