"""`millwatch demo` as a newcomer runs it, with the model that ships."""

import re
from pathlib import Path

import pytest
from builders import run_cli

from daemon.cli.demo import ruled
from daemon.cli.options import CommandError
from daemon.retraining.gate import Outcome
from models.registry import PRETRAINED


@pytest.mark.timeout(300)
def test_demo_accounts_for_every_image_and_shows_what_it_measured(tmp_path: Path) -> None:
    done = run_cli("demo", "--seconds", "2", "--no-teach", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    account = re.search(r"(\d+) images dropped, (\d+) records, (\d+) files unchanged", done.stdout)
    assert account
    dropped, records, unchanged = map(int, account.groups())
    assert dropped == records == unchanged > 20
    assert re.search(r"median [\d.]+ ms", done.stdout)
    assert re.search(r"\d+ images/s", done.stdout)
    assert "no_defect" in done.stdout


def test_a_demo_whose_candidate_is_rejected_has_failed() -> None:
    assert ruled("m2: promote: it also knows no_defect") == ("m2", Outcome.PROMOTE)
    assert ruled("m2: needs_a_person: it is slower") == ("m2", Outcome.NEEDS_A_PERSON)
    for said in ("m2: reject: it misses more; promote: no", "there is nothing new to learn"):
        with pytest.raises(CommandError, match="may not serve"):
            ruled(said)


def test_shipped_model_fits_its_budget() -> None:
    assert (PRETRAINED / "model.safetensors").stat().st_size <= 25_000_000
    assert (PRETRAINED / "MODEL_CARD.md").exists()
    kept = {path.suffix for path in PRETRAINED.iterdir()}
    assert not kept & {".pth", ".pt", ".pkl"}
