"""The classes that Millwatch knows by name, and the words for what it decides."""

import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final
from unicodedata import normalize

KNOWN_DEFECTS: Final[tuple[str, ...]] = (
    "crazing",
    "inclusion",
    "patches",
    "pitted_surface",
    "rolled-in_scale",
    "scratches",
)
"""The six defects of NEU-DET, in the order of the shipped network's outputs."""

NO_DEFECT: Final = "no_defect"
"""The normal class that every plant is offered from its first day."""

NAMED_CLASSES: Final = (*KNOWN_DEFECTS, NO_DEFECT)
"""The classes that have a name before anybody labels anything."""

UNKNOWN: Final = "unknown"
"""Where an image goes that is unlike anything in training. Never a class of a network."""


@lru_cache(maxsize=1024)
def as_read(name: str) -> str:
    """What people hardly tell apart is alike: the page shows `no_defect` as "no defect"."""
    return " ".join(re.split(r"[-_\s]+", normalize("NFKC", name).casefold()))


def known_name(name: str, known: Sequence[str] = NAMED_CLASSES) -> str:
    """`rolled-in_scale` for "Rolled-in scale"; a name that reads like none of those known, as it is."""
    if name in known:
        return name
    return next((each for each in known if as_read(each) == as_read(name)), name)


class Verdict(StrEnum):
    """What happens to an image. Closed: reports and the database count on these four."""

    PASS = "pass"  # noqa: S105 -- a verdict, not a password
    DEFECT = "defect"
    UNSURE = "unsure"
    UNREADABLE = "unreadable"


class Reason(StrEnum):
    """Why a readable image got its verdict."""

    CONFIDENT = "confident"
    """Sure enough of its class for the verdict `defect` or `pass`."""
    LOW_CONFIDENCE = "low_confidence"
    """Below the threshold of its class."""
    UNKNOWN = "unknown"
    """Unlike anything that the network was trained on."""
    COMMISSIONING = "commissioning"
    """Not sure, and the network has not yet learned what a clean surface of this plant is."""
    SAMPLE = "sample"
    """It passed, and was drawn to be looked at all the same, so that missed defects are seen."""
