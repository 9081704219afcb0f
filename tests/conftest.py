import socket
from pathlib import Path

import pytest
from builders import ALL_CLASSES, Station, write_model
from exports import Exported, write_exported


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the six defects: nothing passes."""
    return write_model(tmp_path_factory.mktemp("models") / "six")


@pytest.fixture(scope="session")
def commissioned_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that has learned `no_defect` as well."""
    return write_model(tmp_path_factory.mktemp("models") / "seven", ALL_CLASSES)


@pytest.fixture(scope="session")
def exported_model(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small model of two classes, which OpenVINO serves in INT8. Copy it to change it."""
    return write_exported(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def station(tmp_path: Path, model: Path) -> Station:
    return Station(root=tmp_path, model=model)


@pytest.fixture
def unused_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
