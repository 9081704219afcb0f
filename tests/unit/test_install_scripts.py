"""What is installed for a line stays what it is when its scripts are run again without being told."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from filesystems import filesystem

ROOT = Path(__file__).parents[2]
SYSTEM_PYTHON = Path("/usr/bin/python3")
UV = """#!/bin/sh
# Makes the folder of an environment, and fetches nothing.
[ "$1" != venv ] || for last in "$@"; do :; done
[ "$1" = venv ] || exit 0
packages="$last/lib/python3.11/site-packages"
mkdir -p "$last/bin" "$packages/one-1.dist-info"
touch "$last/bin/python"
chmod +x "$last/bin/python"
echo "1" >"$packages/one.py"
echo "one.py,sha256=x,2" >"$packages/one-1.dist-info/RECORD"
"""

pytestmark = pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="there is no Python of Debian's")


class Machine:
    """A folder in place of a line PC's disk, and a `uv` that fetches nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root / "pc"
        self._uv = root / "uv"
        self._uv.write_text(UV)
        self._uv.chmod(0o755)

    def make(
        self, target: str, *, umask: int = 0o022, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """`make TARGET VARIABLE=...`, whatever the `make` was told that runs this suite."""
        told = {"TORCH_BACKEND", "PREFIX", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS"}
        here = {key: value for key, value in os.environ.items() if key not in told}
        return subprocess.run(
            ["make", target, *(f"{name}={value}" for name, value in variables.items())],
            cwd=ROOT,
            env=here
            | {"DESTDIR": str(self.root), "UV": str(self._uv), "PYTHON": str(SYSTEM_PYTHON)},
            capture_output=True,
            text=True,
            check=False,
            umask=umask,
        )

    def releases(self, prefix: str) -> list[Path]:
        return list((self.root / prefix.lstrip("/") / "releases").iterdir())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if shutil.which("make") is None:
        pytest.skip("make is not installed here")
    return Machine(tmp_path)


def test_installed_again_without_a_word_it_stays_where_and_what_it_is(machine: Machine) -> None:
    first = machine.make("install", TORCH_BACKEND="cpu", PREFIX="/srv/mw")
    assert first.returncode == 0, first.stderr
    (release,) = machine.releases("/srv/mw")

    again = machine.make("install")

    assert again.returncode == 0, again.stderr
    assert machine.releases("/srv/mw") == [release]
    assert not (machine.root / "opt").exists()
    with_cuda = machine.make("install", TORCH_BACKEND="")
    assert with_cuda.returncode != 0
    assert f"{release.name} is installed; upgrade.sh" in with_cuda.stderr


def test_a_release_that_lost_files_is_built_anew_by_installing_it_again(machine: Machine) -> None:
    assert machine.make("install").returncode == 0
    (release,) = machine.releases("/opt/millwatch")
    package = release / "lib/python3.11/site-packages/one.py"
    package.unlink()

    again = machine.make("install")

    assert again.returncode == 0, again.stderr
    assert machine.releases("/opt/millwatch") == [release]
    assert package.read_text() == "1\n"
    assert "built anew" in again.stdout
    assert "built anew" not in machine.make("install").stdout


def test_the_first_time_it_goes_where_the_readme_says_and_is_removed_from_there(
    machine: Machine,
) -> None:
    installed = machine.make("install")
    assert installed.returncode == 0, installed.stderr
    assert len(machine.releases("/opt/millwatch")) == 1

    removed = machine.make("uninstall")

    assert removed.returncode == 0, removed.stderr
    assert not (machine.root / "opt/millwatch").exists()


def test_a_purge_goes_to_its_end_where_disks_are_mounted_and_leaves_what_lies_on_a_share(
    machine: Machine,
) -> None:
    assert machine.make("install").returncode == 0
    disk = machine.root / "srv/millwatch"
    with filesystem(disk, size="1m"), filesystem(disk / "review", size="1m"):
        (disk / "of the disk").touch()
        (disk / "review/of the share").touch()
        purged = machine.make("uninstall", PURGE="1")
        left = [each.name for each in disk.rglob("*")]

    assert purged.returncode == 0, purged.stderr
    assert left == ["review", "of the share"]
    assert "images, but for what rm names above, where something is mounted." in purged.stdout
    assert not (machine.root / "etc/millwatch").exists()


@pytest.mark.parametrize("prefix", ["/opt/millwatch", "/srv/mw"])
def test_what_is_run_from_a_release_works_on_the_place_that_it_is_in(
    machine: Machine, prefix: str
) -> None:
    installed = machine.make("install", PREFIX=prefix)
    assert installed.returncode == 0, installed.stderr
    (release,) = machine.releases(prefix)

    removed = subprocess.run(
        [release / "share/millwatch/systemd/uninstall.sh"],
        env={"PATH": os.environ["PATH"], "DESTDIR": str(machine.root)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert removed.returncode == 0, removed.stderr
    assert not (machine.root / prefix.lstrip("/")).exists()


def test_the_services_user_may_read_it_whatever_the_umask_of_who_installs(machine: Machine) -> None:
    installed = machine.make("install", umask=0o077)

    assert installed.returncode == 0, installed.stderr
    everything = [each for each in machine.root.rglob("*") if not each.is_symlink()]
    shut = {each.name for each in everything if not each.stat().st_mode & 0o005}
    assert shut == {"millwatch.toml"}  # which the group may read
