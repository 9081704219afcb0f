"""SIGKILL on either side of every step that changes a disk; then a fresh start."""

import itertools
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders import Station, assert_every_image_accounted_for, surface_file
from filesystems import mount_memory
from kept import keep
from zygotes import Zygote

ZYGOTE = Path(__file__).with_name("zygote.py")
STEPS = ("link", "unlink", "rename", "fsync", "commit")


class Journeys(Zygote):
    """Journeys in children of one process."""

    def __init__(self, root: Path) -> None:
        super().__init__(ZYGOTE, root / "zygote.log")
        self._root = root
        self._numbers = itertools.count()

    def steps(self, station: Station) -> list[str]:
        """Run the journey whole; the steps that it took."""
        status, steps = self._run(station, None)
        assert status == 0, self.log()
        return steps

    def kill(self, station: Station, step: int) -> str | None:
        """Run until that step, counted from 1; what it was, or None when there were not so many."""
        status, steps = self._run(station, step)
        assert status in (0, -signal.SIGKILL), self.log()
        return None if status == 0 else steps[-1]

    def finish(self, station: Station) -> None:
        assert self.ask(config=str(station.config), kill_at=None, trace=None) == 0, self.log()

    def _run(self, station: Station, kill_at: int | None) -> tuple[int, list[str]]:
        trace = self._root / f"trace-{next(self._numbers)}"
        status = self.ask(config=str(station.config), kill_at=kill_at, trace=str(trace))
        return status, trace.read_text(errors="surrogateescape").splitlines()


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journeys]:
    zygote = Journeys(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.close()


@pytest.fixture
def elsewhere(tmp_path: Path, here: Path) -> Iterator[Path]:
    """A folder on another filesystem."""
    folder = tmp_path / "elsewhere"
    mounted = mount_memory(folder, size="64m")
    if folder.stat().st_dev == here.stat().st_dev:
        pytest.skip("there is only one filesystem to be had")
    yield folder
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


Make = Callable[[int], Station]


def maker(here: Path, model: Path, zygote: Journeys, other: Path | None) -> Make:
    """Makes stations, each with images of every fate waiting, and a database that is ready."""
    files = [surface_file("scratches", seed=1), surface_file("patches", seed=2, form="png")]
    half = surface_file("crazing", seed=3)[:500]

    def make(number: int) -> Station:
        root = here / f"station-{number}"
        apart = None if other is None else other / str(number)
        station = Station(
            root=root,
            model=model,
            cameras=("top-1",),
            watch="polling",
            tables={
                "intake": {"quiet_seconds": 0.0, "give_up_seconds": 0.0},
                "review": {"folder": str((apart or root) / "review")},
            },
            state=None if apart is None else apart / "state",
        )
        if number:
            station.state_dir.mkdir(parents=True)
            shutil.copy(first.database, station.database)
        else:
            zygote.finish(station)
        station.drop("top-1", "1.jpg", files[0])
        station.drop("top-1", "deep/2.png", files[1])
        station.drop("top-1", "half.jpg", half)
        return station

    first = make(0)
    return make


def assert_survives_each_kill(make: Make, zygote: Journeys) -> None:
    whole = make(1)
    steps = zygote.steps(whole)
    assert_every_image_accounted_for(whole)
    assert {step.split()[0] for step in steps} >= set(STEPS)
    killed = 0
    for step in range(1, len(steps) + 1):
        station = make(1 + step)
        where = zygote.kill(station, step)
        killed += where is not None
        zygote.finish(station)
        try:
            assert_every_image_accounted_for(station)
        except BaseException as error:
            error.add_note(f"killed at step {step}: {where}")
            raise
        assert leftovers(station) == [], f"killed at step {step}: {where}"
        shutil.rmtree(station.root)
    assert killed == len(steps)


def leftovers(station: Station) -> list[Path]:
    """Files that neither a camera nor a record knows of."""
    roots = (station.root / "cameras", station.review, station.state_dir / "quarantine")
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return [path for path in files if path.suffix in (".part", ".leaving")]


@pytest.mark.fault(1, 2)
@pytest.mark.timeout(300)
def test_a_kill_at_any_step_of_a_move_by_link_loses_and_doubles_nothing(
    here: Path, model: Path, zygote: Journeys
) -> None:
    assert_survives_each_kill(maker(here, model, zygote, None), zygote)


@pytest.mark.fault(1, 2, 3)
@pytest.mark.timeout(300)
def test_a_kill_at_any_step_of_a_copy_to_another_filesystem_loses_and_doubles_nothing(
    here: Path, elsewhere: Path, model: Path, zygote: Journeys
) -> None:
    assert_survives_each_kill(maker(here, model, zygote, elsewhere), zygote)


@pytest.mark.fault(1, 2, 3)
@pytest.mark.parametrize("across", [False, True], ids=["same filesystem", "across filesystems"])
def test_kills_during_the_recovery_from_kills_lose_and_double_nothing(
    here: Path, elsewhere: Path, model: Path, zygote: Journeys, across: bool
) -> None:
    make = maker(here, model, zygote, elsewhere if across else None)
    chance = random.Random(7)  # noqa: S311 -- the same kills each time
    for number in range(1, 5):
        station = make(number)
        for _ in range(5):
            zygote.kill(station, chance.randint(1, 25))
        zygote.finish(station)
        assert_every_image_accounted_for(station)
        assert leftovers(station) == []


@pytest.mark.fault(38)
@pytest.mark.parametrize("across", [False, True], ids=["same filesystem", "across filesystems"])
def test_the_copy_is_durable_before_the_source_goes(
    here: Path, elsewhere: Path, model: Path, zygote: Journeys, across: bool
) -> None:
    station = maker(here, model, zygote, elsewhere if across else None)(1)
    steps = zygote.steps(station)
    assert_every_image_accounted_for(station)
    (target,) = station.query("SELECT path FROM inspections WHERE filename = '1.jpg'")[0]
    folder = str(Path(target).parent)
    source = str(station.folder("top-1") / "1.jpg")
    recorded, done = [n for n, step in enumerate(steps) if step == "commit"][:2]
    written = f"{folder}/." if across else source
    data = next(n for n, step in enumerate(steps) if step.startswith(f"fsync {written}"))
    linked = next(n for n, step in enumerate(steps) if step.startswith("link ") and n > data)
    folder_durable = steps.index(f"fsync {folder}")
    (gone,) = (n for n, step in enumerate(steps) if step.startswith(f"rename {source} "))
    assert recorded < data < linked < folder_durable < gone < done


@pytest.mark.fault(40)
def test_no_image_is_renamed_out_of_a_watched_folder(
    here: Path, model: Path, zygote: Journeys
) -> None:
    """watchdog holds every event behind such a rename for half a second."""
    station = maker(here, model, zygote, None)(1)
    steps = zygote.steps(station)
    camera = str(station.folder("top-1"))
    renames = [step.split()[1:] for step in steps if step.startswith(f"rename {camera}")]
    assert len(renames) == 3
    for source, target in renames:
        assert Path(source).parent == Path(target).parent
    assert_every_image_accounted_for(station)


@pytest.mark.fault(58)
@pytest.mark.parametrize("across", [False, True], ids=["same filesystem", "across filesystems"])
def test_a_drop_folder_that_comes_back_with_an_image_that_was_moved_doubles_nothing(
    here: Path, elsewhere: Path, model: Path, zygote: Journeys, across: bool
) -> None:
    """As a share does that was unmounted while the service was down."""
    make = maker(here, model, zygote, elsewhere if across else None)
    steps = zygote.steps(make(1))
    leaving = next(n for n, step in enumerate(steps, 1) if step.endswith(".leaving"))
    station = make(2)
    assert str(zygote.kill(station, leaving)).startswith("rename")
    folder = station.folder("top-1")
    away = folder.rename(station.root / "away")
    folder.mkdir()
    zygote.finish(station)
    folder.rmdir()
    away.rename(folder)
    zygote.finish(station)
    assert_every_image_accounted_for(station)
    assert leftovers(station) == []


@pytest.mark.fault(58)
def test_what_was_deleted_in_time_before_its_drop_folder_came_back_is_not_counted_twice(
    here: Path, model: Path, zygote: Journeys
) -> None:
    make = maker(here, model, zygote, None)
    steps = zygote.steps(make(1))
    leaves = [
        n for n, step in enumerate(steps, 1) if "half.jpg" in step and step.endswith(".leaving")
    ]
    station = make(2)
    assert str(zygote.kill(station, leaves[0])).startswith("rename")
    folder = station.folder("top-1")
    away = folder.rename(station.root / "away")
    folder.mkdir()
    zygote.finish(station)
    quarantined = "SELECT progress, path IS NULL FROM image WHERE verdict = 'unreadable'"
    assert station.query(quarantined) == [("unseen", 0)]
    keep(station, days=2, quarantine_days=1)
    assert station.query(quarantined) == [("gone", 1)]
    folder.rmdir()
    away.rename(folder)
    zygote.finish(station)
    assert_every_image_accounted_for(station)
