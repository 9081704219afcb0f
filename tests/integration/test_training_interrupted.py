"""Trainings that are cut off, killed, or begun twice."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from boxed import annotation
from drawn import drawn_manifest
from trainings import CLASSES, CPU, RECIPE, SEEDS

from models.checkpoint import CheckpointError, load_metadata
from training import run
from training.data.manifest import NAME, Manifest, Part, load_manifest
from training.fitting.fit import Epoch
from training.fitting.resuming import ResumeError


class InterruptedRunError(Exception):
    """Like a power cut between two epochs."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return drawn_manifest(tmp_path_factory.mktemp("images"), CLASSES, SEEDS)


def test_an_interrupted_run_goes_on_when_it_is_given_again(
    manifest: Manifest, tmp_path: Path
) -> None:
    def cut(_: Epoch) -> None:
        raise InterruptedRunError

    out, epochs = tmp_path / "new", list[Epoch]()
    with pytest.raises(InterruptedRunError):
        run.train(manifest, out, recipe=RECIPE, device=CPU, on_epoch=cut)
    with pytest.raises(ResumeError, match="another recipe"):
        run.train(manifest, out, recipe=RECIPE, seed=2, device=CPU)
    assert not out.exists()
    run.train(manifest, out, recipe=RECIPE, device=CPU, on_epoch=epochs.append)
    assert [epoch.number for epoch in epochs] == [2]
    assert [path.name for path in tmp_path.iterdir()] == ["new"], "nothing is left of its progress"


def test_a_second_training_to_the_same_folder_is_refused_and_the_first_goes_on(
    manifest: Manifest, tmp_path: Path
) -> None:
    out, recipes, begun = tmp_path / "new", [replace(RECIPE, epochs=1)], list[Epoch]()
    (tmp_path / ".new.lock").touch()  # as one that was killed leaves it

    def another(_: Epoch) -> None:
        with pytest.raises(CheckpointError, match="another command is training"):
            run.train_in_phases(manifest, out, recipes=recipes, on_epoch=begun.append)

    run.train_in_phases(manifest, out, recipes=recipes, on_epoch=another)
    assert begun == []
    assert list(tmp_path.iterdir()) == [out]


KILLED_AT_ITS_REPORT = """
import os, signal, sys
from pathlib import Path
from trainings import CPU, RECIPE
from training import run
from training.data.manifest import load_manifest

def die_at_the_report(event, arguments):
    if event == "open" and "report.html" in Path(str(arguments[0])).name:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die_at_the_report)
run.train(load_manifest(Path(sys.argv[1])), Path(sys.argv[2]), recipe=RECIPE, device=CPU)
"""


def test_a_run_that_is_killed_at_its_report_leaves_no_model_and_ends_when_repeated(
    tmp_path: Path, manifest: Manifest
) -> None:
    out, file, epochs = tmp_path / "models" / "new", tmp_path / NAME, list[Epoch]()
    out.parent.mkdir()
    manifest.save(file)
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_ITS_REPORT, file, out],
        env={**os.environ, "PYTHONPATH": f"{here.parents[1]}:{here.parents[2]}"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert not out.exists(), "without its report"
    run.train(load_manifest(file), out, recipe=RECIPE, device=CPU, on_epoch=epochs.append)
    assert epochs == [], "all were kept"
    assert (out / "report.html").exists()
    assert [path.name for path in out.parent.iterdir()] == ["new"], (
        "nothing is left of its progress"
    )


def test_an_interrupted_run_does_not_go_on_with_other_boxes(tmp_path: Path) -> None:
    def cut(_: Epoch) -> None:
        raise InterruptedRunError

    drawn = drawn_manifest(tmp_path / "set" / "images", CLASSES, dict.fromkeys(Part, range(2)))
    images = tuple(replace(image, path=f"images/{image.path}") for image in drawn.images)
    manifest = replace(drawn, root=tmp_path / "set", images=images)
    out, annotations = tmp_path / "new", tmp_path / "set" / "annotations"
    with pytest.raises(InterruptedRunError):
        run.train(manifest, out, recipe=RECIPE, device=CPU, on_epoch=cut)
    annotations.mkdir()
    xml = annotations / f"{Path(manifest.of_part(Part.FIT)[0].path).stem}.xml"
    xml.write_text(annotation(manifest.of_part(Part.FIT)[0].label, (0, 0, 9, 9)))
    with pytest.raises(ResumeError, match="other images, boxes, another recipe"):
        run.train(manifest, out, recipe=RECIPE, device=CPU)


def test_each_phase_begins_with_the_weights_of_the_one_before_and_is_not_made_again(
    manifest: Manifest, tmp_path: Path
) -> None:
    short = replace(RECIPE, epochs=1)
    recipes = [replace(short, name="first"), replace(short, name="second")]
    out, epochs = tmp_path / "new", list[Epoch]()

    def stopped(epoch: Epoch) -> None:
        epochs.append(epoch)
        if len(epochs) == 2:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        run.train_in_phases(manifest, out, recipes=recipes, on_epoch=stopped)
    with pytest.raises(CheckpointError, match="new-first was trained on other images, with other"):
        run.train_in_phases(manifest, out, recipes=recipes, seed=2)
    run.train_in_phases(manifest, out, recipes=recipes, on_epoch=epochs.append)
    assert len(epochs) == 2, "the second phase was over but for its folder"
    first = load_metadata(tmp_path / "new-first")
    assert load_metadata(out).recipe["started_from"] == {
        "version": first.version,
        "manifest_sha256": manifest.sha256,
        "recipe": first.recipe,
    }
    with pytest.raises(CheckpointError, match="never overwritten"):
        run.train_in_phases(manifest, out, recipes=recipes, on_epoch=epochs.append)
    assert len(epochs) == 2
