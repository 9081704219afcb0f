import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import Station
from commands import Millwatch
from kept import used_line
from pages import Page, open_page
from promoting import kept
from receivers import WebServer, listening


@pytest.fixture
def millwatch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Millwatch:
    """The commands, on a terminal that is wide enough, with no settings from the environment."""
    for name in os.environ:
        if name.startswith("MILLWATCH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "300")
    return Millwatch(capsys)


@pytest.fixture
def page(tmp_path: Path, model: Path) -> Iterator[Page]:
    """Of a line, to which a test adds images and users."""
    with open_page(tmp_path, model) as made:
        yield made


@pytest.fixture(scope="session")
def used(tmp_path_factory: pytest.TempPathFactory, commissioned_model: Path) -> Station:
    """For copies of it: nothing is done to this one."""
    return used_line(tmp_path_factory.mktemp("used"), commissioned_model)


@pytest.fixture
def second(station: Station, commissioned_model: Path) -> str:
    """A model of seven classes in the registry; its version."""
    return kept(station, commissioned_model, "tiny-7-0")


@pytest.fixture
def web() -> Iterator[WebServer]:
    """Who is told: a server that keeps what is posted to it."""
    server = WebServer()
    with listening(server):
        yield server
