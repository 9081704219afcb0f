"""`review list`, `label`, `undo` and `conflicts`, with a daemon and without."""

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from answering import answering
from builders import Station
from commands import Millwatch
from filesystems import hanging
from records import NOW
from reviewed import data_of, labels, move, paths, station_of

from daemon.process.control import NoAnswerError
from daemon.store import retraining
from daemon.store.database import Database
from daemon.store.labels import newest_label
from daemon.store.models import remember_candidate
from models.binomial import interval
from models.checkpoint import METADATA, load_metadata
from models.registry import PRETRAINED

SAMPLE = {1: "unsure", 2: "unsure", 3: "pass", 4: "pass"}


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return station_of(tmp_path)


def told(millwatch: Millwatch, station: Station, *arguments: str) -> Any:
    done = millwatch("review", *arguments, "--json", "--config", station.config)
    assert done.status == 0, done.err
    return json.loads(done.out)


def test_what_was_moved_without_a_daemon_is_a_label_and_the_rest_is_listed(
    millwatch: Millwatch, station: Station
) -> None:
    at = paths(station)
    move(at[1], station.review / "labelled" / "patches" / at[1].name)
    at[2].unlink()
    listed = told(millwatch, station, "list")
    assert labels(station) == {1: "patches"}
    assert listed["waiting"] == 3
    assert {each["image"]: each["missing"] for each in listed["images"]} == {
        2: True,
        3: False,
        4: False,
    }
    fields = {"camera", "captured_at", "verdict", "reason", "predicted_class", "confidence"}
    assert fields <= listed["images"][0].keys()
    assert len(told(millwatch, station, "list", "--limit", "1")["images"]) == 1
    assert told(millwatch, station, "list", "--reason", "sample")["images"] == []
    table = millwatch("review", "list", "--config", station.config)
    assert table.status == 0
    assert "Waiting for a label: 3" in table.out
    assert "Missed defects: not known yet" in table.out


def test_an_id_that_no_database_can_hold_is_a_mistake_in_the_command(
    millwatch: Millwatch, station: Station
) -> None:
    for image in ("0", str(2**63)):
        for command in (["label", image, "patches"], ["undo", image]):
            done = millwatch("review", *command, "--config", station.config)
            assert done.status == 2
            assert "IMAGE" in done.err


@pytest.mark.parametrize("width", ["80", ""])
def test_the_tables_show_every_path_whole_on_a_narrow_terminal_and_in_a_pipe(
    millwatch: Millwatch, station: Station, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.delenv("COLUMNS")
    if width:
        monkeypatch.setenv("COLUMNS", width)
    stranger = station.review / "labelled" / "patches" / f"holiday-{'x' * 80}.jpg"
    stranger.parent.mkdir()
    stranger.write_bytes(b"a stranger's")
    for command, shown in (("list", paths(station).values()), ("conflicts", [stranger])):
        table = millwatch("review", command, "--config", station.config).out
        rows = [line.split("│")[1:-1] for line in table.splitlines() if line.startswith("│")]
        columns = ["".join(cell.strip() for cell in column) for column in zip(*rows, strict=True)]
        assert all(any(str(path) in column for column in columns) for path in shown)


def test_an_image_is_labelled_labelled_anew_and_unlabelled(
    millwatch: Millwatch, station: Station
) -> None:
    before = paths(station)[2]
    labelled = told(millwatch, station, "label", "2", "patches")
    at = station.review / "labelled" / "patches" / before.name
    assert labelled == {"image": 2, "label": "patches", "path": str(at)}
    assert at.read_bytes() == data_of(2)
    assert millwatch("review", "label", "2", "crazing", "--config", station.config).status == 0
    assert labels(station) == {2: "crazing"}
    done = millwatch("review", "undo", "2", "--config", station.config)
    assert (done.status, done.out) == (0, f"image 2 has no label any more: {before}\n")
    assert labels(station) == {}
    assert paths(station)[2] == before
    deeds = station.query("SELECT deed, address FROM audit ORDER BY id")
    assert deeds == [("label", "command"), ("label", "command"), ("undo", "command")]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["undo", "1"], "image 1 has no label to take back"),
        (["label", "99", "patches"], "there is no image 99"),
        (["label", "1", "unknown"], "'unknown' cannot be a class"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    millwatch: Millwatch, station: Station, arguments: list[str], why: str
) -> None:
    done = millwatch("review", *arguments, "--config", station.config)
    assert done.status == 1
    assert why in done.err
    assert "nothing was changed" in done.err
    assert labels(station) == {}


