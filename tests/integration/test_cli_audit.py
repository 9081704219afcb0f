"""`millwatch db` and `millwatch audit`, on a line that has judged images."""

import hashlib
import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import Station, assert_every_image_accounted_for, surface_file
from commands import Done, Millwatch
from composed import by_hand
from filesystems import obeying_permissions
from records import finding

from daemon.clock import now_utc
from daemon.integrity.mending import Mender
from daemon.journey.routing import Folders, route
from daemon.process.control import RefusedError
from daemon.store import expiry, images
from daemon.store.upgrading import prepare_database
from models.taxonomy import Verdict

PENDING = "SELECT 1 FROM image WHERE progress = 'pending' LIMIT 1"
VERDICTS = ("defect", "pass", "unsure", "pass", "defect", "unreadable", "unsure")


@pytest.fixture
def line(tmp_path: Path, model: Path) -> Station:
    """Seven images: four in review, two in the archive, one in quarantine."""
    station = Station(root=tmp_path, model=model)
    judge(station, *VERDICTS)
    return station


def judge(
    station: Station, *verdicts: str, first: int = 0, data: bytes | None = None, inside: str = ""
) -> None:
    """What the daemon does with each image, but for the network."""
    settings, now = station.settings(), now_utc()
    settings.state_dir.mkdir(exist_ok=True)
    findings = []
    for number, verdict in enumerate(verdicts, first):
        content = data or surface_file(seed=number) + b"." * number
        name = f"{inside}{number}.jpg"
        path = station.drop("top-1", name, content)
        status = path.stat()
        made = finding(number, verdict, inode=status.st_ino, size=status.st_size)
        delivery = replace(made.delivery, filename=name, path=path, mtime_ns=status.st_mtime_ns)
        digest = hashlib.sha256(content).hexdigest()
        findings.append(replace(made, delivery=delivery, sha256=digest))
    store = prepare_database(settings.database_file, backups=settings.state_dir, now=now)
    recorded = images.record(store, findings, Folders.of(settings).plan, now)
    routed = route(recorded.intents, held={}, now=now)
    assert len(routed.settled) == len(verdicts)
    images.settle(store, routed.settled)
    store.close()


def paths(station: Station, part: str) -> list[Path]:
    found = station.query("SELECT path FROM inspections WHERE path IS NOT NULL ORDER BY id")
    return [Path(path) for (path,) in found if f"/{part}/" in path]


def told(done: Done) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    lines = [line for line in done.out.splitlines() if line.startswith("{")]  # a daemon may log
    *differences, whole = map(json.loads, lines)
    return differences, whole["audit"]


# --- agreement -------------------------------------------------------------------------------------


def test_on_a_line_in_order_all_agree_with_and_without_its_daemon(
    millwatch: Millwatch, line: Station
) -> None:
    (line.review / "Thumbs.db").touch()
    done = millwatch("audit", "--hashes", "--config", line.config)
    assert done.status == 0
    assert done.out == (
        "7 records, 7 files in review, archive and quarantine, 0 on their way: all agree\n"
    )
    with line.running():
        done = millwatch("audit", "--mend", "--hashes", "--json", "--config", line.config)
    assert done.status == 0
    numbers = {"records": 7, "files": 7, "pending": 0}
    assert told(done) == ([], {**numbers, "differences": {}, "mended": 0})


def test_what_waits_for_its_move_is_no_difference(
    millwatch: Millwatch, tmp_path: Path, model: Path
) -> None:
    station = Station(root=tmp_path, model=model)
    station.review.mkdir()
    station.review.chmod(0o500)
    station.drop_surfaces(2)
    with obeying_permissions(), by_hand(station.settings()) as hands:
        hands.work_until(lambda: station.count() == 2)
    done = millwatch("audit", "--hashes", "--json", "--config", station.config)
    differences, whole = told(done)
    assert (done.status, whole["pending"], differences) == (0, 2, [])


# --- differences -----------------------------------------------------------------------------------


