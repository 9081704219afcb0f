"""Labels from the review folder: files moved, copied, renamed, edited and deleted under a real daemon."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders import Station, surface_file, wait_until

from daemon.names import from_text
from daemon.store.labels import labels_to_learn_from
from daemon.store.upgrading import open_existing


@dataclass(frozen=True, kw_only=True)
class Image:
    id: int
    path: Path
    data: bytes


class Line:
    """A station whose daemon runs, and the images that lie in its review folder."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self._taken: set[int] = set()

    @property
    def to_check(self) -> Path:
        return self.station.review / "to_check"

    @property
    def labelled(self) -> Path:
        return self.station.review / "labelled"

    def take(self, where: str = "verdict <> 'pass'") -> Image:
        """An image that no test has had."""
        rows = self.station.query(f"SELECT id, path FROM inspections WHERE {where} ORDER BY id")  # noqa: S608 -- the tests' own conditions
        image_id, path = next(row for row in rows if row[0] not in self._taken)
        self._taken.add(image_id)
        place = Path(from_text(path))
        return Image(id=image_id, path=place, data=place.read_bytes())

    def path_of(self, image: Image) -> Path | None:
        ((path,),) = self.station.query("SELECT path FROM inspections WHERE id = ?", image.id)
        return None if path is None else Path(from_text(path))

    def labels_of(self, image: Image) -> list[tuple[str, str]]:
        sql = "SELECT label, labelled_by FROM labels WHERE image_id = ?"
        return [(label, by) for label, by in self.station.query(sql, image.id)]

    def wait_for_label(self, image: Image, label: str | None, at: Path) -> None:
        def told() -> bool:
            wanted = [] if label is None else [label]
            found = [name for name, _ in self.labels_of(image)]
            return found == wanted and self.path_of(image) == at

        wait_until(told, what=f"{image.id} is {label} at {at}: {self.labels_of(image)}")
        assert at.read_bytes() == image.data
        self.assert_nothing_else_of(image, at)

    def assert_nothing_else_of(self, image: Image, *places: Path) -> None:
        found = [path for path in self.station.files() if path.read_bytes() == image.data]
        assert sorted(found) == sorted(places)

    def conflicts(self) -> list[dict[str, Any]]:
        return list(self.station.ask("review conflicts")["conflicts"])

    def wait_for_problem(self, problem: str, path: Path) -> dict[str, Any]:
        def told() -> dict[str, Any] | None:
            found = [each for each in self.conflicts() if each["path"] == str(path)]
            return next((each for each in found if each["problem"] == problem), None)

        found: dict[str, Any] = wait_until(told, what=f"{problem} of {path}")
        return found

    def wait_for_no_problem(self, image: Image) -> None:
        wait_until(lambda: all(each["image"] != image.id for each in self.conflicts()))


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, commissioned_model: Path) -> Iterator[Line]:
    station = Station(
        root=tmp_path_factory.mktemp("line"),
        model=commissioned_model,
        cameras=("top-1",),
        tables={
            "policy": {"max_missed_defect_rate": 0.5},  # so that some pass
            "intake": {"quiet_seconds": 0.05},
        },
    )
    with station.running():
        station.drop_surfaces(42)
        station.wait_for_images(42)
        yield Line(station)


