"""Slips of the hand in the review folder: folders dragged too far, written in other letters, deleted with all in them."""

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from builders import Station
from records import NOW
from reviewed import Looking, data_of, labels, looking, move, paths, station_of

from daemon.process.control import RefusedError
from daemon.store import review_files
from daemon.store.queueing import Filter, count_waiting, queue
from daemon.store.review_files import Problem


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return station_of(tmp_path)


def waiting(one: Looking) -> set[int]:
    found = {image_id for _, image_id in queue(one.database, Filter())}
    assert count_waiting(one.database, Filter(), most=100) == len(found)
    return found


@pytest.mark.fault(35)
@pytest.mark.parametrize("dragged", ["to_check", "to_check/scratches/2026-03-01"])
def test_a_folder_of_ours_that_is_dragged_into_labelled_labels_nothing(
    station: Station, dragged: str
) -> None:
    at, folder = paths(station), station.review / dragged
    with looking(station) as one:
        one.look()
        into = move(folder, station.review / "labelled" / folder.name)
        one.look()
        assert labels(station) == {}
        assert folder.name not in one.labeller.names()
        told = review_files.conflicts(one.database)
        assert {each.problem for each in told} == {Problem.MISPLACED}
        assert {each.image_id for each in told} == set(at)
        move(into, folder)
        one.look()
        assert review_files.conflicts(one.database) == []
    assert paths(station) == at


@pytest.mark.fault(35)
def test_a_folder_that_reads_like_a_class_that_there_is_is_that_class(station: Station) -> None:
    at, labelled = paths(station), station.review / "labelled"
    with looking(station) as one:
        known = one.labeller.names()
        sound = move(at[1], labelled / "No defect" / at[1].name)
        scratched = move(at[2], labelled / "scratches" / at[2].name)
        one.look()
        (labelled / "scratches").rename(labelled / "Scratches")  # letters change, and nothing else
        one.look()
        assert labels(station) == {1: "no_defect", 2: "scratches"}
        assert paths(station)[1] == sound
        assert paths(station)[2] == labelled / "Scratches" / scratched.name
        assert one.labeller.names() == known
        assert review_files.conflicts(one.database) == []


@pytest.mark.fault(41)
def test_what_was_deleted_stands_before_nothing_that_is_there(station: Station) -> None:
    at = paths(station)
    with looking(station) as one:
        one.look()
        kept = move(at[4], station.root / "kept.jpg")
        shutil.rmtree(station.review / "to_check")
        one.look(seconds=30.0)
        assert waiting(one) == set()
        move(kept, at[4])
        one.look()
        assert waiting(one) == {4}
        copy = station.review / "to_check" / "found again.jpg"
        copy.write_bytes(data_of(1))
        one.look()
        assert waiting(one) == {1, 4}
        assert {each.image_id for each in review_files.conflicts(one.database)} == {2, 3}


def test_days_that_are_over_and_empty_go_and_whatever_holds_something_stays(
    station: Station,
) -> None:
    """They were thousands after years, in everybody's way."""
    to_check = station.review / "to_check"
    gone, hidden, fresh = (to_check / f"scratches/2025-01-0{day}" for day in (1, 2, 3))
    peoples = [
        to_check / "scratches/ask anna",
        to_check / "2025-01-01",
        to_check / "set aside/2025",
    ]
    for folder in (gone, hidden, fresh, *peoples):
        folder.mkdir(parents=True)
    (hidden / ".DS_Store").touch()
    before = (NOW - timedelta(days=2)).timestamp()
    for folder in (gone, hidden, *peoples, *(each.parent for each in paths(station).values())):
        os.utime(folder, (before, before))
    with looking(station) as one:
        one.look()
        assert one.health.troubles() == {}
    assert not gone.exists()
    assert all(each.is_dir() for each in (hidden, fresh, *peoples))
    assert all(each.exists() for each in paths(station).values())


@pytest.mark.fault(35)
@pytest.mark.parametrize("dragged", ["to_check/scratches", "to_check/unknown", "labelled/burr"])
def test_a_class_that_is_dragged_into_another_labels_nothing(
    station: Station, dragged: str
) -> None:
    at, folder = paths(station), station.review / dragged
    with looking(station) as one:
        move(at[1], station.review / "labelled" / "burr" / at[1].name)
        move(at[2], station.review / "to_check" / "unknown" / at[2].name)
        one.look()
        begun = labels(station), paths(station)
        assert begun[0] == {1: "burr"}
        into = move(folder, station.review / "labelled" / "patches" / folder.name)
        one.look()
        assert labels(station) == begun[0]
        told = review_files.conflicts(one.database)
        assert {each.problem for each in told} == {Problem.MISPLACED}
        assert "in one class within another" in told[0].reason
    with looking(station) as one:  # after a restart
        one.look()
        assert labels(station) == begun[0]
        move(into, folder)
        one.look()
        assert review_files.conflicts(one.database) == []
    assert (labels(station), paths(station)) == begun


@pytest.mark.fault(35)
def test_a_folder_whose_letters_another_system_wrote_otherwise_is_the_same_class(
    station: Station,
) -> None:
    """As from a Mac: what is one letter here is two characters there."""
    at, labelled = paths(station), station.review / "labelled"
    here, there = "\u00dcberwalzung", "U\u0308berwalzung"
    with looking(station) as one:
        for number, name in ((1, here), (2, there), (3, "\u00fcberwalzung")):
            move(at[number], labelled / name / at[number].name)
            one.look()
        assert labels(station) == dict.fromkeys((1, 2, 3), here)
        with pytest.raises(RefusedError, match=f"reads like the class {here}"):
            one.labeller.label(4, there, "anna", seen=None)


@pytest.mark.fault(35)
def test_folders_of_the_plants_own_that_read_alike_are_one_class(station: Station) -> None:
    at, labelled = paths(station), station.review / "labelled"
    with looking(station) as one:
        move(at[1], labelled / "edge_crack" / at[1].name)
        one.look()
        move(at[2], labelled / "Edge crack" / at[2].name)
        one.look()
        assert labels(station) == {1: "edge_crack", 2: "edge_crack"}
        names = one.labeller.names()
        assert [name for name in names if "crack" in name] == ["edge_crack"]
        with pytest.raises(RefusedError, match="reads like the class edge_crack"):
            one.labeller.label(3, "Edge crack", "anna", seen=None)
        shutil.rmtree(labelled / "edge_crack")  # what is left is the class
        one.look(seconds=30.0)
        assert labels(station)[2] == "edge_crack"
        assert review_files.conflicts(one.database)[0].problem is Problem.MISSING
