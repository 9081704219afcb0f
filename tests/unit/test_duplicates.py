"""Pictures that are nearly the same."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.preprocessing import decode
from training.data.duplicates import Pair, fingerprint, grouped, near_duplicates
from training.synthetic import draw_surface, encode

Picture = NDArray[np.uint8]
SURFACES = ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale")


def surface(name: str, seed: int = 1) -> Picture:
    return draw_surface(name, seed=seed, height=208, width=208)  # type: ignore[arg-type]


def stored_again(picture: Picture) -> Picture:
    return decode(encode(picture, "jpeg")).pixels


def brightened(picture: Picture) -> Picture:
    return np.clip(picture * 1.15 + 10, 0, 255).astype(np.uint8)


def lit_from_the_side(picture: Picture) -> Picture:
    light = np.linspace(0.7, 1.2, picture.shape[1])
    return np.clip(picture * light, 0, 255).astype(np.uint8)


CHANGES = {
    "stored again": stored_again,
    "brightened": brightened,
    "lit from the side": lit_from_the_side,
    "mirrored": lambda picture: picture[:, ::-1],
    "upside down": lambda picture: picture[::-1],
    "at half the size": lambda picture: picture[::2, ::2],
}


def likeness(first: Picture, second: Picture) -> float:
    pairs = near_duplicates([fingerprint(first), fingerprint(second)], alike=-1.0)
    return pairs[0].likeness if pairs else 0.0


@pytest.mark.parametrize("name", SURFACES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(name: str, change: str) -> None:
    original = surface(name)[:200, :200]
    changed = np.ascontiguousarray(CHANGES[change](original))
    assert len(near_duplicates([fingerprint(original), fingerprint(changed)])) == 1


@pytest.mark.parametrize("pixels", [2, 3, 5, 8])
@pytest.mark.parametrize("name", SURFACES)
def test_a_copy_that_moved_by_a_few_pixels_is_found(name: str, pixels: int) -> None:
    steel = surface(name)
    moved = steel[pixels : 200 + pixels, pixels // 2 : 200 + pixels // 2]
    assert len(near_duplicates([fingerprint(steel[:200, :200]), fingerprint(moved)])) == 1


def test_other_pictures_of_the_same_kind_are_not_taken_for_copies() -> None:
    kinds = (*SURFACES, "scratches", "no_defect")
    fingerprints = [fingerprint(surface(name, seed)) for name in kinds for seed in range(8)]
    assert near_duplicates(fingerprints) == []


def test_two_scratches_along_the_strip_under_one_light_are_not_copies() -> None:
    rng = np.random.default_rng(0)

    def scratched() -> Picture:
        steel = rng.normal(90, 6, (200, 200)) + np.linspace(0, 40, 200)
        steel[:, 100:104] += 120
        return np.clip(steel, 0, 255).astype(np.uint8)

    assert near_duplicates([fingerprint(scratched()), fingerprint(scratched())]) == []


def test_a_slanted_scratch_does_not_make_two_pictures_copies() -> None:
    rng = np.random.default_rng(0)

    def scratched() -> Picture:
        steel = rng.normal(90, 6, (200, 200))
        across = 90 + np.arange(200) // 8
        for width in range(4):
            steel[np.arange(200), across + width] += 120
        return np.clip(steel, 0, 255).astype(np.uint8)

    assert likeness(scratched(), scratched()) < 0.5


def test_pictures_without_contrast_are_not_copies_of_each_other() -> None:
    flat = [fingerprint(np.full((200, 200), level, dtype=np.uint8)) for level in (40, 40, 200)]
    assert near_duplicates(flat) == []


def test_pairs_are_found_across_the_blocks_that_they_are_compared_in() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (100, 100), dtype=np.uint8) for _ in range(520)]
    pictures[515] = brightened(pictures[3])
    pictures[519] = np.ascontiguousarray(pictures[300][:, ::-1])
    pairs = near_duplicates([fingerprint(picture) for picture in pictures])
    assert [(pair.first, pair.second) for pair in pairs] == [(3, 515), (300, 519)]


def test_what_a_chain_of_pairs_connects_is_one_group() -> None:
    pairs = [Pair(first=a, second=b, likeness=1.0) for a, b in ((0, 4), (2, 3), (3, 4))]
    assert sorted(map(sorted, grouped(6, pairs))) == [[0, 2, 3, 4], [1], [5]]


def test_one_picture_or_none_has_no_copies() -> None:
    assert near_duplicates([]) == []
    assert near_duplicates([fingerprint(surface("crazing"))]) == []
