import os

import pytest
from commands import Millwatch


@pytest.fixture
def millwatch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Millwatch:
    """The commands, on a terminal that is wide enough, with no settings from the environment."""
    for name in os.environ:
        if name.startswith("MILLWATCH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "300")
    return Millwatch(capsys)
