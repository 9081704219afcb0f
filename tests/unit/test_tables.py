"""Tables of commands: nothing in them is cut, on a narrow terminal and in a pipe."""

import re

import numpy as np
import pytest

from daemon.cli.options import console_of_answers, table_of_answers
from daemon.cli.showing import print_evaluation
from training.judging.evaluate import ClassFigures, Evaluation, evaluate

PATH = "/srv/review/to_check/rolled-in_scale/2026-03-02/" + "x" * 90 + ".jpg"


def columns(printed: str) -> list[str]:
    """The text of each column, its lines put together."""
    lines = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│")]
    return ["".join(cell.strip() for cell in column) for column in zip(*lines, strict=True)]


@pytest.mark.parametrize("width", ["80", None])
def test_what_does_not_fit_goes_on_in_the_next_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str | None
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if width:
        monkeypatch.setenv("COLUMNS", width)
    table = table_of_answers("image", "path", "version")
    table.add_row("7", PATH, "20261126-044910-2be12cf5")
    console_of_answers().print(table)
    assert columns(capsys.readouterr().out) == ["7", PATH, "20261126-044910-2be12cf5"]


def test_classes_that_begin_alike_are_told_apart_and_none_is_taken_for_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = ("scratches_light", "scratches_deep", "[/red]")
    figures = ClassFigures(images=1, precision=1.0, recall=1.0)
    evaluation = Evaluation(
        images=3,
        accuracy=1.0,
        accuracy_interval=(0.3, 1.0),
        expected_calibration_error=0.0,
        classes=dict.fromkeys(names, figures),
        confusion=[[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        cross_entropy=0.1,
        mistakes=[],
    )
    print_evaluation(evaluation)
    out = capsys.readouterr().out
    heads = re.search(r"┏.*?\n(.*?)\n┡", out, re.DOTALL)
    assert heads is not None
    told = [line.strip("┃").split("┃") for line in heads[1].splitlines()]
    joined = ["".join(cell.strip() for cell in column) for column in zip(*told, strict=True)]
    assert joined[-3:] == list(names)


def test_of_no_image_no_share_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Two classes without a test image, and one of them never named: neither was judged."""
    names = ("crazing", "patches", "scratches")
    logits = np.eye(3, dtype=np.float32)[[0, 0, 2]]
    print_evaluation(evaluate(logits, np.zeros(3, np.int64), names))
    assert columns(capsys.readouterr().out)[:3] == [
        "crazingpatchesscratches",
        "1.000-0.000",
        "0.667--",
    ]
