"""Whatever bytes come, `decode` gives a whole picture or says why not, soon and in little memory."""

import os
import time
from itertools import count
from pathlib import Path

import pytest
from fuzz.campaign import run_campaign
from fuzz.mutations import case
from fuzz.seeds import seeds

from models.preprocessing import FORMATS, UnreadableError, UnreadableReason, decode

SUITE_SEED = 20260101
SUITE_MUTATIONS = 1500
DEFAULT_SECONDS = "600"
NEVER_WHOLE = {
    "PNG animated": UnreadableReason.SEVERAL_PAGES,
    "TIFF pages": UnreadableReason.SEVERAL_PAGES,
    "WEBP animated": UnreadableReason.SEVERAL_PAGES,
    "TIFF floats": UnreadableReason.UNSUPPORTED,
    "TIFF group3": UnreadableReason.UNSUPPORTED,
    "TIFF group4": UnreadableReason.UNSUPPORTED,
    "TIFF tiff_ccitt": UnreadableReason.UNSUPPORTED,
    "TIFF lzma": UnreadableReason.UNSUPPORTED,
}


def test_the_files_to_be_broken_are_whole_pictures_of_every_format() -> None:
    refused = {}
    for name, data in seeds().items():
        try:
            decode(data)
        except UnreadableError as error:
            refused[name] = error.reason
    assert refused == NEVER_WHOLE
    assert {name.split()[0] for name in seeds()} == set(FORMATS)


def test_a_seed_and_an_iteration_always_give_the_same_broken_file() -> None:
    files = seeds()
    cases = [case(files, seed=3, iteration=iteration) for iteration in range(50)]
    again = seeds()
    assert cases == [case(again, seed=3, iteration=iteration) for iteration in range(50)]
    assert sum(one.data != files[one.origin] for one in cases) > 40


@pytest.mark.parametrize(
    ("decoder", "problem"),
    [
        ("dies", "death by SIGSEGV"),
        ("hangs", "more than 0.5 s"),
        ("grows", "took 14"),
        ("is_refused_memory", "MemoryError"),
        ("raises", "raised SyntaxError"),
        ("misshapes", "(3, 5)"),
        ("warns", "half of it is missing"),
    ],
)
def test_a_decoder_with_a_fault_is_found_out_and_its_input_kept(
    decoder: str, problem: str, tmp_path: Path
) -> None:
    name = f"fuzz.bad_decoders:{decoder}"
    limit = 0.5 if decoder == "hangs" else 5.0
    tally = run_campaign(1, range(3), folder=tmp_path, seconds=limit, decoder=name)
    assert len(tally.findings) == tally.count == 3
    assert all(problem in finding for finding in tally.findings)
    files = seeds()
    kept = [(tmp_path / f"1-{n}.bin").read_bytes() for n in range(3)]
    assert kept == [case(files, seed=1, iteration=n).data for n in range(3)]


@pytest.mark.fault(52, 53)
def test_no_broken_file_does_harm(tmp_path: Path) -> None:
    tally = run_campaign(SUITE_SEED, range(SUITE_MUTATIONS), folder=tmp_path)
    assert tally.findings == []
    assert tally.count == SUITE_MUTATIONS
    assert tally.outcomes["decoded"] > SUITE_MUTATIONS // 10  # they reach the decoders
    assert {"truncated", "not_an_image", "unsupported"} <= set(tally.outcomes)


@pytest.mark.fuzz
@pytest.mark.timeout(0)
def test_no_broken_file_does_harm_for_as_long_as_one_likes(tmp_path: Path) -> None:
    seed = int(os.environ.get("FUZZ_SEED", time.time_ns() // 1_000_000_000))
    end = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", DEFAULT_SECONDS))
    only = os.environ.get("FUZZ_ITERATION")
    iterations = [int(only)] if only else count()
    print(f"\nFUZZ_SEED={seed}")
    tally = run_campaign(seed, iterations, folder=tmp_path, go_on=lambda: time.monotonic() < end)
    print(tally.report())
    print(f"One again: FUZZ_SEED={seed} FUZZ_ITERATION=<number> make fuzz")
    assert tally.findings == []
