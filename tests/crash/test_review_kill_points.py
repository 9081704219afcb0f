"""SIGKILL at every step while labels are taken from the review folder; then a fresh start."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders import Station
from reviewed import UNSURE, data_of, paths, station_of
from zygotes import Zygote

ZYGOTE = Path(__file__).with_name("review_zygote.py")
PASSED = 5
VERDICTS = {**UNSURE, PASSED: "pass"}

Deed = Callable[[Station, dict[int, Path]], None]


class Looks(Zygote):
    """Looks after a review folder, in children of one process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(ZYGOTE, folder / "zygote.log")
        self._trace = folder / "trace"

    def look(
        self, station: Station, kill_at: int | None = None, page: list[list[object]] | None = None
    ) -> list[str]:
        """The steps that it took; the last is the one that it was killed before."""
        self._trace.unlink(missing_ok=True)
        order = {"config": str(station.config), "kill_at": kill_at, "trace": str(self._trace)}
        status = self.ask(**order, page=page or [])
        assert status == (0 if kill_at is None else -signal.SIGKILL), self.log()
        return self._trace.read_text(errors="surrogateescape").splitlines()


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looks]:
    looks = Looks(tmp_path_factory.mktemp("looks"))
    yield looks
    looks.close()


def outcome(station: Station) -> dict[int, tuple[str | None, str]]:
    """The label and the place of each image, whose file lies there and nowhere else."""
    found = paths(station)
    lying = [path for path in station.files() if path.name != "again"]
    assert sorted(lying) == sorted(found.values())
    for number, path in found.items():
        assert path.read_bytes() == data_of(number)
    labels = dict(station.query("SELECT image_id, label FROM labels"))
    assert len(labels) == len(station.query("SELECT 1 FROM label WHERE undone_at IS NULL"))
    assert not station.query("SELECT 1 FROM label WHERE moving_to IS NOT NULL")
    roots = (station.review, station.state_dir)
    places = {
        number: next(str(path.relative_to(root)) for root in roots if path.is_relative_to(root))
        for number, path in found.items()
    }
    return {number: (labels.get(number), place) for number, place in places.items()}


def people_move_files(station: Station, at: dict[int, Path]) -> None:
    """One is moved, one is copied and renamed, one archived one is copied, two change their class."""
    labelled = station.review / "labelled"
    for name in ("patches", "crazing"):
        (labelled / name).mkdir(exist_ok=True)
    at[1].rename(labelled / "patches" / at[1].name)
    shutil.copy(at[2], labelled / "crazing" / "renamed.jpg")
    shutil.copy(at[PASSED], labelled / "patches" / "archived.jpg")
    at[3].rename(labelled / "crazing" / at[3].name)
    at[4].rename(station.review / "to_check" / "back.jpg")


def assert_each_kill_settles(
    make: Callable[[], Station], looks: Looks, deed: Deed, page: list[list[object]]
) -> list[str]:
    whole = make()
    deed(whole, paths(whole))
    steps = looks.look(whole, page=page)
    wanted = outcome(whole)
    for step in range(1, len(steps) + 1):
        station = make()
        deed(station, paths(station))
        where = looks.look(station, step, page)[-1]
        try:
            looks.look(station)
            found = outcome(station)
            if page and found != wanted:  # killed before the page had recorded it
                looks.look(station, page=page)
                found = outcome(station)
            assert found == wanted
        except AssertionError as error:
            error.add_note(f"killed at step {step}: {where}")
            raise
    return steps


@pytest.fixture(params=["one filesystem", "archive elsewhere"])
def make(
    request: pytest.FixtureRequest, here: Path, tmp_path: Path, looks: Looks
) -> Callable[[], Station]:
    """The same station each time, where images 3 and 4 are labelled patches already."""
    apart = request.param == "archive elsewhere"
    folders = [here / "station", *([tmp_path / "state"] if apart else [])]
    station = station_of(folders[0], VERDICTS, state=tmp_path / "state" if apart else None)
    at = paths(station)
    for image_id in (3, 4):
        labelled = station.review / "labelled" / "patches"
        labelled.mkdir(exist_ok=True)
        at[image_id].rename(labelled / at[image_id].name)
    looks.look(station)
    for folder in folders:
        shutil.copytree(folder, folder.with_suffix(".first"))

    def again() -> Station:
        for folder in folders:
            shutil.rmtree(folder)
            shutil.copytree(folder.with_suffix(".first"), folder)
        return station

    return again


@pytest.mark.fault(62)
def test_a_kill_at_any_step_of_taking_labels_from_the_folder_loses_and_doubles_nothing(
    make: Callable[[], Station], looks: Looks
) -> None:
    steps = assert_each_kill_settles(make, looks, people_move_files, [])
    assert {step.split()[0] for step in steps} >= {"commit", "unlink", "fsync"}
    final = make()
    people_move_files(final, paths(final))
    looks.look(final)
    found = outcome(final)
    assert {number: label for number, (label, _) in found.items()} == {
        1: "patches",
        2: "crazing",
        3: "crazing",
        4: None,
        PASSED: "patches",
    }
    assert found[2][1] == "labelled/crazing/renamed.jpg"
    assert found[4][1] == "to_check/back.jpg"


@pytest.mark.fault(62)
@pytest.mark.parametrize("make", ["one filesystem"], indirect=True)
def test_a_kill_amid_what_the_page_moves_is_not_taken_for_somebody_elses_move(
    make: Callable[[], Station], looks: Looks
) -> None:
    page: list[list[object]] = [[1, "crazing"], [3, "no_defect"], [4, None]]
    assert_each_kill_settles(make, looks, lambda _, __: None, page)
    final = make()
    looks.look(final, page=page)
    outcome(final)
    given = {by for (by,) in final.query("SELECT labelled_by FROM label WHERE image_id IN (1)")}
    assert given == {"anna"}


@pytest.mark.fault(38)
@pytest.mark.parametrize("make", ["one filesystem"], indirect=True)
def test_a_copy_is_on_the_disk_before_its_twin_goes_and_a_move_before_it_is_recorded(
    make: Callable[[], Station], looks: Looks
) -> None:
    station = make()
    at = paths(station)
    people_move_files(station, at)
    steps = looks.look(station)
    labelled = station.review / "labelled"
    copy = labelled / "crazing" / "renamed.jpg"
    gone = steps.index(f"unlink {at[2]}")
    assert steps.index(f"fsync {copy}") < gone
    assert steps.index(f"fsync {copy.parent}") < gone
    moved = labelled / "patches" / at[1].name
    durable = steps.index(f"fsync {moved}")
    assert steps[durable + 1] == f"fsync {moved.parent}"
    assert steps[durable + 2] == "commit"
