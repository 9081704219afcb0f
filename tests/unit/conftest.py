from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from delivered import DATA, delivery_of
from neu_det_trees import Tree
from numpy.typing import NDArray
from records import open_store

from daemon.store.database import Database
from daemon.values import Delivery
from training.synthetic import SURFACES, draw_surface


@pytest.fixture(scope="session")
def pictures() -> NDArray[np.uint8]:
    """Small ones of every surface."""
    names = [SURFACES[number % len(SURFACES)] for number in range(33)]
    drawn = [draw_surface(name, seed=i, height=64, width=64) for i, name in enumerate(names)]
    return np.stack(drawn)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """One faultless picture, so that leaving another out never leaves the set empty."""
    tree = Tree(tmp_path / "NEU-DET")
    tree.add("crazing_1.jpg")
    return tree


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    """A plant with everything a configuration needs: camera folders a and b, review, state."""
    for name in ("cameras/a", "cameras/b", "review", "state"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    database = open_store(tmp_path)
    yield database
    database.close()


@pytest.fixture
def delivery(tmp_path: Path) -> Delivery:
    """An image in a drop folder, to be moved to `target`."""
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop" / "x.jpg").write_bytes(DATA)
    return delivery_of(tmp_path / "drop" / "x.jpg")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where it goes: a name in the review folder."""
    (tmp_path / "review").mkdir()
    return tmp_path / "review" / "x.jpg"
