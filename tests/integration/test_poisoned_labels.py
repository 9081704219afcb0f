"""A third of one defect labelled `no_defect`: what the run makes of it, and what the gate and people do."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders import Station, write_model
from composed import by_hand
from drawn import drawn_manifest
from lines import labelled, without, write_run
from promoting import promoter_of
from records import finding, record

from daemon.clock import now_utc
from daemon.retraining.folders import runs_folder
from daemon.retraining.retrainer import Retrainer
from daemon.store import retraining
from daemon.store.database import Database
from daemon.store.labels import label_of, put_label
from models.registry import PRETRAINED
from models.taxonomy import NO_DEFECT
from training.data.manifest import Part
from training.retraining.heads import HeadRecipe
from training.retraining.retrain import retrain
from training.retraining.run_folder import read_run

CLASSES = ("patches", "rolled-in_scale")
SEEDS = {Part.FIT: range(20), Part.SELECT: range(100, 110), Part.TEST: range(120, 130)}
COUNTS = {NO_DEFECT: 70, "patches": 36}
QUICK = HeadRecipe(views=0)

pytestmark = pytest.mark.timeout(300)  # two whole runs, on a machine that may be busy


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a run's candidate, and which model serves then."""

    status: str
    reason: str
    suspects: Sequence[dict[str, Any]]
    serving: str


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Station:
    root = tmp_path_factory.mktemp("poisoned")
    drawn_manifest(root / "base", CLASSES, SEEDS).save(root / "base.json")
    return Station(root=root, model=write_model(root / "model", CLASSES, below=PRETRAINED))


@pytest.fixture(scope="module")
def rows(station: Station) -> list[dict[str, Any]]:
    return labelled(station.root / "labelled", COUNTS)


@pytest.fixture(scope="module")
def wrong(rows: list[dict[str, Any]]) -> set[int]:
    """A third of the patches, by image."""
    return set([row["image_id"] for row in rows if row["label"] == "patches"][::3])


@pytest.fixture(scope="module")
def poisoned(station: Station, rows: list[dict[str, Any]], wrong: set[int]) -> Outcome:
    labels = [{**row, "label": NO_DEFECT} if row["image_id"] in wrong else row for row in rows]
    with without("nncf"):  # the labels are at stake, not INT8, which takes half of a run
        return outcome_of(station, "poisoned-run", labels)


def give(database: Database, labels: Sequence[dict[str, Any]]) -> None:
    """The same labels as the run has, on images that are recorded once."""
    for row in labels:
        image_id, before = row["image_id"], label_of(database, row["image_id"])
        if before is None:
            (intent,) = record(database, finding(image_id, "unsure"))
            assert intent.image_id == image_id
        put_label(
            database,
            image_id,
            row["label"],
            "eva",
            seen=0 if before is None else before.label_id,
            target=Path(row["path"]),
            now=now_utc(),
            is_there=True,
        )


def outcome_of(station: Station, name: str, labels: Sequence[dict[str, Any]]) -> Outcome:
    """Train as a run does, in this process, and let the daemon find what came of it."""
    folder = write_run(
        runs_folder(station.settings()) / name,
        labels,
        current_model=station.model,
        base_set=station.root / "base.json",
    )
    version = retrain(read_run(folder), recipe=QUICK).candidate.version
    with by_hand(station.settings()) as line:
        give(line.database, labels)
        promoter = promoter_of(station, line)
        retraining.begin(line.database, name, now_utc(), due=True)
        retrainer = Retrainer(
            station.settings(),
            database=line.database,
            promoter=promoter,
            health=line.health,
            clock=now_utc,
        )
        retrainer.recover()
        retrainer.step()
        line.work()
        serving = line.pipeline.model.version
    ((status, reason, metrics),) = station.query(
        "SELECT status, reason, metrics FROM model_versions WHERE version = ?", version
    )
    suspects = json.loads(metrics)["run"]["suspects"]
    return Outcome(status=status, reason=reason, suspects=suspects, serving=serving)


@pytest.mark.fault(34)
def test_a_third_of_a_defect_labelled_no_defect_is_not_promoted_and_the_reason_names_it(
    poisoned: Outcome,
) -> None:
    assert poisoned.status in ("needs_a_person", "rejected")
    assert "of what looks like patches carries another label (no_defect)" in poisoned.reason
    assert poisoned.serving == "tiny-2-0"


@pytest.mark.fault(34)
def test_most_of_the_wrong_labels_are_among_the_suspects_and_most_others_are_not(
    poisoned: Outcome, wrong: set[int]
) -> None:
    listed = {each["image_id"]: each for each in poisoned.suspects}
    found = wrong.intersection(listed)
    print(f"{len(listed)} suspects; of {len(wrong)} wrong labels {len(found)}")
    assert len(found) > len(wrong) / 2
    assert len(listed) < sum(COUNTS.values()) / 4
    assert {listed[each]["label"] for each in found} == {NO_DEFECT}


def test_with_the_right_labels_the_same_pictures_make_a_model_that_is_promoted(
    station: Station, rows: list[dict[str, Any]]
) -> None:
    outcome = outcome_of(station, "right-run", rows)
    assert outcome.status == "current", outcome.reason
    assert outcome.serving not in ("tiny-2-0", "")