def test_conflicts_are_told_with_the_reason(millwatch: Millwatch, station: Station) -> None:
    assert told(millwatch, station, "conflicts") == []
    in_words = millwatch("review", "conflicts", "--config", station.config)
    assert "in order" in in_words.out
    stranger = station.review / "labelled" / "patches" / "[red]holiday\n\udcff.jpg"
    stranger.parent.mkdir()
    stranger.write_bytes(b"a stranger's")
    (found,) = told(millwatch, station, "conflicts")
    assert (found["problem"], found["image"]) == ("stranger", None)
    assert found["path"].endswith("[red]holiday\n\\xff.jpg")
    assert "drop folder" in found["reason"]
    table = millwatch("review", "conflicts", "--config", station.config)
    assert "[red]holiday\\n" in table.out
    assert stranger.exists()


def test_a_label_that_differs_from_what_a_model_was_sure_of_is_listed_before_it_is_learned(
    millwatch: Millwatch, tmp_path: Path
) -> None:
    verdicts = {1: "defect", 2: "defect", 3: "unsure", 4: "pass", 5: "pass"}
    station = station_of(tmp_path, verdicts, reasons={4: "sample", 5: "sample"})
    for image, label in {1: "no_defect", 2: "scratches", 3: "patches", 4: "patches"}.items():
        told(millwatch, station, "label", str(image), label)
    told(millwatch, station, "label", "5", "no_defect")
    judged = station.query("SELECT predicted_class, confidence FROM image WHERE id IN (1, 4)")
    found = told(millwatch, station, "suspects")["suspects"]
    assert [(each["image"], each["label"], each["doubted_by"]) for each in found] == [
        (1, "no_defect", "verdict"),
        (4, "patches", "verdict"),
    ]
    assert [(each["suggested"], each["confidence"]) for each in found] == judged
    assert Path(found[0]["path"]) == paths(station)[1]
    table = millwatch("review", "suspects", "--config", station.config)
    assert "the model that judged it" in table.out
    database = Database(station.settings().database_file)
    run = retraining.begin(database, "learned", NOW, due=True, labels_until=newest_label(database))
    retraining.end(database, run, "done", "?", NOW)
    database.close()
    assert told(millwatch, station, "suspects")["suspects"] == []
    told(millwatch, station, "label", "2", "crazing")
    (again,) = told(millwatch, station, "suspects")["suspects"]
    assert (again["image"], again["suggested"]) == (2, "scratches")


def test_labels_that_the_latest_retraining_doubts_are_listed_until_they_are_given_anew(
    millwatch: Millwatch, station: Station
) -> None:
    told(millwatch, station, "label", "1", "no_defect")
    told(millwatch, station, "label", "2", "patches")
    told(millwatch, station, "label", "3", "no_defect")
    assert told(millwatch, station, "suspects") == {"model_version": None, "suspects": []}
    doubts = [(2, "patches", "crazing", 0.97), (1, "no_defect", "patches", 0.9)]
    doubts.append((99, "patches", "crazing", 0.8))  # deleted since
    suspects = [
        {"image_id": image, "label": label, "suggested": suggested, "confidence": sure, "path": "?"}
        for image, label, suggested, sure in doubts
    ]
    database = Database(station.settings().database_file)
    made = replace(load_metadata(PRETRAINED), version="doubting")
    remember_candidate(
        database, made, status="rejected", reason="?", figures={"suspects": suspects}
    )
    database.close()
    found = told(millwatch, station, "suspects")
    assert found["model_version"] == "doubting"
    assert [(each["image"], each["suggested"]) for each in found["suspects"]] == [
        (2, "crazing"),
        (1, "patches"),
    ]
    assert Path(found["suspects"][0]["path"]) == paths(station)[2]
    table = millwatch("review", "suspects", "--config", station.config)
    assert "97 %" in table.out
    told(millwatch, station, "label", "2", "crazing")
    told(millwatch, station, "undo", "1")
    assert told(millwatch, station, "suspects")["suspects"] == []
    in_words = millwatch("review", "suspects", "--config", station.config)
    assert "No label looks wrong" in in_words.out


def test_missed_defects_are_told_with_their_interval(millwatch: Millwatch, tmp_path: Path) -> None:
    station = station_of(tmp_path, SAMPLE, reasons={3: "sample", 4: "sample"})
    assert paths(station)[3].is_relative_to(station.review / "to_check" / "no_defect")
    assert [each["image"] for each in told(millwatch, station, "list")["images"]][:2] == [4, 3]
    told(millwatch, station, "label", "3", "no_defect")
    told(millwatch, station, "label", "4", "scratches")
    missed = told(millwatch, station, "list")["missed_defects"]
    low, high = interval(1, 2)
    assert missed == {
        "passed": 2,
        "sampled": 2,
        "labelled": 2,
        "missed": 1,
        "rate": 0.5,
        "low": low,
        "high": high,
    }
    table = millwatch("review", "list", "--config", station.config)
    assert "Missed defects: 1 of 2 passed images" in table.out


