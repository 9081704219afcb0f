"""What an upgrade asks before it changes anything, and what it leaves running."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_the_release_that_serves_is_known_though_a_folder_above_it_is_a_link(
    tmp_path: Path,
) -> None:
    (tmp_path / "disk/releases/1.0").mkdir(parents=True)
    (tmp_path / "opt").symlink_to("disk")
    ask = 'PREFIX=$1; switch_to "$PREFIX/releases/1.0"; current_release'

    asked = bash(ask, tmp_path / "opt", cwd=tmp_path)

    # An upgrade removes every other, by its name.
    assert asked.stdout == f"{tmp_path}/opt/releases/1.0\n", asked.stderr
