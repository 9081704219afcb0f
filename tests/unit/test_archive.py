"""Zips, whole, damaged and hostile."""

import stat
import zipfile
from pathlib import Path

import pytest
from neu_det_trees import Tree

from training.data.archive import unpack
from training.data.dataset import load_part
from training.data.findings import PreparationError
from training.data.manifest import Part
from training.data.neu_det import prepare


def write_zip(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for entry, data in entries:
            opened.writestr(entry, data)
    return path


def zip_of(folder: Path, path: Path, *, around: str = "") -> Path:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    entries = [(around + file.relative_to(folder).as_posix(), file.read_bytes()) for file in files]
    return write_zip(path, *entries)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("around", ["", "NEU-DET/"])
def test_training_reads_the_images_of_a_zip_from_where_it_was_unpacked(
    tree: Tree, tmp_path: Path, around: str
) -> None:
    made = zip_of(tree.root, tmp_path / "set.zip", around=around)
    folder, again = unpack(made, tmp_path / "out")
    manifest, _ = prepare(folder, select_percent=0, test_percent=0)
    assert (folder, again) == (tmp_path / "out" / "set", False)
    assert len(load_part(manifest, Part.FIT, side=16)) == 1
    assert left_in(tmp_path / "out") == ["set"]


def test_the_same_zip_again_uses_what_was_unpacked(tree: Tree, tmp_path: Path) -> None:
    made = zip_of(tree.root, tmp_path / "set.zip")
    folder, _ = unpack(made, tmp_path / "out")
    (folder / "mine.txt").write_text("mine")
    assert unpack(made, tmp_path / "out") == (folder, True)
    assert (folder / "mine.txt").exists()


def test_another_zip_of_that_name_is_refused_and_the_folder_left_alone(
    tree: Tree, tmp_path: Path
) -> None:
    made = zip_of(tree.root, tmp_path / "set.zip")
    unpack(made, tmp_path / "out")
    write_zip(made, ("images/crazing_1.jpg", b"other"))
    with pytest.raises(PreparationError, match=r"out/set is there already .* rename it"):
        unpack(made, tmp_path / "out")
    assert (tmp_path / "out" / "set" / "train").is_dir()


def test_a_folder_of_ones_own_is_not_taken_for_an_unpacked_zip(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "out" / "set").mkdir(parents=True)
    with pytest.raises(PreparationError, match="is there already"):
        unpack(zip_of(tree.root, tmp_path / "set.zip"), tmp_path / "out")


@pytest.mark.parametrize(
    "name",
    ["../escape.jpg", "/srv/escape.jpg", "a/../../escape.jpg", "..\\escape.jpg", "C:\\x.jpg"],
)
def test_a_zip_that_would_write_outside_is_refused_and_nothing_is_kept(
    tmp_path: Path, name: str
) -> None:
    made = write_zip(tmp_path / "set.zip", ("images/a.jpg", b"a"), (name, b"x"))
    with pytest.raises(PreparationError, match="would write outside its folder"):
        unpack(made, tmp_path / "out")
    assert left_in(tmp_path / "out") == []
    assert not list(tmp_path.rglob("escape*"))


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("images")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    made = write_zip(tmp_path / "set.zip", (link, b"/etc"))
    with pytest.raises(PreparationError, match="'images', a link or device"):
        unpack(made, tmp_path / "out")
    assert left_in(tmp_path / "out") == []


def test_a_zip_that_unpacks_to_too_much_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    made = write_zip(tmp_path / "set.zip", ("a.jpg", b"\0" * 60_000), ("b.jpg", b"\0" * 60_000))
    assert made.stat().st_size < 1000
    with pytest.raises(PreparationError, match="unpacks to more than 100000 bytes"):
        unpack(made, tmp_path / "out", max_bytes=100_000)
    assert left_in(tmp_path / "out") == []


def test_a_zip_of_too_many_files_is_refused(tmp_path: Path) -> None:
    made = write_zip(tmp_path / "set.zip", *((f"{n}.jpg", b"") for n in range(3)))
    with pytest.raises(PreparationError, match="holds 3 files, the limit is 2"):
        unpack(made, tmp_path / "out", max_files=2)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a", "a/b/c")])
def test_two_entries_for_one_place_are_refused_with_what_to_do(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    made = write_zip(tmp_path / "set.zip", *((name, b"") for name in names))
    told = rf"holds '{names[1]}' twice, or .*: unpack it yourself"
    with pytest.raises(PreparationError, match=told):
        unpack(made, tmp_path / "out")
    assert left_in(tmp_path / "out") == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_a_damaged_zip_is_refused_and_nothing_is_kept(
    tree: Tree, tmp_path: Path, damage: str
) -> None:
    made = zip_of(tree.root, tmp_path / "set.zip")
    data = bytearray(made.read_bytes())
    if damage == "flipped":
        data[60:90] = bytes(30)
    made.write_bytes({"cut": data[:-40], "flipped": data, "text": b"not a zip"}[damage])
    with pytest.raises(PreparationError, match=r"set\.zip cannot be unpacked .* fetch it again"):
        unpack(made, tmp_path / "out")
    assert left_in(tmp_path / "out") == []
