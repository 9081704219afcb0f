import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_model
from drawn import drawn_manifest
from evidence import POLICY
from lines import labelled, without, write_run
from once import made_once

from models.binomial import upper_bound
from models.checkpoint import load_metadata
from models.figures import RunFigures
from models.network import load_network
from models.preprocessing import decode
from models.reference import Use, read_reference
from models.registry import load_model
from models.runtimes.exported import RECORD
from models.taxonomy import KNOWN_DEFECTS
from training.data.manifest import Part
from training.model_folder.references import judge_kept
from training.retraining.heads import HeadRecipe
from training.retraining.line_fitting import LineRecipe
from training.retraining.retrain import retrain
from training.retraining.run_folder import RunError, read_run
from training.synthetic import draw_surface, encode

RECIPE = HeadRecipe(views=1)
LINE_RECIPE = LineRecipe(
    fewest_clean=15, fewest_defects=6, must_gain=-100.0, side=48, steps=2, clean=2, defects=2
)
SIDE = 32
SEEDS = {Part.FIT: range(6), Part.SELECT: range(6, 10), Part.TEST: range(10, 13)}


def run_once(root: Path) -> None:
    """A model, the manifest of its images, labels of a line; a run on them, and what it gave back."""
    write_model(root / "model", input_size=SIDE)
    drawn_manifest(root / "base", KNOWN_DEFECTS, SEEDS).save(root / "base.json")
    rows = labelled(root / "labelled", {"no_defect": 30, "stain": 12})
    (root / "rows.json").write_text(json.dumps(rows))
    missing = {**rows[0], "image_id": 900, "path": str(root / "gone.jpg")}
    changed = {**rows[1], "image_id": 901, "sha256": "0" * 64}
    folder = write_run(
        root / "run",
        [*rows, missing, changed],
        current_model=root / "model",
        base_set=root / "base.json",
    )
    figures = retrain(read_run(folder), recipe=RECIPE, line_recipe=LINE_RECIPE)
    (root / "given back.json").write_text(figures.to_json())


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "retrained", run_once)


