"""The minder of the review folder, step by step: restarts, shares that are away, two who label at once."""

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from builders import Station, wait_until
from filesystems import hanging, obeying_permissions
from meanwhile import noting_what_is_opened
from records import NOW
from reviewed import UNSURE, Looking, data_of, labels, looking, move, paths, station_of

from daemon.store import labels as store_labels
from daemon.store import review_files
from daemon.store.review_files import Problem


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return station_of(tmp_path)


def problems(one: Looking) -> dict[Path, Problem]:
    found = review_files.conflicts(one.database)
    return {each.path: each.problem for each in found if each.path is not None}


def test_what_was_moved_while_nothing_ran_is_found_at_the_start_and_nothing_is_read_twice(
    station: Station,
) -> None:
    at, labelled = paths(station), station.review / "labelled"
    move(at[1], labelled / "patches" / at[1].name)
    renamed = move(at[2], labelled / "crazing" / "renamed.jpg")
    copy = labelled / "crazing" / at[3].name
    shutil.copy(at[3], copy)
    at[4].unlink()
    stranger = move(labelled / "crazing" / "renamed.jpg", labelled / "crazing" / "x.jpg")
    stranger.rename(renamed)
    (labelled / "patches" / "holiday.jpg").write_bytes(b"a stranger's")
    with looking(station) as one, noting_what_is_opened(station.review) as opened:
        one.look()
    assert labels(station) == {1: "patches", 2: "crazing", 3: "crazing"}
    assert paths(station) == {
        1: labelled / "patches" / at[1].name,
        2: renamed,
        3: copy,
        4: at[4],
    }
    assert opened
    with looking(station) as one, noting_what_is_opened(station.review) as opened:
        one.look()
        assert problems(one) == {
            at[4]: Problem.MISSING,
            labelled / "patches" / "holiday.jpg": Problem.STRANGER,
        }
    assert opened == [], "all of it is known by its size and time"


def test_an_image_that_a_kill_left_on_its_way_keeps_no_command_waiting(station: Station) -> None:
    at = paths(station)
    move(at[2], station.review / "labelled" / "patches" / at[2].name)
    with closing(sqlite3.connect(station.database)) as connection, connection:
        source = str(station.folder("top-1") / "1.jpg")
        left = "UPDATE image SET progress = 'pending', path = ? WHERE id = 1"
        connection.execute(left, (source,))
    with looking(station) as one:
        one.look()
        assert one.minder.is_settled
        assert labels(station) == {2: "patches"}
        assert problems(one) == {}


def test_a_share_that_is_away_makes_nothing_missing_and_is_told(station: Station) -> None:
    at = paths(station)
    with looking(station) as one:
        one.look()
        station.review.rename(station.root / "away")
        station.review.mkdir()
        one.look()
        assert "mount its share" in one.health.troubles()["review folder"]
        assert problems(one) == {}
        station.review.rmdir()
        (station.root / "away").rename(station.review)
        move(at[1], station.review / "labelled" / "patches" / at[1].name)
        one.look()
        assert one.health.troubles() == {}
        assert problems(one) == {}
    assert labels(station) == {1: "patches"}


def test_a_file_or_folder_without_permission_holds_up_no_other(station: Station) -> None:
    at, labelled = paths(station), station.review / "labelled"
    shut = move(at[1], labelled / "shut" / at[1].name)
    closed = move(at[2], labelled / "patches" / at[2].name)
    move(at[3], labelled / "patches" / at[3].name)
    shut.parent.chmod(0)
    closed.chmod(0)
    with looking(station) as one:
        with obeying_permissions():
            one.look()
        assert "labelled/shut" in one.health.troubles()["review folder"]
        assert labels(station) == {3: "patches"}
        assert problems(one)[closed] is Problem.NO_FILE
        shut.parent.chmod(0o755)
        closed.chmod(0o644)
        one.look()
        assert one.health.troubles() == {}
        assert problems(one) == {}
    assert labels(station) == {1: "shut", 2: "patches", 3: "patches"}


def test_a_folder_that_is_shut_with_labelled_images_in_it_holds_up_no_other(
    station: Station,
) -> None:
    at, labelled = paths(station), station.review / "labelled"
    shut = labelled / "shut"
    inside = move(at[1], shut / at[1].name)
    stranger = shut / "holiday.jpg"
    stranger.write_bytes(b"a stranger's")
    with looking(station) as one:
        one.look()
        shut.chmod(0)
        with obeying_permissions():
            move(at[2], labelled / "patches" / at[2].name)
            one.look()
        assert labels(station) == {1: "shut", 2: "patches"}
        assert "labelled/shut cannot be looked after" in one.health.troubles()["review folder"]
        assert problems(one) == {stranger: Problem.STRANGER}
        shut.chmod(0o755)
        move(inside, labelled / "crazing" / at[1].name)
        one.look()
        assert one.health.troubles() == {}
    assert labels(station) == {1: "crazing", 2: "patches"}


def test_the_page_and_the_folder_never_take_each_others_moves_for_their_own(
    station: Station,
) -> None:
    over = threading.Event()
    with looking(station) as one:

        def look() -> None:
            while not over.is_set():
                one.look()

        folder = threading.Thread(target=look)
        folder.start()
        try:
            for _ in range(3):
                for image_id in UNSURE:
                    one.labeller.label(image_id, "patches", "anna", seen=None)
                    one.labeller.label(image_id, "crazing", "otto", seen=None)
                    one.labeller.undo(image_id, "anna", seen=None)
        finally:
            over.set()
            folder.join()
        one.look()
        assert problems(one) == {}
        for image_id in UNSURE:
            past = store_labels.history(one.database, image_id)
            assert [each.labelled_by for each in past] == ["anna", "otto"] * 3
    assert labels(station) == {}
    assert {path.read_bytes() for path in paths(station).values()} == set(map(data_of, UNSURE))