@pytest.mark.fault(65)
def test_every_kind_of_difference_is_told_and_nothing_is_touched(
    millwatch: Millwatch, line: Station
) -> None:
    review, archived = paths(line, "to_check"), paths(line, "archive")
    review[0].unlink()
    archived[0].write_bytes(archived[0].read_bytes()[::-1])  # the size stays
    with paths(line, "quarantine")[0].open("ab") as file:
        file.write(b"more")
    strange = line.review / "to_check" / "holiday.jpg"
    strange.write_bytes(b"no camera made this")
    unknown = (
        line.review / "labelled" / "scratches" / "top-1__20260101T000000Z__900__scratches-9.jpg"
    )
    unknown.parent.mkdir(parents=True)
    unknown.write_bytes(b"a record of it was lost")
    copy = review[1].with_name(f"copy__{review[1].name}").with_name(review[1].name + ".jpg")
    shutil.copy(review[1], copy)
    before = {path: path.read_bytes() for path in line.files()}

    quick, _ = told(millwatch("audit", "--json", "--config", line.config))
    done = millwatch("audit", "--hashes", "--mend", "--json", "--config", line.config)
    differences, whole = told(done)

    assert done.status == 1
    found = {(each["kind"], each["path"]): each for each in differences}
    quarantined = paths(line, "quarantine")[0]
    assert found.keys() == {
        ("missing", str(review[0])),
        ("changed", str(archived[0])),
        ("changed", str(quarantined)),
        *(("orphaned", str(path)) for path in (strange, unknown, copy)),
    }
    assert len(quick) == len(differences) - 1, "the same size is only told by --hashes"
    assert whole["mended"] == 0
    way_back = found["orphaned", str(unknown)]["command"]
    assert way_back == f"mv -n -- {unknown} {line.folder('top-1')}/"
    assert found["orphaned", str(strange)]["command"] is None
    assert "is a copy of image" in found["orphaned", str(copy)]["what"]
    assert {path: path.read_bytes() for path in line.files()} == before
    assert "missing: image" in millwatch("audit", "--config", line.config).out


def test_a_folder_that_is_away_is_one_difference_and_mends_nothing(
    millwatch: Millwatch, line: Station
) -> None:
    number = len(paths(line, "archive"))
    (line.state_dir / "archive").rename(line.root / "unmounted")
    (line.state_dir / "archive").mkdir()
    differences, _ = told(millwatch("audit", "--mend", "--json", "--config", line.config))
    (away,) = differences
    assert away["kind"] == "away"
    assert f"{number} records" in away["what"]


# --- mending ---------------------------------------------------------------------------------------


@pytest.mark.fault(65)
def test_a_record_follows_its_file_where_that_is_safe(millwatch: Millwatch, line: Station) -> None:
    review, archived = paths(line, "to_check"), paths(line, "archive")
    by_name = review[0].parent.parent / "sorted by hand" / review[0].name
    by_name.parent.mkdir()
    review[0].rename(by_name)
    by_content = archived[0].parent / "renamed by somebody.jpg"
    archived[0].rename(by_content)
    misplaced = line.review / "to_check" / "passed.jpg"
    archived[1].rename(misplaced)
    differences, whole = told(millwatch("audit", "--mend", "--json", "--config", line.config))
    found = {each["path"]: each for each in differences if each["kind"] == "moved"}
    assert {path: each["outcome"] for path, each in found.items()} == {
        str(by_name): "mended",
        str(by_content): "mended",
        str(misplaced): None,
    }
    assert whole["mended"] == 2
    assert "move it there by hand" in found[str(misplaced)]["remedy"]
    misplaced.rename(archived[1])
    assert told(millwatch("audit", "--hashes", "--json", "--config", line.config))[0] == []
    assert_every_image_accounted_for(line)
    assert line.query("SELECT count(*) FROM audit WHERE deed = 'found'") == [(2,)]


def test_while_the_daemon_runs_it_mends_its_records_itself(
    millwatch: Millwatch, line: Station
) -> None:
    archived = paths(line, "archive")[0]
    with line.running():
        for number in range(3):  # its first steps call an archived file deleted that is not there
            line.drop_surfaces(1, first=30 + number)
            line.wait_for_images(8 + number)
        renamed = archived.with_name("renamed by somebody.jpg")
        archived.rename(renamed)
        done = millwatch("audit", "--mend", "--json", "--config", line.config)
        assert (done.status, told(done)[1]["mended"]) == (0, 1), "nothing is left to be done"
        assert renamed in paths(line, "archive")
    assert_every_image_accounted_for(line)


