from pathlib import Path

from filesystems import bound, filesystem

from config.mounted import Mount, mount_of
from daemon.files.mounts import MountMemory, is_network_filesystem


def test_the_mount_of_a_folder_is_that_of_its_nearest_mount(tmp_path: Path) -> None:
    inside = tmp_path / "with space"
    around = mount_of(tmp_path)
    with filesystem(inside, size="1m"):
        (inside / "deep").mkdir()
        assert mount_of(inside) == ("/", "tmpfs")
        assert mount_of(inside / "deep") == ("/deep", "tmpfs")
        assert mount_of(tmp_path) == around
        assert not is_network_filesystem(inside)
    assert mount_of(inside) == (f"{around.path}/with space", around.kind)


def test_a_folder_that_is_mounted_on_itself_is_still_the_same(tmp_path: Path) -> None:
    """As systemd does for `ReadWritePaths`, in a mount namespace of the service's own."""
    folder = tmp_path / "cameras" / "top-1"
    folder.mkdir(parents=True)
    before = mount_of(folder)
    for mounted in (folder, folder.parent):
        with bound(mounted):
            assert mount_of(folder) == before


def test_a_folder_beside_a_mount_with_a_name_that_begins_alike_is_not_in_it(tmp_path: Path) -> None:
    around = mount_of(tmp_path)
    beside = tmp_path / "mounted-beside"
    beside.mkdir()
    with filesystem(tmp_path / "mounted", size="1m"):
        assert mount_of(beside) == (f"{around.path}/mounted-beside", around.kind)


def test_names_that_are_not_ascii_are_understood(tmp_path: Path) -> None:
    with filesystem(tmp_path / "kämera", size="1m"):
        assert mount_of(tmp_path / "kämera").kind == "tmpfs"


def test_the_mount_of_a_folder_is_remembered_over_a_restart(tmp_path: Path) -> None:
    share, disk = Mount("/mnt/share", "cifs"), Mount("/", "ext4")
    folder = Path("/mnt/share/top-1")
    memory = MountMemory(tmp_path / "memory.json")
    assert memory.is_the_same(folder, disk), "never seen before"
    memory.remember(folder, share)
    again = MountMemory(tmp_path / "memory.json")
    assert again.is_the_same(folder, share)
    assert not again.is_the_same(folder, disk)
    for spoilt in ("{ of a power cut", "5", "[1, 2]"):
        (tmp_path / "memory.json").write_text(spoilt)
        assert MountMemory(tmp_path / "memory.json").is_the_same(folder, disk)