def moved(path: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    path.rename(to)
    return to


def test_folders_for_the_known_classes_and_no_defect_are_there_from_the_start(line: Line) -> None:
    found = {path.name for path in line.labelled.iterdir() if path.is_dir()}
    assert found >= {"crazing", "inclusion", "patches", "no_defect", "rolled-in_scale", "scratches"}


def test_a_file_moved_into_a_class_is_that_label_and_moved_back_is_none(line: Line) -> None:
    image = line.take()
    at = moved(image.path, line.labelled / "patches" / image.path.name)
    line.wait_for_label(image, "patches", at)
    assert line.labels_of(image) == [("patches", "folder")]
    at = moved(at, line.to_check / "mine" / image.path.name)
    line.wait_for_label(image, None, at)
    at = moved(at, image.path)
    line.wait_for_label(image, None, at)


def test_a_file_moved_from_one_class_to_another_is_labelled_anew(line: Line) -> None:
    image = line.take()
    at = moved(image.path, line.labelled / "patches" / image.path.name)
    line.wait_for_label(image, "patches", at)
    at = moved(at, line.labelled / "no_defect" / "shift 2" / image.path.name)
    line.wait_for_label(image, "no_defect", at)


def test_a_new_folder_is_a_new_class_and_renaming_it_labels_all_of_it_anew(line: Line) -> None:
    first, second = line.take(), line.take()
    for image in (first, second):
        moved(image.path, line.labelled / "New folder" / image.path.name)
    line.wait_for_label(first, "New folder", line.labelled / "New folder" / first.path.name)
    (line.labelled / "New folder").rename(line.labelled / "Dellen ü")
    for image in (first, second):
        line.wait_for_label(image, "Dellen ü", line.labelled / "Dellen ü" / image.path.name)


@pytest.mark.parametrize("name", ["renamed.jpg", "no ending", "__7__.jpg", "ü\udcff\n.JPG"])
def test_a_file_that_is_renamed_on_the_way_is_known_by_its_content(line: Line, name: str) -> None:
    image = line.take()
    at = moved(image.path, line.labelled / "scratches" / name)
    line.wait_for_label(image, "scratches", at)
    at = moved(at, line.to_check / name)
    line.wait_for_label(image, None, at)
    moved(at, image.path)


@pytest.mark.parametrize("copy", [shutil.copy, shutil.copy2, os.link], ids=lambda f: f.__name__)
def test_a_copy_is_a_label_and_its_twin_goes(line: Line, copy: Any) -> None:
    image = line.take()
    at = line.labelled / "crazing" / f"copy of {image.path.name}"
    copy(image.path, at)
    line.wait_for_label(image, "crazing", at)
    assert not image.path.exists()


def test_a_copy_is_no_label_before_it_is_whole(line: Line) -> None:
    image = line.take()
    at = line.labelled / "crazing" / image.path.name
    with at.open("wb", buffering=0) as file:
        file.write(image.data[:100])
        line.wait_for_problem("edited", at)
        assert line.labels_of(image) == []
        assert image.path.read_bytes() == image.data
        file.write(image.data[100:])
    line.wait_for_label(image, "crazing", at)
    line.wait_for_no_problem(image)


def test_an_archived_image_is_labelled_by_a_copy_and_goes_back_when_that_is_undone(
    line: Line,
) -> None:
    image = line.take("verdict = 'pass'")
    at = line.labelled / "scratches" / image.path.name
    shutil.copy(image.path, at)
    line.wait_for_label(image, "scratches", at)
    line.station.ask("review undo", image=image.id, by="anna")
    line.wait_for_label(image, None, image.path)


def test_the_owner_of_a_copy_is_who_labelled(line: Line) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    image = line.take()
    staged = line.station.root / "staged.jpg"
    shutil.copy(image.path, staged)
    os.chown(staged, 1, 1)
    at = moved(staged, line.labelled / "crazing" / image.path.name)
    line.wait_for_label(image, "crazing", at)
    assert line.labels_of(image) == [("crazing", "daemon")]
    stranger = line.take()
    os.chown(stranger.path, 54321, 54321)
    at = moved(stranger.path, line.labelled / "crazing" / stranger.path.name)
    line.wait_for_label(stranger, "crazing", at)
    assert line.labels_of(stranger) == [("crazing", "folder")]


@pytest.mark.fault(41)
def test_a_deleted_file_is_missing_and_found_when_it_is_put_back(line: Line) -> None:
    image = line.take()
    image.path.unlink()
    assert line.wait_for_problem("missing", image.path)["image"] == image.id
    image.path.write_bytes(image.data)
    line.wait_for_no_problem(image)
    image.path.unlink()
    line.wait_for_problem("missing", image.path)
    other = line.to_check / "found again.jpg"
    other.write_bytes(image.data)
    line.wait_for_label(image, None, other)
    line.wait_for_no_problem(image)
    at = moved(other, line.labelled / "crazing" / "found again.jpg")
    line.wait_for_label(image, "crazing", at)
    at.unlink()
    line.wait_for_problem("missing", at)
    assert line.labels_of(image) == [("crazing", "folder")]
    at = line.labelled / "patches" / image.path.name
    at.write_bytes(image.data)
    line.wait_for_label(image, "patches", at)
    line.wait_for_no_problem(image)


@pytest.mark.fault(35, 41)
def test_an_edited_file_is_told_and_nobody_learns_from_it(line: Line) -> None:
    image = line.take()
    at = moved(image.path, line.labelled / "patches" / image.path.name)
    line.wait_for_label(image, "patches", at)
    at.write_bytes(image.data + b"annotated")
    assert line.wait_for_problem("edited", at)["image"] == image.id
    assert image.id not in to_learn_from(line)
    assert at.read_bytes() == image.data + b"annotated"
    at.write_bytes(image.data)
    line.wait_for_no_problem(image)
    assert image.id in to_learn_from(line)


@pytest.mark.fault(41)
def test_a_file_that_another_image_was_laid_over_is_told_and_the_other_one_stays(
    line: Line,
) -> None:
    image, other = line.take(), line.take()
    image.path.write_bytes(other.data)
    assert line.wait_for_problem("edited", image.path)["image"] == image.id
    assert line.path_of(other) == other.path
    line.wait_for_no_problem(other)
    image.path.write_bytes(image.data)
    line.wait_for_no_problem(image)


@pytest.mark.fault(35)
def test_one_image_under_two_labels_is_told_until_one_of_them_goes(line: Line) -> None:
    image = line.take()
    first = line.labelled / "patches" / image.path.name
    second = line.labelled / "crazing" / image.path.name
    moved(image.path, first)
    line.wait_for_label(image, "patches", first)
    shutil.copy(first, second)
    told = [line.wait_for_problem("contradiction", place) for place in (first, second)]
    assert all("crazing and patches" in each["reason"] for each in told)
    assert image.id not in to_learn_from(line)
    line.assert_nothing_else_of(image, first, second)
    first.unlink()
    line.wait_for_label(image, "crazing", second)
    line.wait_for_no_problem(image)
    assert image.id in to_learn_from(line)


@pytest.mark.fault(35)
def test_one_content_that_was_delivered_twice_and_labelled_differently_is_told(line: Line) -> None:
    data = surface_file("crazing", seed=777)
    for name in ("once.jpg", "twice.jpg"):
        line.station.drop("top-1", name, data)
    sql = "SELECT 1 FROM inspections WHERE filename LIKE '%ce.jpg' AND path LIKE '%to_check%'"
    wait_until(lambda: len(line.station.query(sql)) == 2)
    once = line.take("filename = 'once.jpg'")
    twice = line.take("filename = 'twice.jpg'")
    moved(once.path, line.labelled / "crazing" / once.path.name)
    moved(twice.path, line.labelled / "patches" / twice.path.name)
    wait_until(lambda: line.labels_of(once) and line.labels_of(twice))
    found = [each for each in line.conflicts() if each["image"] in (once.id, twice.id)]
    assert [each["problem"] for each in found] == ["contradiction"] * 2
    assert "crazing and patches" in found[0]["reason"]


@pytest.mark.fault(35)
def test_a_strangers_file_a_link_and_a_file_in_no_class_are_told_and_stay(line: Line) -> None:
    stranger = line.labelled / "patches" / "holiday.jpg"
    stranger.write_bytes(surface_file(seed=4711))
    line.wait_for_problem("stranger", stranger)
    link = line.labelled / "patches" / "link.jpg"
    link.symlink_to(stranger)
    line.wait_for_problem("no_file", link)
    pipe = line.labelled / "patches" / "pipe.jpg"
    os.mkfifo(pipe)
    line.wait_for_problem("no_file", pipe)
    image = line.take()
    root = moved(image.path, line.labelled / image.path.name)
    line.wait_for_problem("misplaced", root)
    bad = moved(root, line.labelled / "unknown" / image.path.name)
    line.wait_for_problem("misplaced", bad)
    assert line.labels_of(image) == []
    assert stranger.read_bytes() == surface_file(seed=4711)
    for path in (stranger, link, pipe):
        path.unlink()
    gone = {str(stranger), str(link), str(pipe)}
    wait_until(lambda: not gone & {each["path"] for each in line.conflicts()})
    at = moved(bad, line.labelled / "patches" / image.path.name)
    line.wait_for_label(image, "patches", at)
    line.wait_for_no_problem(image)


@pytest.mark.fault(35)
def test_a_labelled_image_that_is_copied_back_is_told_and_neither_file_goes(line: Line) -> None:
    image = line.take()
    at = moved(image.path, line.labelled / "patches" / image.path.name)
    line.wait_for_label(image, "patches", at)
    shutil.copy(at, image.path)
    line.wait_for_problem("twin", image.path)
    line.assert_nothing_else_of(image, at, image.path)
    assert image.id not in to_learn_from(line)
    at.unlink()
    line.wait_for_label(image, None, image.path)
    line.wait_for_no_problem(image)


def to_learn_from(line: Line) -> set[int]:
    with open_existing(line.station.database) as database:
        return {each.image_id for each in labels_to_learn_from(database)}
