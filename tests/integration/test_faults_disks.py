"""Disks that are full, read-only, away, held or hung (rows 8, 21 to 24, 28, 41 and 70)."""

import resource
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from builders import Station, assert_every_image_accounted_for, surface_file, wait_until
from composed import by_hand
from filesystems import filesystem, full, hanging, obeying_permissions, unmounted


def wait_for_trouble(station: Station, name: str) -> str:
    return str(wait_until(lambda: station.troubles().get(name), what=f"the trouble {name}"))


def wait_until_mended(station: Station) -> None:
    wait_until(lambda: station.troubles() == {}, what="every trouble is mended")


@pytest.mark.fault(21)
def test_a_file_without_permission_is_tried_again_and_keeps_no_other_waiting(
    station: Station,
) -> None:
    with obeying_permissions(), station.running():
        path = station.folder("top-1") / "closed.jpg"
        path.touch(mode=0o000)
        locked = surface_file(seed=1)
        writer = station.root / "writer"
        writer.write_bytes(locked)
        writer.chmod(0o000)
        writer.rename(path)
        station.expect("top-1", "closed.jpg", locked)
        assert "closed.jpg" in wait_for_trouble(station, "reading top-1")
        for number in range(3):
            station.drop("top-1", f"{number}.jpg", surface_file(seed=10 + number))
        station.wait_for_images(3)
        assert "reading top-1" in station.troubles()
        path.chmod(0o644)
        station.wait_for_images(4)
        wait_until_mended(station)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(21)
def test_what_keeps_a_file_from_being_read_is_told_as_it_is(station: Station) -> None:
    path = station.drop("top-1", "x.jpg", surface_file(seed=1))
    with by_hand(station.settings()) as line:
        line.scan()
        wait_until(lambda: line.room.backlog()["top-1"] == 1)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # not one file more may be opened
        try:
            wait_until(lambda: line.pipeline.step() and line.health.troubles())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        told = line.health.troubles()["reading top-1"]
        assert told.startswith(f"{path} cannot be read: Too many open files; see whether its disk")
        line.work_until(lambda: station.count() == 1)
    station.wait_for_images(1)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(70)
def test_where_few_files_may_be_open_batches_are_smaller_and_what_to_raise_is_told(
    tmp_path: Path, model: Path
) -> None:
    station = Station(root=tmp_path, model=model)
    station.drop_surfaces(400)
    with station.process(wrapper=("sh", "-c", 'ulimit -n 300; exec "$@"', "--")):
        station.wait_for_images(400)
    log = (tmp_path / "daemon.log").read_text()
    assert "degraded" not in log, "a share or a disk is not to blame"
    assert '"images": 8, "max_images": 128, ' in log
    assert "raise LimitNOFILE of its unit (ulimit -Hn), or lower batching.max_images" in log
    assert_every_image_accounted_for(station)


@pytest.mark.fault(21)
def test_a_folder_without_permission_is_told_and_keeps_no_other_waiting(station: Station) -> None:
    inner = station.folder("top-1") / "inner"
    station.drop("top-1", "inner/x.jpg", surface_file(seed=1))
    inner.chmod(0o000)
    with obeying_permissions(), station.running():
        station.drop("top-1", "y.jpg", surface_file(seed=2))
        station.wait_for_images(1)
        assert str(inner) in wait_for_trouble(station, "inside camera top-1")
        inner.chmod(0o755)
        station.wait_for_images(2)
        wait_until_mended(station)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(21)
def test_a_drop_folder_that_nothing_can_be_removed_from_keeps_its_images_and_mends(
    station: Station,
) -> None:
    folder = station.folder("top-1")
    station.drop("top-1", "kept.jpg", surface_file(seed=1))
    folder.chmod(0o555)
    with obeying_permissions(), station.running():
        assert "kept.jpg" in wait_for_trouble(station, "moving")
        station.drop("bottom-1", "other.jpg", surface_file(seed=2))
        wait_until(lambda: station.count() == 2)
        folder.chmod(0o755)
        station.wait_for_images(2)
        wait_until_mended(station)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(22)
