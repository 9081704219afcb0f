"""What one check of the doctor found."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

AS_WHOM: Final = "Run the doctor as root or as the service's user."


class State(StrEnum):
    """Whether something is to be done."""

    GOOD = "good"
    REMARK = "remark"
    """It works; somebody may want it otherwise."""
    BAD = "bad"


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One check, what it found, and what to do; nothing is to be done where all is good."""

    check: str
    state: State
    found: str
    remedy: str = ""


def good(check: str, found: str) -> Checked:
    return Checked(check=check, state=State.GOOD, found=found)


def remark(check: str, found: str, remedy: str) -> Checked:
    return Checked(check=check, state=State.REMARK, found=found, remedy=remedy)


def bad(check: str, found: str, remedy: str) -> Checked:
    return Checked(check=check, state=State.BAD, found=found, remedy=remedy)
