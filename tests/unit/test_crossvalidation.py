from pathlib import Path

import numpy as np
import pytest
from filesystems import no_file_larger

from training.crossvalidate import Crossvalidation
from training.judging.evaluate import Rate, evaluate


def test_figures_that_no_disk_has_room_for_leave_those_before(tmp_path: Path) -> None:
    logits = np.array([[2, 0], [0, 2]], np.float32)
    figures = Crossvalidation(
        pooled=evaluate(logits, np.array([0, 1]), ("crazing", "scratches")),
        numbers=[1],
        folds=[Rate.measured(2, 2)],
        called_unknown=Rate.measured(0, 2),
        mistakes=[],
        corruptions={},
        pointing=None,
        foreign=[],
    )
    path = tmp_path / "crossvalidation.json"
    path.write_text("those before")
    with no_file_larger(100), pytest.raises(OSError, match="File too large"):
        figures.save(path)
    assert path.read_text() == "those before"
    assert list(tmp_path.iterdir()) == [path]