def test_a_labelled_file_that_is_away_comes_to_its_class_when_it_is_put_back_to_check(
    station: Station,
) -> None:
    at = paths(station)
    with looking(station) as one:
        target = station.review / "labelled" / "patches" / at[1].name
        store_labels.put_label(one.database, 1, "patches", "anna", seen=0, target=target, now=NOW)
        at[1].rename(station.root / "taken")
        one.look()
        assert problems(one) == {at[1]: Problem.MISSING}
        (station.root / "taken").rename(at[1])
        one.look()
        assert problems(one) == {}
    assert paths(station)[1] == target
    assert target.read_bytes() == data_of(1)
    assert labels(station) == {1: "patches"}


def test_what_was_left_in_the_drop_folder_is_labelled_by_a_copy_and_stays_there(
    tmp_path: Path,
) -> None:
    station = station_of(tmp_path, {1: "pass"}, on_pass="leave")  # noqa: S106 -- no password
    (at,) = paths(station).values()
    assert at.parent == station.folder("top-1")
    copy = station.review / "labelled" / "patches" / "copy.jpg"
    copy.parent.mkdir()
    shutil.copy(at, copy)
    with looking(station) as one:
        one.look()
        assert labels(station) == {1: "patches"}
        assert paths(station) == {1: copy}
        assert at.read_bytes() == copy.read_bytes() == data_of(1)
        one.labeller.undo(1, "anna", seen=None)
        one.look()
        assert problems(one) == {}
    assert labels(station) == {}
    (back,) = paths(station).values()
    assert back == station.review / "to_check" / "unknown" / "copy.jpg"
    assert back.read_bytes() == at.read_bytes() == data_of(1)


def test_nobody_learns_from_what_was_no_whole_picture(tmp_path: Path) -> None:
    station = station_of(tmp_path, {1: "unreadable"})
    at = paths(station)[1]
    copy = station.review / "labelled" / "patches" / at.name
    copy.parent.mkdir()
    shutil.copy(at, copy)
    with looking(station) as one:
        one.look()
        assert problems(one) == {copy: Problem.UNREADABLE}
    assert labels(station) == {}
    assert at.exists()


def test_of_two_deliveries_of_the_same_bytes_the_one_whose_file_left_is_the_one_that_was_renamed(
    station: Station,
) -> None:
    at = paths(station)
    (sha256,) = station.query("SELECT sha256 FROM image WHERE id = 2")[0]
    with looking(station) as one:
        with one.database.writing() as connection:
            connection.exec_driver_sql(
                "UPDATE image SET sha256 = ?, size = ? WHERE id = 3", (sha256, len(data_of(2)))
            )
        at[3].write_bytes(data_of(2))
        os.utime(at[3], ns=(at[3].stat().st_mtime_ns, at[3].stat().st_mtime_ns))
        move(at[3], station.review / "labelled" / "patches" / "renamed.jpg")
        one.look()
    assert labels(station) == {3: "patches"}
    assert paths(station)[2] == at[2]


def test_two_files_that_exchange_their_names_are_both_followed(station: Station) -> None:
    at = paths(station)
    with looking(station) as one:
        one.look()
        aside = station.root / "aside"
        at[1].rename(aside)
        at[2].rename(at[1])
        aside.rename(at[2])
        one.look(seconds=30.0)
        told = problems(one)
    assert set(told) <= {at[1], at[2]}, "perhaps told; nothing is lost"
    assert at[1].read_bytes() == data_of(2)
    assert at[2].read_bytes() == data_of(1)
    assert labels(station) == {}


def test_an_image_that_was_taken_before_its_move_was_recorded_is_known_again(
    station: Station,
) -> None:
    """An operator who is quicker than the service: its record says that the file is gone."""
    at = paths(station)
    with looking(station) as one:
        with one.database.writing() as connection:
            gone = "UPDATE image SET progress = 'gone', path = NULL WHERE id IN (1, 2)"
            connection.exec_driver_sql(gone)
        taken = move(at[1], station.review / "labelled" / "patches" / at[1].name)
        kept = move(at[2], station.review / "to_check" / "mine" / at[2].name)
        one.look()
        assert problems(one) == {}
    assert labels(station) == {1: "patches"}
    assert station.query("SELECT progress, path FROM image WHERE id IN (1, 2) ORDER BY id") == [
        ("moved", str(taken)),
        ("moved", str(kept)),
    ]


@pytest.mark.fault(28)
def test_a_review_folder_that_hangs_is_told_until_it_answers(station: Station) -> None:
    seconds, stopping = count(0, 40), threading.Event()

    def told() -> str | None:
        one.minder.tell_if_stuck(now=next(seconds))
        return one.health.troubles().get("review folder hangs")

    with looking(station) as one:
        with hanging(station.review):
            minding = threading.Thread(target=one.minder.run, args=(stopping,))
            minding.start()
            what = wait_until(told)
        assert f"the review folder {station.review} does not answer" in what
        wait_until(lambda: told() is None)
        stopping.set()
        one.minder.wake()
        minding.join()
