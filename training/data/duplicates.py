"""Finds pictures that are nearly the same: stored again, brightened, moved a little, mirrored.

Two steps. A coarse one compares every picture with every other by matrix products and keeps the
pairs that might be. A fine one slides one picture of such a pair over the other and takes the best
normalised correlation (Lewis 1995, "Fast Normalized Cross-Correlation").

What unrelated surfaces share is taken out first: the light (a local mean); for the fine step also
what runs straight across or down (the median of each row and column), and what stands out is cut,
as two scratches along the strip correlate like copies and are not.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

SIDE: Final = 100
ALIKE: Final = 0.55
"""NEU-DET has 25 pairs over it, each one piece of steel by eye; the first that is not has 0.47."""
_COARSE: Final = 4
"""Cells of a fingerprint to one of the coarse step, along each side."""
_MAYBE: Final = 0.4
_FARTHEST: Final = 8
"""How far a picture may have moved, in hundredths of its side."""
_FAINTEST: Final = 0.3
"""Grey levels. With less contrast than this the rest is noise, and nothing can be told."""
_CUT: Final = 2.5
"""Times the median absolute value. Without it one slanted scratch correlates 0.8 with another."""
_MIDDLE: Final = SIDE - 2 * _FARTHEST
_FLOOR: Final = _MIDDLE**2 * _FAINTEST**2 / 4
_BLOCK: Final = 256


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two indices, the first the smaller, and their correlation, at most 1."""

    first: int
    second: int
    likeness: float


def fingerprint(pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
    """What of a grey picture `(height, width)` is compared: float16 `(SIDE, SIDE)`."""
    small = Image.fromarray(pixels.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float16)


def near_duplicates(
    fingerprints: Sequence[NDArray[np.float16]], *, alike: float = ALIKE
) -> list[Pair]:
    """Every pair of pictures whose correlation is `alike` or more, at the best of the small moves.

    Takes seconds for some thousand pictures; time grows with the square of their number.
    """
    if len(fingerprints) < 2:
        return []
    pictures = np.stack(fingerprints).astype(np.float32)
    fine = _cut(_without_lines(_without_light(_local_mean(pictures, 1), 5)))
    seen = fine.std(axis=(1, 2)) >= _FAINTEST
    cells = pictures.reshape(len(pictures), SIDE // _COARSE, _COARSE, SIDE // _COARSE, _COARSE)
    coarse = _without_light(cells.mean(axis=(2, 4)), 3)
    spread = _spread(fine)
    found: list[Pair] = []
    for first, second, mirror in _candidates(coarse, seen):
        right, places = _mirrored(fine[second], mirror), _mirrored(spread[second], mirror)
        likeness = _aligned(fine[first], right, places)
        found += [
            Pair(first=int(i), second=int(j), likeness=float(value))
            for i, j, value in zip(first, second, likeness, strict=True)
            if value >= alike
        ]
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def grouped(count: int, pairs: Iterable[Pair]) -> list[list[int]]:
    """The indices under `count`, those that a chain of pairs connects in one group."""
    leader = list(range(count))

    def lead(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    for pair in pairs:
        leader[lead(pair.second)] = lead(pair.first)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(count):
        groups[lead(index)].append(index)
    return list(groups.values())


def _candidates(
    coarse: Floats, seen: NDArray[np.bool_]
) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64], int]]:
    """Blocks of pairs that may be alike, with the mirror under which they are most alike."""
    side = coarse.shape[1] - 2
    inner = _unit(coarse[:, 1:-1, 1:-1])
    moved = [
        [_unit(_mirrored(coarse, mirror)[:, y : y + side, x : x + side]) for y, x in _moves()]
        for mirror in range(4)
    ]
    for begin in range(0, len(coarse), _BLOCK):
        rows = inner[begin : begin + _BLOCK]
        best = np.stack([np.max([rows @ each.T for each in some], axis=0) for some in moved])
        later = np.arange(len(coarse)) > np.arange(begin, begin + len(rows))[:, None]
        both = seen[begin : begin + _BLOCK, None] & seen[None, :] & later
        first, second = np.nonzero((best.max(axis=0) >= _MAYBE) & both)
        mirrors = best.argmax(axis=0)[first, second]
        for mirror in range(4):
            chosen = np.flatnonzero(mirrors == mirror)
            for at in range(0, len(chosen), _BLOCK):
                some = chosen[at : at + _BLOCK]
                yield first[some] + begin, second[some], mirror


def _moves() -> list[tuple[int, int]]:
    return [(y, x) for y in range(3) for x in range(3)]


def _aligned(left: Floats, right: Floats, spread: Floats) -> Floats:
    """The best correlation `(N,)` of the middle of each left picture with a place in the right."""
    middle = left[:, _FARTHEST:-_FARTHEST, _FARTHEST:-_FARTHEST]
    middle = middle - middle.mean(axis=(1, 2), keepdims=True)
    size = (SIDE, SIDE)
    spectrum = np.fft.rfft2(right) * np.fft.rfft2(middle, size).conj()
    places = slice(0, 2 * _FARTHEST + 1)
    products = np.fft.irfft2(spectrum, size)[:, places, places]
    energy = np.maximum((middle**2).sum(axis=(1, 2)), _FLOOR)[:, None, None]
    best: Floats = (products / np.sqrt(spread * energy)).max(axis=(1, 2)).astype(np.float32)
    return best


def _spread(pictures: Floats) -> Floats:
    """The sum of squares about the mean, at each place that a middle can be slid to."""
    squares = _window_sums(pictures**2, _MIDDLE) - _window_sums(pictures, _MIDDLE) ** 2 / _MIDDLE**2
    return np.maximum(squares, _FLOOR).astype(np.float32)


def _mirrored(pictures: Floats, mirror: int) -> Floats:
    """0 as it is, 1 left to right, 2 upside down, 3 both."""
    return pictures[:, :: -1 if mirror & 2 else 1, :: -1 if mirror & 1 else 1]


def _without_light(pictures: Floats, radius: int) -> Floats:
    return pictures - _local_mean(pictures, radius)


def _without_lines(pictures: Floats) -> Floats:
    """By medians: the mean of a column that a slanted scratch crosses would leave a ghost of it."""
    left = pictures - np.median(pictures, axis=2, keepdims=True)
    rest: Floats = left - np.median(left, axis=1, keepdims=True)
    return rest


def _cut(pictures: Floats) -> Floats:
    most = _CUT * np.median(np.abs(pictures), axis=(1, 2), keepdims=True)
    return np.clip(pictures, -most, most).astype(np.float32)


def _local_mean(pictures: Floats, radius: int) -> Floats:
    width = 2 * radius + 1
    padded = np.pad(pictures, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    return (_window_sums(padded, width) / width**2).astype(np.float32)


def _window_sums(pictures: Floats, window: int) -> NDArray[np.float64]:
    """Over every square of so many cells a side, by running sums (in float64, as they grow)."""
    sums = np.pad(pictures.cumsum(1, dtype=np.float64).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    far, near = slice(window, None), slice(None, -window)
    inside: NDArray[np.float64] = (
        sums[:, far, far] - sums[:, near, far] - sums[:, far, near] + sums[:, near, near]
    )
    return inside


def _unit(pictures: Floats) -> Floats:
    """Rows `(N, cells)` of mean 0 and length 1, so that a product of two is their correlation."""
    rows = pictures.reshape(len(pictures), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return unit
