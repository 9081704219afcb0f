"""Plans are seen through, however long a disk takes and whatever else fails meanwhile."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import Station, wait_until
from delivered import delivery_of
from meanwhile import just_before, noting_what_is_opened
from records import NOW, open_store, rows

from daemon.journey.mover import Mover
from daemon.journey.routing import Folders
from daemon.process.health import Health
from daemon.process.lanes import Lanes
from daemon.store import images
from daemon.store.database import Database
from daemon.values import Finding, Intent
from models.taxonomy import Verdict


@dataclass
class Line:
    """What moves images, and nothing that judges them."""

    station: Station
    store: Database
    mover: Mover
    health: Health
    woken: threading.Event
    placed: list[Path]

    def record(self, camera: str, name: str, verdict: Verdict = Verdict.DEFECT) -> Intent:
        path = self.station.folder(camera) / name
        path.write_bytes(name.encode())
        finding = Finding(
            delivery=delivery_of(path, camera=camera),
            sha256=hashlib.sha256(name.encode()).hexdigest(),
            verdict=verdict,
            reason="confident",
            predicted_class="scratches",
            confidence=0.9,
        )
        plan = Folders.of(self.station.settings()).plan
        (intent,) = images.record(self.store, [finding], plan, NOW).intents
        return intent

    def progress(self) -> list[str]:
        return [progress for (progress,) in rows(self.store, "SELECT progress FROM image")]

    def settled(self) -> bool:
        self.mover.retry_if_due()
        return "pending" not in self.progress()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with line_at(tmp_path) as made:
        yield made


@contextmanager
def line_at(root: Path, *, answer_seconds: float = 60.0, max_bytes: int = 1000) -> Iterator[Line]:
    intake = {"intake": {"max_bytes": max_bytes}}
    station = Station(root=root, model=root / "none", tables=intake)
    station.state_dir.mkdir()
    store, lanes, large, health, woken = (
        open_store(station.state_dir),
        Lanes(),
        Lanes(),
        Health(),
        threading.Event(),
    )
    placed: list[Path] = []
    mover = Mover(
        station.settings(),
        database=store,
        lanes=lanes,
        large=large,
        health=health,
        clock=lambda: NOW,
        wake=woken.set,
        placed=placed.extend,
        answer_seconds=answer_seconds,
    )
    yield Line(station=station, store=store, mover=mover, health=health, woken=woken, placed=placed)
    lanes.close(seconds=10)
    large.close(seconds=10)
    store.close()


def held_up(path: Path) -> Callable[[], None]:
    """The removal of a delivered file takes as long as the test likes: until it calls this."""
    go_on = threading.Event()
    just_before("os.rename", path, lambda: go_on.wait(60))
    return go_on.set


@pytest.mark.fault(28)
def test_a_move_that_takes_longer_than_the_others_wait_is_recorded_when_it_is_done(
    tmp_path: Path,
) -> None:
    with line_at(tmp_path, answer_seconds=0.1) as line:
        slow, quick = line.record("top-1", "slow.jpg"), line.record("bottom-1", "quick.jpg")
        go_on = held_up(slow.delivery.path)
        assert line.mover.move([slow, quick], {}) == []

        def quick_is_moved() -> bool:
            line.mover.retry_if_due()
            return line.progress() == ["pending", "moved"]

        wait_until(quick_is_moved)
        line.woken.clear()
        with noting_what_is_opened(line.station.review) as opened:
            go_on()
            assert line.woken.wait(60)
            wait_until(line.settled)
        # "unseen" would be what is found out by reading the target whole: again and again, if that
        # takes as long.
        assert line.progress() == ["moved", "moved"]
        assert opened == []


@pytest.mark.fault(13)
def test_a_large_file_that_is_long_in_moving_holds_up_no_other_of_its_camera(
    tmp_path: Path,
) -> None:
    with line_at(tmp_path, max_bytes=len("small.jpg")) as line:
        large, small = line.record("top-1", "too-large.jpg"), line.record("top-1", "small.jpg")
        go_on = held_up(large.delivery.path)
        assert line.mover.move([large, small], {}) == []
        assert line.progress() == ["pending", "moved"]
        go_on()
        wait_until(line.settled)
        assert line.progress() == ["moved", "moved"]


@pytest.mark.fault(22)
def test_moves_that_fail_all_the_time_put_no_other_off(line: Line) -> None:
    in_the_way = line.station.review
    in_the_way.write_text("in the way")
    line.mover.retry_if_due()  # the start's
    waiting = line.record("top-1", "waits.jpg")
    line.mover.move([waiting], {})
    assert "moving" in line.health.troubles()
    in_the_way.rename(in_the_way.with_name("in-the-way"))
    failing = line.record("bottom-1", "fails.jpg", Verdict.UNREADABLE)
    (line.station.state_dir / "quarantine").write_text("in the way")

    def moved() -> bool:
        line.mover.move([failing], {})
        line.mover.retry_if_due()
        return line.progress() == ["moved", "pending"]

    wait_until(moved)


@pytest.mark.fault(47)
def test_a_strangers_file_with_an_images_own_bytes_is_not_taken_for_it(line: Line) -> None:
    """As after an older backup was put back: it is an image that has no record."""
    intent = line.record("top-1", "same.jpg", Verdict.PASS)
    assert intent.plan.target is not None
    intent.plan.target.parent.mkdir(parents=True)
    intent.plan.target.write_bytes(intent.delivery.path.read_bytes())
    with intent.delivery.path.open("rb") as held:
        line.mover.move([intent], {intent.image_id: held.fileno()})
    ((place,),) = rows(line.store, "SELECT path FROM inspections")
    files = sorted(path for path in intent.plan.target.parent.iterdir())
    assert files == sorted([intent.plan.target, Path(place)])
    assert len(files) == 2


def test_what_was_brought_to_the_review_folder_is_told_once_it_is_recorded_and_nothing_else(
    line: Line,
) -> None:
    defect, passed = line.record("top-1", "d.jpg"), line.record("top-1", "p.jpg", Verdict.PASS)
    away = line.record("top-1", "away.jpg")
    away.delivery.path.unlink()
    line.mover.move([defect, passed, away], {})
    assert line.placed == [defect.plan.target]


def test_a_database_that_others_cannot_write_to_is_not_well_because_nothing_is_to_be_moved(
    line: Line,
) -> None:
    """Else the trouble would begin and be over every two seconds, in the log and in alarms."""
    line.health.trouble("database", "it could not be written to")
    assert line.mover.retry_if_due() == (False, [])
    assert "database" in line.health.troubles()
    line.record("top-1", "later.jpg")
    line.mover.retry_later()
    wait_until(line.settled)
    wait_until(lambda: line.mover.retry_if_due() and line.health.troubles() == {})
