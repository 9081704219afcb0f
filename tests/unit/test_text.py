"""Counts as people read them."""

import pytest

from config.text import counted


@pytest.mark.parametrize(
    ("number", "noun", "told"),
    [
        (0, "image", "0 images"),
        (1, "held-out image", "1 held-out image"),
        (2, "image", "2 images"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
    ],
)
def test_a_noun_agrees_with_its_count(number: int, noun: str, told: str) -> None:
    assert counted(number, noun) == told
