"""What an upgrade asks before it changes anything, and what it leaves running."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filesystems import hanging

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed here")


def bash(script: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A few lines that begin with the words of `common.sh`."""
    return subprocess.run(
        ["bash", "-euc", f'. "{SYSTEMD}/common.sh"\n{script}', "bash", *map(str, arguments)],
        cwd=cwd,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """One that serves: this one."""
    program(tmp_path / "release/bin/python", f'exec "{sys.executable}" "$@"')
    return tmp_path / "release"


def test_a_release_is_asked_for_its_own_mind_wherever_make_upgrade_is_called(
    tmp_path: Path, release: Path
) -> None:
    tree = tmp_path / "next"  # which knows one key more
    shutil.copytree(ROOT / "config", tree / "config")
    settings = tree / "config/settings.py"
    field = '    colour: str = Field(default="", description="Of the next release.")\n'
    known = "    state_dir: AbsolutePath"
    settings.write_text(settings.read_text().replace(known, field + known, 1))
    config = tmp_path / "millwatch.toml"
    config.write_text(f'state_dir = "{tmp_path}"\n')
    ask = 'CONFIG=$1; setting "$2" database_file'
    assert bash(ask, config, release, cwd=tree).stdout == f"{tmp_path}/millwatch.db\n"

    config.write_text(f'colour = "blue"\nstate_dir = "{tmp_path}"\n')

    assert bash(ask, config, release, cwd=tree).returncode != 0


def test_a_bundle_makes_one_release_wherever_it_is_unpacked(tmp_path: Path) -> None:
    for name in ("usb", "home"):
        (tmp_path / name).mkdir()
        shutil.copy(ROOT / "requirements-line.lock", tmp_path / name / "requirements.lock")
    ask = 'TORCH_BACKEND=cpu; for WHEELS in "$@"; do release_id; done'

    there, elsewhere = bash(ask, tmp_path / "usb", tmp_path / "home", cwd=tmp_path).stdout.split()

    assert there == elsewhere
    with (tmp_path / "home/requirements.lock").open("a") as lock:
        lock.write("# another\n")
    assert bash(ask, tmp_path / "home", cwd=tmp_path).stdout.strip() != there


def test_documents_that_changed_are_another_release(tmp_path: Path) -> None:
    """They are installed with it, and read there by the one who keeps the line."""
    for part in ("systemd", "docs", "config"):
        shutil.copytree(ROOT / part, tmp_path / part)
    for file in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / file, tmp_path / file)
    shutil.copy(ROOT / "requirements-line.lock", tmp_path)
    ask = "SOURCE=$1 PACKAGES=(config) TORCH_BACKEND=; release_id"
    before = bash(ask, tmp_path, cwd=tmp_path).stdout

    with (tmp_path / "docs/operator.md").open("a") as page:
        page.write("One key more.\n")

    assert before not in ("", bash(ask, tmp_path, cwd=tmp_path).stdout)


def test_the_release_that_serves_is_known_though_a_folder_above_it_is_a_link(
    tmp_path: Path,
) -> None:
    (tmp_path / "disk/releases/1.0").mkdir(parents=True)
    (tmp_path / "opt").symlink_to("disk")
    ask = 'PREFIX=$1; switch_to "$PREFIX/releases/1.0"; current_release'

    asked = bash(ask, tmp_path / "opt", cwd=tmp_path)

    # An upgrade removes every other, by its name.
    assert asked.stdout == f"{tmp_path}/opt/releases/1.0\n", asked.stderr


@pytest.mark.fault(28)
def test_a_review_folder_on_a_share_that_hangs_keeps_no_line_standing_still(
    tmp_path: Path, release: Path
) -> None:
    program(release / "bin/millwatch", "exit 78")  # as `check` ends there
    config = tmp_path / "millwatch.toml"
    config.write_text(f'[review]\nfolder = "{tmp_path}/share/review"\n')
    (tmp_path / "share").mkdir()
    configure = 'CONFIG=$1; apply_configuration "$2"; say "it is started"'

    with hanging(tmp_path / "share"):
        done = bash(configure, config, release, cwd=tmp_path)

    told = f"{tmp_path}/share/review does not answer; it is not waited for\nit is started\n"
    assert (done.returncode, done.stdout) == (0, told), done.stderr


class Upgrade:
    """`upgrade.sh` to a release that never becomes ready, with systemd's answers noted and not asked for."""

    SCRIPT = """
    PREFIX=$1
    . "$3/upgrade.sh"
    CONFIG=$2
    must_be_root() { :; }
    has_systemd() { :; }
    as_millwatch() { "$@"; }
    journalctl() { say "journalctl"; }
    systemctl() { say "systemctl $*"; [ "$*" != "start millwatch.service" ] || [ "$serves" = one ]; }
    put_in_service() { say "put in service"; serves=$(basename "$1"); [ "$serves" != "$refused" ]; }
    cp -r "$PREFIX/releases/one" "$PREFIX/releases/$(TORCH_BACKEND= release_id)"
    main
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        one = root / "releases/one"
        program(one / "bin/python", f'exec "{sys.executable}" "$@"')
        program(one / "bin/millwatch", "exit 0")
        program(one / "share/millwatch/systemd/configure.sh", "exit 0")
        (root / "current").symlink_to("releases/one")
        (root / "millwatch.toml").write_text(f'state_dir = "{root}"\n')

    def run(self, *, refused: str = "") -> list[str]:
        """What was done.

        Args:
            refused: the release that cannot be put in service, as where the disk is full.
        """
        arguments = (self._root, self._root / "millwatch.toml", SYSTEMD)
        done = bash(f"refused={refused}\n{self.SCRIPT}", *arguments, cwd=self._root)
        assert done.returncode != 0
        return done.stdout.splitlines()


def test_a_release_that_does_not_become_ready_is_stopped_before_anything_else(
    tmp_path: Path,
) -> None:
    """Systemd starts it again by itself, and it might judge images that the backup does not know."""
    done = Upgrade(tmp_path).run()

    failed = done.index("systemctl start millwatch.service")
    assert done[failed + 1] == "systemctl stop millwatch.service"
    assert done[-2:] == ["put in service", "systemctl start millwatch.service"]


def test_whatever_ends_the_way_back_the_line_is_started(tmp_path: Path) -> None:
    done = Upgrade(tmp_path).run(refused="one")

    assert done[-2:] == [
        "systemctl start millwatch-retrain.path",
        "systemctl start millwatch.service",
    ]
