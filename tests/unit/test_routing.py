"""Where an image goes, and what becomes of it when that fails."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filesystems import hanging
from meanwhile import just_before

from daemon.files import moving
from daemon.journey.routing import Folders, another_target, route
from daemon.values import Action, Delivery, Finding, Intent, Plan, Progress
from models.taxonomy import Verdict

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DATA = b"the image"


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(
        review=tmp_path / "review",
        archive=tmp_path / "archive",
        quarantine=tmp_path / "quarantine",
        on_pass="archive",  # noqa: S106 -- no password
    )


def finding_of(tmp_path: Path, filename: str = "x.jpg", **fields: object) -> Finding:
    path = tmp_path / "drop" / filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(DATA)
    status = path.stat()
    delivery = Delivery(
        camera="top-1",
        filename=filename,
        path=path,
        inode=status.st_ino,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )
    values = {"verdict": Verdict.DEFECT, "reason": "confident", "predicted_class": "scratches"}
    values |= {"confidence": 0.876} | fields
    return Finding(delivery=delivery, sha256=hashlib.sha256(DATA).hexdigest(), **values)  # type: ignore[arg-type]


def intent_of(folders: Folders, finding: Finding, image_id: int = 7) -> Intent:
    return Intent(
        image_id=image_id,
        delivery=finding.delivery,
        sha256=finding.sha256,
        plan=folders.plan(image_id, finding, lambda _: False),
        verdict=finding.verdict,
        reason=finding.reason,
    )


def test_a_defect_goes_to_check_under_a_name_that_tells_all(
    folders: Folders, tmp_path: Path
) -> None:
    finding = finding_of(tmp_path, "deep/x.JPG")
    finding = replace(finding, delivery=replace(finding.delivery, mtime_ns=1_772_366_400 * 10**9))
    plan = folders.plan(7, finding, lambda _: False)
    name = "top-1__20260301T120000Z__7__scratches-87.JPG"
    assert plan.target == folders.review / "to_check" / "scratches" / "2026-03-01" / name


def test_an_unknown_surface_goes_to_the_folder_unknown(folders: Folders, tmp_path: Path) -> None:
    finding = finding_of(tmp_path, verdict=Verdict.UNSURE, reason="unknown")
    target = folders.plan(7, finding, lambda _: False).target
    assert target is not None
    assert target.relative_to(folders.review).parts[:2] == ("to_check", "unknown")


@pytest.mark.parametrize(
    ("on_pass", "action"),
    [("archive", Action.MOVE), ("leave", Action.LEAVE), ("delete", Action.DELETE)],
)
def test_what_passed_is_archived_left_or_deleted(
    folders: Folders, tmp_path: Path, on_pass: str, action: Action
) -> None:
    finding = finding_of(tmp_path, verdict=Verdict.PASS)
    folders = replace(folders, on_pass=on_pass)  # type: ignore[arg-type]
    assert folders.plan(7, finding, lambda _: False).action is action


def test_no_target_is_given_twice(folders: Folders, tmp_path: Path) -> None:
    finding = finding_of(tmp_path, verdict=Verdict.UNREADABLE)
    first = folders.plan(7, finding, lambda _: False).target
    assert first is not None
    promised = {first, first.with_name("x__7.jpg")}
    other = folders.plan(7, finding, promised.__contains__).target
    assert other is not None
    assert other not in promised
    third = folders.plan(7, finding, {*promised, other}.__contains__).target
    assert third not in {None, *promised, other}


@pytest.mark.fault(47)
@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.UNREADABLE])
@pytest.mark.parametrize("kind", ["link", "same bytes", "folder"])
def test_no_target_is_one_that_exists(
    folders: Folders, tmp_path: Path, verdict: Verdict, kind: str
) -> None:
    """As after an older backup was put back: what lies there is an image that nobody knows of."""
    intent = replace(intent_of(folders, finding_of(tmp_path, verdict=verdict)), fresh=True)
    target = intent.plan.target
    assert target is not None
    if kind == "folder":
        target.mkdir(parents=True)
    else:
        target.parent.mkdir(parents=True)
        target.symlink_to("nowhere") if kind == "link" else target.write_bytes(DATA)
    with intent.delivery.path.open("rb") as file:
        held = {intent.image_id: file.fileno()}
        routed = route([intent], held=held, now=NOW)
        assert (routed.taken, routed.settled) == ([intent], [])
        (settled,) = route([another_target(intent, NOW)], held=held, now=NOW).settled
    assert settled.path is not None
    assert settled.path.read_bytes() == DATA
    assert os.path.lexists(target)
    assert not intent.delivery.path.exists()


@pytest.mark.fault(28)
def test_where_an_image_goes_is_said_without_a_look_at_the_disk(
    folders: Folders, tmp_path: Path
) -> None:
    """Which may hang, while every camera waits for the record."""
    passed = finding_of(tmp_path, "passed.jpg", verdict=Verdict.PASS)
    broken = finding_of(tmp_path, "broken.jpg", verdict=Verdict.UNREADABLE)
    with ThreadPoolExecutor(1) as thread, ExitStack() as away:
        for folder in (folders.archive, folders.quarantine, folders.review):
            folder.mkdir()
            away.enter_context(hanging(folder))
        for finding in (passed, broken):
            planned = thread.submit(folders.plan, 7, finding, lambda _: False)
            assert planned.result(timeout=10).target is not None


@pytest.mark.parametrize("name", ["x" * 251 + ".jpg", "ä" * 125 + ".jpg", "\udcff" * 250 + ".jpg"])
def test_a_name_with_its_reason_beside_it_fits_the_limit(
    folders: Folders, tmp_path: Path, name: str
) -> None:
    finding = finding_of(tmp_path, name, verdict=Verdict.UNREADABLE)
    intent = intent_of(folders, finding)
    routed = route([intent], held={}, now=NOW)
    assert [settled.progress for settled in routed.settled] == [Progress.MOVED]
    (place,) = (path for path in folders.quarantine.rglob("*") if path.suffix == ".json")
    assert json.loads(place.read_text())["image"] == 7


def test_the_file_is_removed_where_the_policy_says_delete(folders: Folders, tmp_path: Path) -> None:
    finding = finding_of(tmp_path, verdict=Verdict.PASS)
    intent = intent_of(replace(folders, on_pass="delete"), finding)  # noqa: S106
    (settled,) = route([intent], held={}, now=NOW).settled
    assert (settled.progress, settled.path) == (Progress.DELETED, None)
    assert not finding.delivery.path.exists()


def test_with_policy_delete_another_file_of_the_name_stays(
    folders: Folders, tmp_path: Path
) -> None:
    finding = finding_of(tmp_path, verdict=Verdict.PASS)
    intent = intent_of(replace(folders, on_pass="delete"), finding)  # noqa: S106
    finding.delivery.path.rename(tmp_path / "away.jpg")
    finding.delivery.path.write_bytes(b"another")
    (settled,) = route([intent], held={}, now=NOW).settled
    assert settled.progress is Progress.UNSEEN
    assert finding.delivery.path.read_bytes() == b"another"


def test_a_taken_target_changes_nothing_and_another_is_found(
    folders: Folders, tmp_path: Path
) -> None:
    intent = intent_of(folders, finding_of(tmp_path, verdict=Verdict.UNREADABLE))
    target = intent.plan.target
    assert target is not None
    target.parent.mkdir(parents=True)
    target.write_bytes(b"a stranger's")
    reason = target.with_name("x.jpg.reason.json")
    reason.write_text("a stranger's reason")
    routed = route([intent], held={}, now=NOW)
    assert (routed.taken, routed.settled) == ([intent], [])
    assert intent.delivery.path.read_bytes() == DATA
    (settled,) = route([another_target(intent, NOW)], held={}, now=NOW).settled
    assert settled.path not in (None, target)
    assert target.read_bytes() == b"a stranger's"
    assert reason.read_text() == "a stranger's reason"


def test_while_the_drop_folder_is_away_a_finished_move_is_not_called_done(
    folders: Folders, tmp_path: Path
) -> None:
    """Its file may still be on the share, and would be found there once more."""
    intent = intent_of(folders, finding_of(tmp_path))
    drop = intent.delivery.path.parent
    assert intent.plan.target is not None
    intent.plan.target.parent.mkdir(parents=True)
    intent.plan.target.write_bytes(DATA)
    drop.rename(tmp_path / "share-away")
    routed = route([intent], held={}, now=NOW)
    assert routed.settled == []
    assert [one.progress for one in routed.missing] == [Progress.UNSEEN]
    (tmp_path / "share-away").rename(drop)
    (settled,) = route([intent], held={}, now=NOW).settled
    assert settled.progress is Progress.MOVED
    assert not intent.delivery.path.exists()


def test_what_is_nowhere_is_missing_and_not_yet_given_up(folders: Folders, tmp_path: Path) -> None:
    intent = intent_of(folders, finding_of(tmp_path))
    intent.delivery.path.unlink()
    routed = route([intent], held={}, now=NOW)
    assert [(one.progress, one.path) for one in routed.missing] == [(Progress.GONE, None)]
    assert (routed.settled, routed.failed) == ([], [])


def test_one_image_that_cannot_be_moved_keeps_no_other(folders: Folders, tmp_path: Path) -> None:
    good = intent_of(folders, finding_of(tmp_path, "good.jpg"), 1)
    bad = intent_of(folders, finding_of(tmp_path, "bad.jpg"), 2)
    bad = replace(bad, plan=Plan(action=Action.MOVE, target=tmp_path / "file" / "bad.jpg"))
    (tmp_path / "file").write_text("not a folder")
    routed = route([bad, good], held={}, now=NOW)
    assert [one.intent for one in routed.settled] == [good]
    assert [intent for intent, _ in routed.failed] == [bad]
    assert bad.delivery.path.read_bytes() == DATA


@pytest.mark.fault(61)
@pytest.mark.parametrize("gone", [True, False])
def test_no_reason_is_left_of_an_image_that_is_not_brought(
    folders: Folders, tmp_path: Path, gone: bool
) -> None:
    intent = intent_of(folders, finding_of(tmp_path, verdict=Verdict.UNREADABLE))
    if gone:
        intent.delivery.path.unlink()
    else:
        intent.delivery.path.write_bytes(b"the camera went on")
    routed = route([intent], held={}, now=NOW)
    assert (len(routed.missing), len(routed.withdrawn)) == (gone, not gone)
    assert [path for path in folders.quarantine.rglob("*") if path.is_file()] == []


@pytest.mark.fault(59)
def test_what_the_camera_writes_while_the_image_is_made_a_copy_is_judged_again(
    folders: Folders, tmp_path: Path
) -> None:
    intent = intent_of(folders, finding_of(tmp_path))
    assert intent.plan.target is not None
    intent.plan.target.parent.mkdir(parents=True)
    intent.plan.target.hardlink_to(intent.delivery.path)
    renamed = intent.delivery.path.rename(intent.delivery.path.with_name("renamed.jpg"))
    copy = moving.partial_of(intent.plan.target, intent.delivery, intent.sha256)
    just_before("open", copy, lambda: renamed.write_bytes(b"in place!"))
    routed = route([intent], held={}, now=NOW)
    assert (routed.settled, routed.withdrawn, routed.failed) == ([], [], [])
    assert route([intent], held={}, now=NOW).withdrawn == [intent]
    assert not intent.plan.target.exists()
    assert renamed.read_bytes() == b"in place!"


@pytest.mark.fault(59)
@pytest.mark.parametrize("elsewhere", ["drop/another.jpg", "drop/ring.tmp", "spool"])
def test_an_image_that_the_camera_keeps_under_another_name_is_not_altered_by_what_it_writes_there(
    folders: Folders, tmp_path: Path, elsewhere: str
) -> None:
    intent = intent_of(folders, finding_of(tmp_path))
    other = tmp_path / elsewhere
    other.hardlink_to(intent.delivery.path)
    held = os.open(intent.delivery.path, os.O_RDONLY)
    routed = route([intent], held={intent.image_id: held}, now=NOW)
    os.close(held)
    assert [one.progress for one in routed.settled] == [Progress.MOVED]
    assert not intent.delivery.path.exists()
    other.write_bytes(b"the next image")
    assert intent.plan.target is not None
    assert intent.plan.target.read_bytes() == DATA


def test_an_image_that_an_operator_takes_at_once_is_settled_where_it_was(
    folders: Folders, tmp_path: Path
) -> None:
    intent = intent_of(folders, finding_of(tmp_path))
    assert intent.plan.target is not None
    just_before("os.rename", intent.delivery.path, intent.plan.target.unlink)
    routed = route([intent], held={}, now=NOW)
    assert [one.path for one in routed.settled] == [intent.plan.target]


def overwrite(delivery: Delivery, data: bytes) -> None:
    """With other bytes of the same size, and the old time."""
    with delivery.path.open("r+b") as file:
        file.write(data)
    os.utime(delivery.path, ns=(delivery.mtime_ns, delivery.mtime_ns))
    assert moving.same_file(delivery.path.stat(), delivery)


@pytest.mark.fault(42)
def test_what_lies_in_the_place_of_an_image_that_was_moved_or_is_to_be_deleted_stays(
    folders: Folders, tmp_path: Path
) -> None:
    deleting = replace(folders, on_pass="delete")  # noqa: S106
    passed = intent_of(deleting, finding_of(tmp_path, "1.jpg", verdict=Verdict.PASS), 1)
    copied = intent_of(folders, finding_of(tmp_path, "2.jpg"), 2)
    linked = intent_of(folders, finding_of(tmp_path, "3.jpg"), 3)
    assert copied.plan.target is not None
    copied.plan.target.parent.mkdir(parents=True)
    copied.plan.target.write_bytes(DATA)
    for intent in (passed, copied, linked):
        overwrite(intent.delivery, DATA[::-1])
    routed = route([passed, copied, linked], held={}, now=NOW)
    ends = [(one.intent, one.progress) for one in routed.settled]
    assert ends == [(passed, Progress.DELETED), (copied, Progress.MOVED)]
    assert (routed.withdrawn, routed.failed) == ([linked], [])
    left = sorted((tmp_path / "drop").iterdir())
    assert [path.name for path in left] == ["1.jpg", "2.jpg", "3.jpg"]
    assert {path.read_bytes() for path in left} == {DATA[::-1]}


@pytest.mark.fault(41)
def test_a_target_that_goes_in_the_last_instant_keeps_no_other_image(
    folders: Folders, tmp_path: Path
) -> None:
    good = intent_of(folders, finding_of(tmp_path, "good.jpg"), 1)
    bad = intent_of(folders, finding_of(tmp_path, "bad.jpg"), 2)

    def write_and_delete() -> None:
        bad.delivery.path.write_bytes(b"the camera went on")
        assert bad.plan.target is not None
        bad.plan.target.unlink()

    just_before("os.rename", bad.delivery.path, write_and_delete)
    routed = route([bad, good], held={}, now=NOW)
    assert [one.intent for one in routed.settled] == [good]
    assert [intent for intent, _ in routed.failed] == [bad]
    assert route([bad], held={}, now=NOW).withdrawn == [bad]
    assert bad.delivery.path.read_bytes() == b"the camera went on"
