"""How a line's labelled images are divided: for good, whatever is labelled later."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from builders import surface_file
from PIL import Image

from models.preprocessing import UnreadableError, UnreadableReason, decode
from models.taxonomy import KNOWN_DEFECTS, NO_DEFECT
from training.retraining.labelled import Labelled, load_labelled
from training.retraining.run_folder import Label, RunError
from training.synthetic import draw_surface, encode

SIDE = 64


def write(folder: Path, number: int, data: bytes) -> Label:
    path = folder / f"{number}.png"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return Label(image_id=number, path=path, sha256=sha256, label=NO_DEFECT)


def surface(seed: int) -> bytes:
    return surface_file(NO_DEFECT, seed=seed, form="png")


def brightened(data: bytes) -> bytes:
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=np.float32)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels * 1.05 + 4, 0, 255).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def held_out(line: Labelled) -> dict[str, bool]:
    return {
        source.sha256: bool(out) for source, out in zip(line.sources, line.held_out, strict=True)
    }


def test_what_a_run_was_fitted_to_stays_fitted_when_an_older_near_copy_is_labelled(
    tmp_path: Path,
) -> None:
    first = [write(tmp_path, 1000 + number, surface(number)) for number in range(40)]
    before = held_out(load_labelled(first, KNOWN_DEFECTS, sides=[SIDE]))
    assert set(before.values()) == {True, False}
    copies = [write(tmp_path, number, brightened(surface(number))) for number in range(40)]

    alone = held_out(load_labelled([*first, *copies], KNOWN_DEFECTS, sides=[SIDE]))
    assert any(alone[sha256] != out for sha256, out in before.items())  # by their hashes alone
    after = load_labelled([*first, *copies], KNOWN_DEFECTS, sides=[SIDE], earlier=before)

    parts = held_out(after)
    assert {sha256: parts[sha256] for sha256 in before} == before
    of_group: dict[str, set[bool]] = {}
    for group, out in zip(after.groups, after.held_out, strict=True):
        of_group.setdefault(group, set()).add(bool(out))
    assert len(of_group) < 80
    assert all(len(sides) == 1 for sides in of_group.values())


def test_each_of_two_near_copies_stays_on_its_side_and_a_third_is_fitted(tmp_path: Path) -> None:
    """One was held out and one fitted before they were known to be nearly the same."""
    first = [write(tmp_path, number, surface(number)) for number in range(10)]
    copies = [write(tmp_path, 100 + number, brightened(surface(number))) for number in range(10)]
    thirds = [
        write(tmp_path, 200 + number, brightened(brightened(surface(number))))
        for number in range(10)
    ]
    earlier = {label.sha256: True for label in first} | {label.sha256: False for label in copies}
    line = load_labelled([*first, *copies, *thirds], KNOWN_DEFECTS, sides=[SIDE], earlier=earlier)
    assert len(set(line.groups)) == 10, "each and its two near-copies"
    assert held_out(line) == earlier | {label.sha256: False for label in thirds}


def test_labels_of_which_all_are_held_out_are_too_few_in_words(tmp_path: Path) -> None:
    some = [write(tmp_path, number, surface(number)) for number in range(40)]
    line = load_labelled(some, KNOWN_DEFECTS, sides=[SIDE])
    out = [source for source, is_out in zip(line.sources, line.held_out, strict=True) if is_out]
    with pytest.raises(RunError, match="belongs to the fifth that is held out; label more"):
        load_labelled(out, (*KNOWN_DEFECTS, NO_DEFECT), sides=[SIDE])


def test_pictures_that_end_in_black_are_learned_from_where_the_line_judged_them(
    tmp_path: Path,
) -> None:
    labels: list[Label] = []
    for number in range(20):
        pixels = draw_surface(NO_DEFECT, seed=number, height=200, width=200)
        pixels[:12] = 0  # a BMP ends with its topmost row
        labels.append(write(tmp_path, number, encode(pixels, "bmp")))
    with pytest.raises(UnreadableError, match=UnreadableReason.ZERO_TAIL.value):
        decode(labels[0].path.read_bytes())  # as without intake.allow_zero_tail
    line = load_labelled(labels, KNOWN_DEFECTS, sides=[SIDE])
    assert not line.skipped
    assert len(line.sources) == len(labels)