def test_a_read_only_review_folder_leaves_the_move_pending_and_the_source_where_it_is(
    station: Station,
) -> None:
    review = station.review
    with obeying_permissions(), station.running():
        (review / "to_check").chmod(0o555)
        path = station.drop("top-1", "x.jpg", surface_file(seed=1))
        station.drop("top-1", "bad.jpg", b"no picture")
        assert "x.jpg" in wait_for_trouble(station, "moving")
        wait_until(lambda: station.count() == 2, what="both are recorded")
        ((place,),) = station.query("SELECT path FROM inspections WHERE filename = 'x.jpg'")
        assert place == str(path)
        assert path.exists()
        (review / "to_check").chmod(0o755)
        station.wait_for_images(2)
        wait_until_mended(station)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(22)
def test_a_full_review_folder_leaves_the_move_pending_and_the_source_where_it_is(
    station: Station,
) -> None:
    with filesystem(station.review, size="200k"):
        with station.running():
            station.drop("top-1", "first.jpg", surface_file(seed=1))
            station.wait_for_images(1)
            with full(station.review):
                path = station.drop("top-1", "second.jpg", surface_file(seed=2))
                assert "No space left" in wait_for_trouble(station, "moving")
                assert station.count() == 2
                assert path.exists()
            station.wait_for_images(2)
            wait_until_mended(station)
        assert_every_image_accounted_for(station)


@pytest.mark.fault(23)
def test_a_full_disk_under_the_database_stops_the_moves_and_not_the_service(
    tmp_path: Path, model: Path
) -> None:
    state = tmp_path / "small-disk"
    review = {"review": {"folder": str(tmp_path / "review")}}
    with filesystem(state, size="3m"):
        station = Station(root=tmp_path, model=model, tables=review, state=state / "state")
        with station.running():
            station.drop_surfaces(3)
            station.wait_for_images(3)
            with full(state):
                station.drop_surfaces(80, first=3)
                assert "full" in wait_for_trouble(station, "database")
                assert station.count() < 83
            station.wait_for_images(83)
            wait_until_mended(station)
        assert_every_image_accounted_for(station)


