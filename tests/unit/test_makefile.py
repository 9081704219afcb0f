"""`make` sets up one environment, and keeps the PyTorch that it was made with."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("Makefile", "pyproject.toml", "requirements.lock")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed here")


def make(folder: Path, *arguments: str) -> str:
    """What it says, whatever the `make` was told that runs this suite."""
    told = {"TORCH_BACKEND", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS"}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key not in told},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def would_run(folder: Path, *arguments: str) -> str:
    return make(folder, "--dry-run", *arguments)


def test_an_environment_keeps_the_pytorch_that_it_was_made_with(tmp_path: Path) -> None:
    for name in SOURCES:
        shutil.copy(ROOT / name, tmp_path)
    assert "--require-hashes" in would_run(tmp_path, "test")
    made = tmp_path / ".venv" / ".ready-cpu"
    made.parent.mkdir()
    made.touch()
    assert "pip install" not in would_run(tmp_path, "test")
    os.utime(made, (0, 0))  # the lock has changed since
    assert "--torch-backend=cpu" in would_run(tmp_path, "test")
    assert "--require-hashes" in would_run(tmp_path, "test", "TORCH_BACKEND=")
    assert "--torch-backend=xpu" in would_run(tmp_path, "test", "TORCH_BACKEND=xpu")


def test_what_is_installed_for_the_line_does_not_follow_from_that(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    made = tmp_path / ".venv" / ".ready-cpu"
    made.parent.mkdir()
    made.touch()
    (tmp_path / "systemd").mkdir()
    script = tmp_path / "systemd" / "install.sh"
    script.write_text('#!/bin/sh\necho "backend: ${TORCH_BACKEND:-none}"\n')
    script.chmod(0o755)
    assert "backend: none" in make(tmp_path, "install")
    assert "backend: cpu" in make(tmp_path, "install", "TORCH_BACKEND=cpu")
