"""Commands in this process: a process of its own costs seconds, to import torch."""

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.cli.main import main


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended and what it wrote."""

    status: int
    out: str
    err: str


class Millwatch:
    """`millwatch ARGUMENTS`, by the function that the console script calls."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str | Path, typed: str = "") -> Done:
        """As where `typed` is piped into it."""
        self._capture.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO(typed))
            with pytest.raises(SystemExit) as ended:
                main([str(argument) for argument in arguments])
        status = ended.value.code
        assert isinstance(status, int)
        captured = self._capture.readouterr()
        return Done(status=status, out=captured.out, err=captured.err)
