"""The end of a run: what it made is adopted, ruled on and promoted once, whatever comes between."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from builders import Station
from commands import Millwatch
from composed import ByHand, by_hand
from promoting import kept, promoter_of
from retraining_by_hand import label
from ruled import GOOD

from daemon.clock import now_utc
from daemon.retraining.finishing import Finisher, rules_of
from daemon.retraining.folders import Usable, freeze
from daemon.retraining.promotion import Promoter
from daemon.retraining.retrainer import Retrainer
from daemon.review.labelling import Labeller
from daemon.serving import registry_folder
from daemon.store import retraining
from daemon.store.labels import labels_to_learn_from
from daemon.store.models import remember_candidate
from models.checkpoint import load_metadata

RUN = "run-1"


@pytest.fixture
def line(station: Station, commissioned_model: Path) -> Iterator[ByHand]:
    """A line whose run has made `made`, better than `tiny-6-0`, which serves."""
    version = kept(station, commissioned_model, "made")
    folder = station.state_dir / "runs" / RUN
    folder.mkdir(parents=True)
    shutil.move(registry_folder(station.settings()) / version, folder / "candidate")
    figures = replace(
        GOOD,
        candidate=replace(GOOD.candidate, version=version),
        current=replace(GOOD.current, version="tiny-6-0"),
    )
    (folder / "evaluation.json").write_text(figures.to_json())
    with by_hand(station.settings()) as line:
        retraining.begin(line.database, RUN, now_utc(), due=True)
        yield line


def ended(
    station: Station, line: ByHand, promoter: Promoter | None = None, *, state: str = "done"
) -> str:
    """What a daemon that was just started makes of the run."""
    retrainer = Retrainer(
        station.settings(),
        database=line.database,
        promoter=promoter or promoter_of(station, line),
        health=line.health,
        clock=now_utc,
    )
    retrainer.recover()
    retrainer.step()
    assert not retrainer.busy
    ((came, reason),) = station.query("SELECT state, reason FROM retraining_run")
    assert came == state
    return str(reason)


def statuses(station: Station) -> dict[str, str]:
    return dict(station.query("SELECT version, status FROM model_versions"))


def test_what_the_gate_lets_through_serves(station: Station, line: ByHand) -> None:
    assert ended(station, line).startswith("made: promote: it also knows")
    assert statuses(station) == {"tiny-6-0": "retired", "made": "current"}


def test_a_kill_after_the_candidate_was_recorded_ends_no_differently(
    station: Station, line: ByHand
) -> None:
    metadata = load_metadata(station.state_dir / "runs" / RUN / "candidate")
    remember_candidate(line.database, metadata, status="candidate", reason="it is better")
    assert ended(station, line).startswith("made: promote: it also knows")
    assert statuses(station) == {"tiny-6-0": "retired", "made": "current"}


def test_a_kill_after_the_promotion_ends_no_differently(station: Station, line: ByHand) -> None:
    promoter = promoter_of(station, line)
    Finisher(
        station.settings(), database=line.database, promoter=promoter, health=line.health
    ).finish(station.state_dir / "runs" / RUN)
    assert statuses(station)["made"] == "current"
    assert ended(station, line, promoter).startswith("made: promote: it also knows")
    assert statuses(station) == {"tiny-6-0": "retired", "made": "current"}


@pytest.mark.fault(33)
def test_figures_that_make_no_sense_end_the_run_and_not_the_service(
    station: Station, line: ByHand
) -> None:
    """Else it would end each start again."""
    evaluation = station.state_dir / "runs" / RUN / "evaluation.json"
    document = json.loads(evaluation.read_text())
    document["candidate"]["milliseconds_per_image"] = None
    evaluation.write_text(json.dumps(document))
    assert "could not be ruled on: TypeError" in ended(station, line, state="failed")
    assert statuses(station) == {"tiny-6-0": "current"}


def test_what_the_gate_said_is_kept_whatever_becomes_of_the_model(
    station: Station, line: ByHand, millwatch: Millwatch
) -> None:
    """Its figures and its reason: promoted by somebody and rolled back, the model has reasons of its own."""
    promoter = promoter_of(station, line)
    _, _, said = ended(station, line, promoter).partition(": ")
    promoter.roll_back("eva")
    promoter.promote("made", "eva")
    asked = ("report", "model", "--config", station.config, "--format", "json")
    made = next(each for each in json.loads(millwatch(*asked).out) if each["version"] == "made")
    assert made["gate"] == said
    assert said.startswith("promote: it also knows")
    assert made["reason"] == "promoted by eva"


def test_what_was_held_against_a_model_that_serves_no_more_waits_for_a_person(
    station: Station, line: ByHand, commissioned_model: Path
) -> None:
    promoter = promoter_of(station, line)
    promoter.promote(kept(station, commissioned_model, "meanwhile"), "eva")
    said = ended(station, line, promoter)
    assert "needs_a_person: it was held against model tiny-6-0, and meanwhile" in said
    assert statuses(station) == {
        "tiny-6-0": "retired",
        "meanwhile": "current",
        "made": "needs_a_person",
    }


@pytest.mark.parametrize(
    ("table", "keys"),
    [("policy", {"max_missed_defect_rate": 0.05}), ("model", {"runtime": "openvino"})],
    ids=["policy", "runtime"],
)
def test_what_was_measured_by_another_policy_or_runtime_waits_for_a_person(
    station: Station, line: ByHand, table: str, keys: dict[str, float | str]
) -> None:
    """As where people let more pass, and the run that goes on was judged by the stricter rate."""
    runs = station.state_dir / "runs"
    freeze(station.settings(), runs / "run-0", Usable(labels=[], rare={}), now_utc(), seed=1)
    shutil.move(runs / "run-0" / "run.json", runs / RUN)
    station.tables = {table: keys}
    station.write_config()
    said = ended(station, line)
    assert "needs_a_person: [policy] or model.runtime was changed while it was made" in said
    assert statuses(station) == {"tiny-6-0": "current", "made": "needs_a_person"}


def learned_from(station: Station, line: ByHand, counts: dict[str, int]) -> Labeller:
    """Images whose labels the run was frozen with; who may take these back meanwhile."""
    label(station, line, counts)
    runs = station.state_dir / "runs"
    learned = Usable(labels=labels_to_learn_from(line.database), rare={})
    freeze(station.settings(), runs / "run-0", learned, now_utc(), seed=1)
    shutil.move(runs / "run-0" / "labels.json", runs / RUN)
    return Labeller(station.settings(), database=line.database, health=line.health, clock=now_utc)


@pytest.mark.fault(34)
@pytest.mark.parametrize("deed", ["taken back", "changed"])
@pytest.mark.parametrize(("withdrawn", "outcome"), [(2, "promote"), (3, "needs_a_person")])
def test_what_rests_on_labels_that_people_withdrew_meanwhile_waits_for_a_person(
    station: Station, line: ByHand, deed: str, withdrawn: int, outcome: str
) -> None:
    """As where many were labelled by mistake, and the run that goes on learns the mistake."""
    labeller = learned_from(station, line, {"no_defect": 6, "scratches": 3})
    sound = station.query("SELECT image_id FROM labels WHERE label = 'no_defect'")
    for (image_id,) in sound[:withdrawn]:
        if deed == "changed":
            labeller.label(image_id, "scratches", "eva", seen=None)
        else:
            labeller.undo(image_id, "eva", seen=None)
    said = ended(station, line)
    assert said.startswith(f"made: {outcome}: ")
    told = "of the 6 labels of no_defect that it rests on 3 were taken back or changed while it was"
    assert (told in said) == (outcome == "needs_a_person")
    assert statuses(station)["made"] == {"promote": "current"}.get(outcome, outcome)


@pytest.mark.fault(34)
@pytest.mark.parametrize("recorded", ["as a candidate", "as serving"])
def test_labels_that_are_withdrawn_after_a_kill_change_what_is_not_promoted_yet_alone(
    station: Station, line: ByHand, recorded: str
) -> None:
    labeller = learned_from(station, line, {"no_defect": 6})
    run = station.state_dir / "runs" / RUN
    promoter = promoter_of(station, line)
    if recorded == "as serving":
        parts = {"database": line.database, "promoter": promoter, "health": line.health}
        Finisher(station.settings(), **parts).finish(run)  # type: ignore[arg-type]
    else:
        metadata = load_metadata(run / "candidate")
        remember_candidate(line.database, metadata, status="candidate", reason="it is better")
    for (image_id,) in station.query("SELECT image_id FROM labels"):
        labeller.undo(image_id, "eva", seen=None)
    said = ended(station, line, promoter)
    if recorded == "as serving":
        assert said.startswith("made: promote: it also knows")
        assert statuses(station)["made"] == "current"
    else:
        assert said.startswith("made: needs_a_person: of the 6 labels of no_defect")
        assert statuses(station)["made"] == "needs_a_person"


def test_rejected_candidates_do_not_gather_nor_push_out_what_served(
    station: Station, line: ByHand, commissioned_model: Path
) -> None:
    station.tables = {"retraining": {"keep_versions": 3}}
    station.write_config()
    promoter = promoter_of(station, line)
    promoter.promote(kept(station, commissioned_model, "good"), "eva")
    for number in range(3):
        name = kept(station, commissioned_model, f"bad-{number}")
        metadata = load_metadata(registry_folder(station.settings()) / name)
        remember_candidate(line.database, metadata, status="rejected", reason="worse")
    ended(station, line, promoter)
    registry = registry_folder(station.settings())
    left = {each.name for each in registry.iterdir() if each.is_dir()}
    assert {"good", "made"} <= left
    assert len(left) == 3


def test_each_key_of_the_gate_reaches_its_rule(station: Station) -> None:
    gate = {
        "max_extra_missed": 0.011,
        "max_reference_loss": 0.012,
        "max_calibration_error": 0.13,
        "max_times_slower": 1.4,
    }
    station.tables = {"gate": gate, "policy": {"max_missed_defect_rate": 0.015}}
    station.write_config()
    rules = rules_of(station.settings())
    assert {name: getattr(rules, name) for name in gate} == gate
    assert rules.max_missed_defect_rate == 0.015