def test_one_camera_alone_is_told_of_and_a_slip_is_no_empty_queue(
    millwatch: Millwatch, tmp_path: Path
) -> None:
    station = station_of(tmp_path, SAMPLE, reasons={3: "sample", 4: "sample"})
    station.cameras = ("top-1", "side-1")
    station.write_config()
    told(millwatch, station, "label", "3", "scratches")
    of_top = told(millwatch, station, "list", "--camera", "top-1")
    assert (of_top["waiting"], of_top["missed_defects"]["missed"]) == (3, 1)
    of_side = told(millwatch, station, "list", "--camera", "side-1")
    assert (of_side["waiting"], of_side["missed_defects"]["labelled"]) == (0, 0)
    shown = millwatch("review", "list", "--camera", "top-1", "--config", station.config)
    assert "Missed defects of camera top-1: 1 of 1" in shown.out
    for slip, there_are in (
        (["--camera", "top1"], "there is no camera 'top1'; there are side-1, top-1"),
        (["--reason", "samples"], "no image has the reason 'samples'; there are commissioning, "),
        (["--class", "scratch"], "there is no class 'scratch'; there are crazing, "),
    ):
        done = millwatch("review", "list", *slip, "--config", station.config)
        assert done.status == 1
        assert there_are in done.err


def test_a_class_that_anything_knows_is_no_slip_though_nothing_waits_with_it(
    millwatch: Millwatch, tmp_path: Path
) -> None:
    station = station_of(tmp_path, reasons={1: "unknown"})
    given, folder = "a label's", "a folder's"
    (station.review / "labelled" / folder).mkdir()
    told(millwatch, station, "label", "1", given)
    told(millwatch, station, "undo", "1")
    station.model = tmp_path / "imported"
    station.model.mkdir()
    made = replace(load_metadata(PRETRAINED), classes=("scratches", "a model's"))
    (station.model / METADATA).write_text(json.dumps(asdict(made)))
    station.write_config()
    for known in (given, folder, "a model's", "no_defect", "pitted_surface"):
        assert told(millwatch, station, "list", "--class", known)["waiting"] == 0
    assert told(millwatch, station, "list", "--class", "unknown")["waiting"] == 1
    with closing(sqlite3.connect(station.database)) as connection:
        connection.execute("UPDATE image SET predicted_class = 'a former model''s' WHERE id = 2")
        connection.commit()
    assert told(millwatch, station, "list", "--class", "a former model's")["waiting"] == 1


def test_a_running_daemon_is_asked_and_its_database_is_left_to_it(
    millwatch: Millwatch, station: Station
) -> None:
    asked: list[dict[str, Any]] = []

    def label(arguments: Any) -> dict[str, Any]:
        asked.append(dict(arguments))
        return {"image": 1, "label": "patches", "path": "/somewhere"}

    with answering(station.state_dir, {"review label": label}):
        assert told(millwatch, station, "label", "1", "patches")["path"] == "/somewhere"
    assert [(each["image"], each["label"]) for each in asked] == [(1, "patches")]
    assert labels(station) == {}


def test_what_the_daemon_did_not_answer_is_not_called_undone(
    millwatch: Millwatch, station: Station
) -> None:
    def fail(_: Any) -> dict[str, Any]:
        raise OSError(5, "Input/output error")

    with answering(station.state_dir, {"review label": fail, "review list": fail}):
        told = millwatch("review", "label", "1", "patches", "--config", station.config)
        listed = millwatch("review", "list", "--config", station.config)
    assert (told.status, listed.status) == (1, 1)
    assert "it may have been done all the same" in told.err
    assert "Input/output error" in listed.err
    assert "nothing was changed" not in told.err + listed.err
    assert "may have been done" not in listed.err


def test_a_review_folder_that_is_away_is_not_called_in_order(
    millwatch: Millwatch, station: Station
) -> None:
    station.review.rename(station.root / "away")
    station.review.mkdir()
    for command in (["conflicts"], ["list"], ["label", "1", "patches"]):
        done = millwatch("review", *command, "--config", station.config)
        assert done.status == 1
        assert f"{station.review} holds neither to_check nor labelled: mount its share" in done.err
        assert "in order" not in done.out


@pytest.mark.fault(28)
def test_a_review_folder_that_hangs_is_told_and_not_waited_for(
    millwatch: Millwatch, station: Station
) -> None:
    with hanging(station.review):
        done = millwatch("review", "list", "--config", station.config)
    assert done.status == 1
    told = f"nothing was changed: the review folder {station.review} does not answer"
    assert told in " ".join(done.err.split())


@pytest.mark.fault(28)
def test_a_label_that_may_yet_be_recorded_is_not_called_undone(
    millwatch: Millwatch, station: Station
) -> None:
    def hang(_: Any) -> dict[str, Any]:
        raise NoAnswerError("it is not known yet whether the label of image 1 is changed")

    with answering(station.state_dir, {"review label": hang}):
        done = millwatch("review", "label", "1", "patches", "--config", station.config)
    assert done.status == 1
    assert "it may have been done all the same" in done.err
    assert "it is not known yet" in done.err
