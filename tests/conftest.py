import socket
from pathlib import Path

import pytest
from builders import ALL_CLASSES, Station, write_model
from exports import Exported, write_exported
from hypothesis import settings
from once import made_once

# A busy disk or a slow processor is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the six defects: nothing passes."""
    return made_once(tmp_path_factory, "six", write_model)


@pytest.fixture(scope="session")
def commissioned_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that has learned `no_defect` as well."""
    return made_once(tmp_path_factory, "seven", lambda folder: write_model(folder, ALL_CLASSES))


@pytest.fixture(scope="session")
def exported_model(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small model of two classes, which OpenVINO serves in INT8. Copy it to change it."""
    return Exported(made_once(tmp_path_factory, "exported", write_exported))


@pytest.fixture
def station(tmp_path: Path, model: Path) -> Station:
    return Station(root=tmp_path, model=model)


@pytest.fixture
def unused_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