@pytest.mark.fault(24)
def test_a_reporting_tool_that_reads_for_long_holds_nothing_up(station: Station) -> None:
    with station.running():
        station.drop_surfaces(2)
        station.wait_for_images(2)
        with closing(sqlite3.connect(station.database)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM inspections").fetchone() == (2,)
            station.drop_surfaces(4, first=2)
            station.wait_for_images(6)
            assert reader.execute("SELECT count(*) FROM inspections").fetchone() == (2,)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(24)
def test_a_program_that_holds_the_database_longer_than_the_timeout_is_waited_out(
    station: Station,
) -> None:
    station.drop_surfaces(4)
    with by_hand(station.settings(), busy_seconds=0.1) as line:
        with closing(sqlite3.connect(station.database, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            line.work_until(lambda: "locked" in line.health.troubles().get("database", ""))
            assert len(list(station.folder("top-1").iterdir())) == 2
            holder.execute("ROLLBACK")
        line.work_until(lambda: station.count() == 4 and line.health.troubles() == {})
        station.wait_for_images(4)
    assert_every_image_accounted_for(station)


@pytest.mark.fault(2, 23)
def test_a_commit_that_fails_after_the_move_is_made_up_for(station: Station) -> None:
    """The disk is full, say, when `done` is to be written: the files lie where they should."""
    station.drop_surfaces(4)
    with by_hand(station.settings(), busy_seconds=0.1) as line:
        with closing(sqlite3.connect(station.database, isolation_level=None)) as holder:
            holder.execute(
                "CREATE TRIGGER full BEFORE UPDATE OF progress ON image "
                "WHEN NEW.progress IN ('moved', 'unseen') BEGIN SELECT RAISE(ABORT, 'full'); END"
            )
            # On a busy machine they come in more than one batch.
            line.work_until(
                lambda: (
                    "database" in line.health.troubles()
                    and station.count() == 4
                    and not list(station.folder("top-1").iterdir())
                    and not list(station.folder("bottom-1").iterdir())
                )
            )
            assert station.query("SELECT count(*) FROM image WHERE progress = 'pending'") == [(4,)]
            holder.execute("DROP TRIGGER full")
        line.work_until(lambda: not station.query("SELECT 1 FROM image WHERE progress = 'pending'"))
    assert_every_image_accounted_for(station)


@pytest.mark.fault(47)
def test_a_strangers_file_at_the_target_is_kept_and_the_image_gets_another_name(
    station: Station,
) -> None:
    with station.running():
        station.drop("top-1", "first.jpg", b"no picture")
        station.wait_for_images(1)
        ((place,),) = station.query("SELECT path FROM inspections")
        strangers = Path(place).with_name("x.jpg")
        reason = Path(place).with_name("x.jpg.reason.json")
        ours = station.folder("top-1") / "x.jpg"
        # The name is free when the target is planned and taken when the move comes: between the
        # two lies a commit, which waits here.
        with closing(sqlite3.connect(station.database, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            station.drop("top-1", "x.jpg", b"no picture either")
            strangers.write_bytes(b"a stranger's")
            reason.write_text("a stranger's reason")
            holder.execute("ROLLBACK")
        station.wait_for_images(2)
        assert not ours.exists()
    assert strangers.read_bytes() == b"a stranger's"
    assert reason.read_text() == "a stranger's reason"
    strangers.unlink()
    assert_every_image_accounted_for(station)


@pytest.mark.fault(41)
def test_review_folders_that_an_operator_deletes_are_made_anew(station: Station) -> None:
    with station.running():
        station.drop_surfaces(2)
        station.wait_for_images(2)
        shutil.rmtree(station.review)
        shutil.rmtree(station.state_dir / "quarantine")
        station.drop("top-1", "after.jpg", surface_file(seed=99))
        station.drop("top-1", "bad.jpg", b"no picture")
        station.wait_for_images(4)
        assert station.troubles() == {}
    rows = dict(station.query("SELECT filename, path FROM inspections WHERE id > 2"))
    assert all(Path(path).is_file() for path in rows.values())


@pytest.mark.fault(28)
def test_a_share_that_is_not_mounted_is_no_idle_camera_and_its_images_come_back(
    station: Station,
) -> None:
    folder = station.folder("top-1")
    with filesystem(folder, size="4m"):
        keep = station.root / "share"
        keep.mkdir()
        with station.running():
            station.drop("top-1", "before.jpg", surface_file(seed=1))
            station.wait_for_images(1)
            assert "mount top-1" not in station.troubles()
            with unmounted(folder, keep):
                wait_for_trouble(station, "mount top-1")
                station.drop("bottom-1", "meanwhile.jpg", surface_file(seed=2))
                station.wait_for_images(2)
                data = surface_file(seed=3)
                (keep / "on-the-share.jpg").write_bytes(data)
                station.expect("top-1", "on-the-share.jpg", data)
            station.wait_for_images(3)
            wait_until_mended(station)
        assert_every_image_accounted_for(station)


@pytest.mark.fault(28)
def test_a_share_that_hangs_is_told_and_holds_up_no_other_camera(
    tmp_path: Path, model: Path
) -> None:
    intake = {"quiet_seconds": 1.0, "give_up_seconds": 1.0}
    station = Station(root=tmp_path, model=model, tables={"intake": intake})
    share = station.folder("top-1") / "share"
    with station.running():
        station.drop_unannounced("top-1", "share/x.jpg", surface_file(seed=1))
        wait_until(lambda: station.status()["cameras"][0]["waiting"] == 1)
        with hanging(share):
            # To look at what waits there never ends; nor does the rescan.
            told = wait_for_trouble(station, "files of top-1")
            assert "Where one was unmounted and mounted anew, restart Millwatch" in told
            for number in range(3):
                station.drop("bottom-1", f"{number}.jpg", surface_file(seed=10 + number))
                station.wait_for_images(1 + number)
            assert "files of top-1" in station.troubles()
        station.wait_for_images(4)
        wait_until_mended(station)
    assert_every_image_accounted_for(station)