def test_an_image_that_was_called_deleted_and_is_put_back_has_a_file_again(
    millwatch: Millwatch, line: Station
) -> None:
    archived = paths(line, "archive")[0]
    archived.rename(line.root / "borrowed.jpg")
    with by_hand(line.settings()) as hands:
        kept = expiry.kept_files(hands.database, Verdict.PASS, below=line.root, after=0, limit=99)
        expiry.deleted(hands.database, [old for old in kept if old.path == archived])
    (line.root / "borrowed.jpg").rename(archived)
    _, whole = told(millwatch("audit", "--mend", "--json", "--config", line.config))
    assert (whole["differences"], whole["mended"]) == ({"moved": 1}, 1)
    assert_every_image_accounted_for(line)


@pytest.mark.fault(65)
def test_what_lies_under_labelled_is_a_persons_decision_and_not_mended(
    millwatch: Millwatch, line: Station
) -> None:
    image = paths(line, "to_check")[0]
    labelled = line.review / "labelled" / "patches" / image.name
    labelled.parent.mkdir(parents=True)
    image.rename(labelled)
    differences, whole = told(millwatch("audit", "--mend", "--json", "--config", line.config))
    assert [each["kind"] for each in differences] == ["missing", "moved"]
    assert "is a label" in differences[1]["remedy"]
    assert whole["mended"] == 0
    with by_hand(line.settings()) as hands:
        mender = Mender(line.settings(), database=hands.database, clock=now_utc)
        arguments = {"image": differences[1]["image"], "was": str(image), "progress": "moved"}
        with pytest.raises(RefusedError, match="is a label"):
            mender.mend({**arguments, "path": str(labelled), "by": "root"})


def test_an_image_that_passed_and_was_drawn_or_labelled_belongs_in_review(
    millwatch: Millwatch, line: Station
) -> None:
    drawn, labelled = paths(line, "archive")
    with closing(sqlite3.connect(line.database)) as connection, connection:
        connection.execute("UPDATE image SET reason = 'sample' WHERE path = ?", [str(drawn)])
        connection.execute(
            "INSERT INTO label (image_id, label, labelled_by, labelled_at) "
            "SELECT id, 'scratches', 'anna', '2026-03-01T12:00:00Z' FROM image WHERE path = ?",
            [str(labelled)],
        )
    for path, place in ((drawn, "to_check/scratches"), (labelled, "labelled/scratches")):
        (line.review / place).mkdir(parents=True, exist_ok=True)
        path.rename(line.review / place / f"found {path.name}")
    (line.state_dir / "archive" / "not empty.txt").touch()
    _, whole = told(millwatch("audit", "--mend", "--json", "--config", line.config))
    assert (whole["differences"]["moved"], whole["mended"]) == (2, 2)
    (line.state_dir / "archive" / "not empty.txt").unlink()
    assert_every_image_accounted_for(line)


def test_of_two_missing_images_with_one_content_the_name_tells_which_it_is(
    millwatch: Millwatch, line: Station
) -> None:
    judge(line, "defect", "defect", first=70, data=surface_file(seed=70))
    first, second = paths(line, "to_check")[-2:]
    nameless = second.with_name("which one.jpg")
    second.rename(nameless)
    first.unlink()
    command = ("audit", "--mend", "--json", "--config", line.config)
    differences, whole = told(millwatch(*command))
    assert [each["kind"] for each in differences] == ["missing", "missing", "orphaned"]
    assert "content of each of the images 8, 9" in differences[2]["what"]
    assert whole["mended"] == 0

    named = second.with_name(f"{second.stem} seen.jpg")
    nameless.rename(named)
    differences, whole = told(millwatch(*command))
    assert [(each["kind"], each["image"]) for each in differences] == [
        ("missing", 8),
        ("missing", 9),
        ("moved", 9),
    ]
    assert whole["mended"] == 1
    assert paths(line, "to_check")[-1] == named


def test_one_file_that_cannot_be_read_keeps_no_other_from_being_looked_at(
    millwatch: Millwatch, line: Station
) -> None:
    archived, _ = paths(line, "archive")
    first = paths(line, "to_check")[0]
    copy = first.parent.parent / first.name
    shutil.copy(first, copy)
    for closed in (archived, copy):
        closed.chmod(0)
    with obeying_permissions():
        done = millwatch("audit", "--hashes", "--json", "--config", line.config)
    differences, whole = told(done)
    assert (done.status, whole["records"], whole["files"]) == (1, 7, 8), done.err
    assert [(each["kind"], each["path"]) for each in differences] == [
        ("unread", str(archived)),
        ("unread", str(copy)),
    ]
    assert "cannot be read: Permission denied" in differences[0]["what"]


