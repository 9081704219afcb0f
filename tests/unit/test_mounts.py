from pathlib import Path

from builders import filesystem

from daemon.intake.mounts import filesystem_of, is_network_filesystem


def test_the_filesystem_of_a_folder_is_that_of_its_nearest_mount(tmp_path: Path) -> None:
    inside = tmp_path / "with space"
    around = filesystem_of(tmp_path)
    with filesystem(inside, size="1m"):
        (inside / "deep").mkdir()
        assert filesystem_of(inside) == "tmpfs"
        assert filesystem_of(inside / "deep") == "tmpfs"
        assert filesystem_of(tmp_path) == around
        assert not is_network_filesystem(inside)
    assert filesystem_of(inside) == around


def test_a_folder_beside_a_mount_with_a_name_that_begins_alike_is_not_in_it(tmp_path: Path) -> None:
    around = filesystem_of(tmp_path)
    beside = tmp_path / "mounted-beside"
    beside.mkdir()
    with filesystem(tmp_path / "mounted", size="1m"):
        assert filesystem_of(beside) == around


def test_names_that_are_not_ascii_are_understood(tmp_path: Path) -> None:
    with filesystem(tmp_path / "kämera", size="1m"):
        assert filesystem_of(tmp_path / "kämera") == "tmpfs"
