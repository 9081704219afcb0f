import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")  # noqa: S108 -- another filesystem is what is wanted


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: fsync costs nothing there, and a kill is no power loss."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path / "here"
        return
    folder = Path(tempfile.mkdtemp(prefix="millwatch-test-", dir=MEMORY))
    yield folder
    shutil.rmtree(folder)
