"""The README's commands, run as they stand."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builders import Station, clean_environment
from commands import Millwatch

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"(<!-- [^\n]+ -->\n)?```sh\n(.*?)```", README, flags=re.DOTALL)
RUN = "<!-- run -->\n"
SHELL = set("|&;<>$*`~")
"""What only a shell understands. Other commands run in this process, as imports take seconds."""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Station:
    """A station that has judged a few images, laid out as the README's commands expect."""
    # As on a line: each command is a process of its own, and to import torch takes it seconds.
    tables = {"model": {"runtime": "openvino"}}
    station = Station(root=tmp_path_factory.mktemp("readme"), model=model, tables=tables)
    station.drop_surfaces(6)
    with station.running():
        station.wait_for_images(6)
    shutil.copytree(ROOT / "docs/examples", station.root / "docs/examples")
    return station


def commands() -> list[str]:
    return [
        command.strip()
        for marker, block in BLOCKS
        if marker == RUN
        for command in block.strip().splitlines()
    ]


def test_every_block_of_commands_is_run_or_says_why_not() -> None:
    silent = [block for marker, block in BLOCKS if marker != RUN and "not run:" not in marker]
    assert silent == ["make demo\n"]  # untaught by tests/acceptance: taught, it takes over a minute
    assert len(commands()) >= 5


@pytest.mark.parametrize("command", commands())
def test_command_of_the_readme_works(
    command: str,
    line: Station,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if command.startswith("sqlite3") and shutil.which("sqlite3") is None:
        pytest.skip("the sqlite3 program is not installed (Debian: apt install sqlite3)")
    program, *arguments = shlex.split(command, comments=True)
    if program == "millwatch" and not SHELL & set(command.partition("#")[0]):
        for name in os.environ.keys() - clean_environment().keys():
            monkeypatch.delenv(name)
        monkeypatch.chdir(line.root)
        here = Millwatch(capsys)(*arguments)
        status, out, err = here.status, here.out, here.err
    else:
        status, out, err = in_a_shell(command, line.root)
    assert status == 0, err
    assert out.strip()


def test_the_command_is_installed_under_its_name(line: Station) -> None:
    status, out, err = in_a_shell("millwatch --help", line.root)
    assert status == 0, err
    assert "Usage: millwatch" in out


def in_a_shell(command: str, folder: Path) -> tuple[int, str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**clean_environment(), "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_every_source_file_has_its_line() -> None:
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "--",
            "config",
            "models",
            "training",
            "daemon",
            "migrations",
            "systemd",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout: there is no list of the project's own files")
    sources = [name for name in listed.stdout.split() if name.endswith(".py")]
    named = set(re.findall(r"`([\w./-]+\.py)`", README))
    assert [s for s in sources if s not in named and not s.endswith("__init__.py")] == []
    assert sorted(named - set(sources)) == []
    folders = {str(Path(name).parent) for name in sources if name.startswith("daemon/")}
    assert set(re.findall(r"^\*\*(daemon[\w/]*)/\*\*", README, flags=re.MULTILINE)) == folders