@pytest.fixture(scope="module")
def rows(line: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((line / "rows.json").read_text())
    return found


@pytest.fixture(scope="module")
def done(line: Path) -> tuple[Path, RunFigures]:
    return line / "run", RunFigures.from_json((line / "given back.json").read_text())


def test_a_run_makes_a_candidate_that_knows_the_line_s_classes_and_the_old_ones(
    done: tuple[Path, RunFigures],
) -> None:
    folder, figures = done
    assert figures.candidate.classes == (*KNOWN_DEFECTS, "no_defect", "stain")
    assert figures.current.classes == KNOWN_DEFECTS
    model = load_model(folder / "candidate", policy=POLICY)
    assert model.version == figures.candidate.version
    assert figures.candidate.finite
    assert figures.candidate.form in {"int8", "fp32"}
    assert RunFigures.from_json((folder / "evaluation.json").read_text()) == figures
    assert json.loads((folder / "progress.json").read_text())["stage"] == "measuring"


def test_each_labelled_image_is_held_out_for_good_or_judged_by_a_network_not_fitted_to_it(
    done: tuple[Path, RunFigures],
) -> None:
    folder, figures = done
    every = {name: row.images for name, row in figures.candidate.crossvalidated.items()}
    assert every == {"no_defect": 30, "stain": 12}
    held_out = {name: row.images for name, row in figures.candidate.held_out.items()}
    assert {name: figures.fitted[name] + held_out.get(name, 0) for name in every} == every
    assert sum(held_out.values()) > 0
    parts = {row["part"] for row in json.loads((folder / "manifest.json").read_text())["images"]}
    assert parts == {"fit", "held_out"}


def test_what_cannot_be_read_is_left_out_and_listed(done: tuple[Path, RunFigures]) -> None:
    folder, _ = done
    skipped = json.loads((folder / "manifest.json").read_text())["skipped"]
    assert [row["image_id"] for row in skipped] == [900, 901]
    assert "changed since it was labelled" in skipped[1]["reason"]


def test_thresholds_rest_on_the_first_images_too_the_promise_on_fitted_labels_alone(
    done: tuple[Path, RunFigures],
) -> None:
    _, figures = done
    assert figures.candidate.evidence_defects == 4 * len(KNOWN_DEFECTS) + figures.fitted["stain"]
    assert figures.candidate.promised_missed_rate == upper_bound(0, figures.fitted["stain"])


def test_of_classes_that_it_does_not_know_a_model_is_as_wrong_as_it_is_sure(
    line: Path, done: tuple[Path, RunFigures], rows: list[dict[str, Any]]
) -> None:
    folder, figures = done
    images = json.loads((folder / "manifest.json").read_text())["images"]
    held_out = {row["image_id"] for row in images if row["part"] == "held_out"}
    current = load_model(line / "model", policy=POLICY)
    pictures = [
        decode(Path(row["path"]).read_bytes(), size=current.input_size).pixels
        for row in rows
        if row["image_id"] in held_out
    ]
    confidence = np.mean([each.confidence for each in current.judge(np.stack(pictures))])
    assert figures.current.calibration_error == pytest.approx(confidence, abs=1e-6)


def test_all_below_the_head_stays_as_it_was(line: Path, done: tuple[Path, RunFigures]) -> None:
    folder, _ = done
    before, after = (
        load_network(each)[0].state_dict() for each in (line / "model", folder / "candidate")
    )
    changed = {key for key in before if not np.array_equal(before[key], after[key])}
    assert changed
    assert all(key.startswith("backbone.fc.") for key in changed)


def test_a_line_with_enough_labels_gets_a_network_of_its_own_that_serves_in_every_form(
    done: tuple[Path, RunFigures],
) -> None:
    folder, _ = done
    candidate = folder / "candidate"
    network, metadata = load_network(candidate)
    assert network.line is not None
    assert network.line.first_side == SIDE
    assert metadata.input_size == LINE_RECIPE.side
    assert metadata.recipe["line"]["steps"] == LINE_RECIPE.steps
    kept = read_reference(candidate, metadata)
    assert kept is not None
    stain = metadata.classes.index("stain")
    for runtime in ("torch", "openvino"):
        serving: Any = load_model(candidate, policy=POLICY, runtime=runtime).runtime
        # As it cannot see what only activations are kept of, no line's defect is found there.
        above = judge_kept(serving, kept, Use.GATE)
        assert np.exp(above.logits).sum(axis=1) == pytest.approx(1, abs=1e-3)
        assert np.exp(above.logits[:, stain]).max() < 1e-6


def test_the_next_run_works_from_what_the_candidate_keeps(
    rows: list[dict[str, Any]], done: tuple[Path, RunFigures], tmp_path: Path
) -> None:
    """Also where nncf is not installed, which makes INT8."""
    candidate = done[0] / "candidate"
    kept = read_reference(candidate, load_metadata(candidate))
    assert kept is not None
    assert len(kept.labels_of(Use.FIT)) == 6 * len(KNOWN_DEFECTS)
    again = write_run(tmp_path / "run", rows, current_model=candidate, runtime="torch")
    unmoved = replace(LINE_RECIPE, must_gain=100.0)
    with without("nncf"):
        figures = retrain(read_run(again), recipe=RECIPE, line_recipe=unmoved)
    assert figures.current.version == done[1].candidate.version
    assert figures.current.form == figures.candidate.form == "torch", "as the line is set to"
    assert sum(row.images for row in figures.candidate.reference.values()) == 3 * len(KNOWN_DEFECTS)
    assert sum(row.right for row in figures.current.reference.values()) > 0
    without_own, metadata = load_network(again / "candidate")
    assert without_own.line is None, "it gained too little"
    assert metadata.input_size == SIDE
    assert not (again / "candidate" / RECORD).exists()


@pytest.fixture(scope="module")
def alike(
    line: Path, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunFigures, frozenset[str]]:
    """A run whose defects are near-copies of one, where OpenVINO is not installed; their hashes."""
    root = tmp_path_factory.mktemp("alike")
    drawn = draw_surface("patches", seed=5, height=96, width=96)
    copies = []
    for number in range(8):
        data = encode(np.clip(drawn.astype(np.int64) + number, 0, 255).astype(np.uint8), "png")
        path = root / f"again-{number}.png"
        path.write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        copies.append(
            {"image_id": 800 + number, "path": str(path), "sha256": sha256, "label": "stain"}
        )
    clean = [row for row in rows if row["label"] == "no_defect"]
    folder = write_run(
        root / "run",
        [*clean[:20], *copies],
        current_model=line / "model",
        base_set=line / "base.json",
    )
    with without("openvino"):
        short, strict = replace(RECIPE, views=0), replace(LINE_RECIPE, must_gain=0.0)
        figures = retrain(read_run(folder), recipe=short, line_recipe=strict)
    return folder, figures, frozenset(str(copy["sha256"]) for copy in copies)


def test_where_openvino_cannot_be_loaded_the_candidate_is_measured_as_torch_serves_it(
    alike: tuple[Path, RunFigures, frozenset[str]],
) -> None:
    folder, figures, _ = alike
    assert figures.candidate.form == figures.current.form == "torch"
    model = load_model(folder / "candidate", policy=POLICY, runtime="torch")
    assert model.version == figures.candidate.version


def test_a_line_whose_defects_are_near_copies_of_one_gets_no_network_of_its_own(
    alike: tuple[Path, RunFigures, frozenset[str]],
) -> None:
    folder, _, copies = alike
    images = json.loads((folder / "manifest.json").read_text())["images"]
    fitted = [row for row in images if row["part"] == "fit" and row["sha256"] in copies]
    assert len(fitted) == len(copies), "enough to learn from"
    assert len({row["group"] for row in fitted}) == 1, "one fold has them all"
    assert load_network(folder / "candidate")[0].line is None


def test_a_model_that_keeps_nothing_is_not_retrained_on_labels_alone(
    line: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", rows, current_model=line / "model")
    with pytest.raises(RunError, match=r"would forget them; set retraining\.base_set"):
        retrain(read_run(folder), recipe=RECIPE)


@pytest.fixture
def divided_anew(tmp_path: Path) -> Path:
    """The manifest of the base set, with four fitted pictures of each class held out."""
    other = {Part.FIT: range(4, 13), Part.SELECT: range(3), Part.TEST: range(3, 4)}
    drawn_manifest(tmp_path / "base", KNOWN_DEFECTS, other).save(tmp_path / "base.json")
    return tmp_path / "base.json"


def test_a_base_set_prepared_again_with_another_split_is_not_held_out_where_it_was_fitted(
    divided_anew: Path,
    rows: list[dict[str, Any]],
    done: tuple[Path, RunFigures],
    tmp_path: Path,
) -> None:
    known = json.loads((done[0] / "manifest.json").read_text())["base_set"]
    assert sum(known.values()) == 7 * len(KNOWN_DEFECTS)
    assert len(known) == 13 * len(KNOWN_DEFECTS)
    folder = write_run(
        tmp_path / "run",
        rows,
        current_model=done[0] / "candidate",
        base_set=divided_anew,
        earlier_base="earlier_base.json",
    )
    (folder / "earlier_base.json").write_text(json.dumps(known))
    with pytest.raises(RunError, match=r"24 of its images, of 78, were fitted"):
        retrain(read_run(folder), recipe=RECIPE)


def test_a_base_set_does_not_hold_out_what_the_model_that_serves_was_fitted_to(
    divided_anew: Path,
    rows: list[dict[str, Any]],
    done: tuple[Path, RunFigures],
    tmp_path: Path,
) -> None:
    """Also where no run before this one knew of it: the model keeps what tells its images."""
    folder = write_run(
        tmp_path / "run", rows, current_model=done[0] / "candidate", base_set=divided_anew
    )
    with pytest.raises(RunError, match=r"at least 24 that it was fitted to are held out there"):
        retrain(read_run(folder), recipe=RECIPE)


def test_too_few_labels_are_said_in_words_with_a_status_that_is_not_zero(
    line: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = write_run(
        tmp_path / "run",
        [row for row in rows if row["label"] == "stain"][:2],
        current_model=line / "model",
        base_set=line / "base.json",
    )
    before = {path.name: path.read_bytes() for path in (line / "model").iterdir()}
    ended = subprocess.run(
        [sys.executable, "-m", "training", folder], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "no class has 3 labelled images to learn from" in (folder / "failed.txt").read_text()
    assert not (folder / "candidate").exists()
    assert not (folder / "evaluation.json").exists()
    assert {path.name: path.read_bytes() for path in (line / "model").iterdir()} == before