# --- backup, restore, audit ------------------------------------------------------------------------


@pytest.mark.fault(64)
def test_after_an_older_backup_is_put_back_what_it_does_not_know_can_be_brought_back(
    millwatch: Millwatch, line: Station
) -> None:
    config = ("--config", line.config)
    with line.running():
        copy = Path(millwatch("db", "backup", *config).out.splitlines()[-1])
        refused = millwatch("db", "restore", copy, *config)
    assert refused.status == 1
    assert "another Millwatch is running" in refused.err
    judge(line, "defect", "pass", "unreadable", "unsure", first=20, inside="coil 7/")
    assert line.count() == 11

    done = millwatch("db", "restore", copy, *config)
    assert done.status == 0, done.err
    assert "millwatch audit" in done.out
    assert "whoever was removed since is back" in done.out
    assert line.count() == 7

    line.database.with_name("millwatch.db.replaced-20990101T000000Z").write_bytes(b"torn" * 4096)
    differences, _ = told(millwatch("audit", "--json", *config))
    commands = [each["command"] for each in differences if each["kind"] == "orphaned"]
    assert len(commands) == len(differences) == 4
    for command in commands:
        subprocess.run(["bash", "-c", command], check=True)
    with by_hand(line.settings()) as hands:
        hands.work_until(lambda: line.count() == 11 and not line.query(PENDING))
    assert millwatch("audit", "--hashes", *config).status == 0
    names = {name for (name,) in line.query("SELECT filename FROM inspections")}
    assert names == {*(f"{n}.jpg" for n in range(7)), *(f"coil 7/{n}.jpg" for n in range(20, 24))}
    (ids,) = line.query("SELECT max(id), count(*) FROM image")
    assert ids == (15, 11), "no id is given twice: it stands in the names of files"
    assert millwatch("db", "check", *config).status == 0


def test_what_is_to_be_judged_anew_gets_the_marker_that_its_camera_would_write(
    millwatch: Millwatch, tmp_path: Path, model: Path
) -> None:
    line = Station(root=tmp_path, model=model, tables={"intake": {"marker_suffix": ".done"}})
    judge(line, "defect")
    unknown = line.state_dir / "archive" / "top-1" / "2026-03-01" / "a b.jpg"
    unknown.parent.mkdir(parents=True)
    unknown.write_bytes(surface_file(seed=7))
    ((orphan,), _) = told(millwatch("audit", "--json", "--config", line.config))
    subprocess.run(["bash", "-c", orphan["command"]], check=True)
    with by_hand(line.settings()) as hands:
        hands.work_until(lambda: line.count() == 2 and not line.query(PENDING))


def test_a_backup_is_told_checked_and_counted(millwatch: Millwatch, line: Station) -> None:
    config = ("--config", line.config)
    made = [
        json.loads(millwatch("db", "backup", "--json", "--keep", "2", *config).out) for _ in "abc"
    ]
    assert [len(each["deleted"]) for each in made] == [0, 0, 1]
    assert Path(made[2]["backup"]).parent == line.state_dir / "backups"
    elsewhere = line.root / "elsewhere.db"
    assert millwatch("db", "backup", elsewhere, *config).status == 0
    again = millwatch("db", "backup", elsewhere, *config)
    assert again.status == 1
    assert "nothing is ever overwritten" in again.err
    assert millwatch("db", "backup", elsewhere, "--keep", "2", *config).status == 1
    checked = millwatch("db", "check", elsewhere, *config)
    assert checked.status == 0
    assert "sound; schema" in checked.out
    told = json.loads(millwatch("db", "check", "--json", *config).out)
    assert (told["sound"], told["images"]) == (True, 7)


def test_a_database_whose_aggregates_are_off_is_not_sound(
    millwatch: Millwatch, line: Station
) -> None:
    with closing(sqlite3.connect(line.database)) as connection, connection:
        connection.execute("UPDATE tally SET images = 0")
    done = millwatch("db", "check", "--config", line.config)
    assert done.status == 1
    assert "lack 7 recorded images" in done.out
    assert "is not sound" in done.err


def test_without_a_database_each_command_says_so(millwatch: Millwatch, station: Station) -> None:
    for command in (["audit"], ["db", "check"], ["db", "backup"], ["db", "upgrade"]):
        done = millwatch(*command, "--config", station.config)
        assert done.status == 1
        assert "there is no database" in done.err
    assert not station.state_dir.exists()
