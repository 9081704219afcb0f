"""What people read: why an image got its verdict, how sure the model is, times."""

from datetime import datetime
from typing import Final

from daemon.reports.periods import Calendar
from daemon.reports.words import class_in_words
from models.preprocessing import UnreadableReason
from models.taxonomy import Reason, Verdict

_UNREADABLE: Final = {
    UnreadableReason.EMPTY: "The file has no bytes.",
    UnreadableReason.NOT_AN_IMAGE: "The file is not a picture.",
    UnreadableReason.TRUNCATED: "The file ends before the picture does.",
    UnreadableReason.ZERO_TAIL: "The end of the file was never written: it is all zeros.",
    UnreadableReason.TOO_MANY_PIXELS: "The picture has more pixels than intake.max_pixels allows.",
    UnreadableReason.TOO_MANY_BYTES: "The file is larger than intake.max_bytes allows.",
    UnreadableReason.SEVERAL_PAGES: "The file holds several pictures; one is expected.",
    UnreadableReason.UNSUPPORTED: "The picture is of a kind that Millwatch has no rule for.",
    UnreadableReason.CRASHES: "The program that reads pictures died of this one.",
}


def percent(share: float) -> str:
    """A confidence; never rounded up to certainty."""
    return f"{int(share * 100)} %" if share < 1 else "100 %"


def why(verdict: str, reason: str, predicted_class: str | None, confidence: float | None) -> str:
    """One or two sentences for what is recorded of an image."""
    if verdict == Verdict.UNREADABLE.value or predicted_class is None or confidence is None:
        known = {each.value: text for each, text in _UNREADABLE.items()}
        return known.get(reason, "The model could not judge this picture.")
    name, sure = class_in_words(predicted_class), percent(confidence)
    match reason:
        case Reason.UNKNOWN.value:
            return (
                "This surface is unlike anything that the model was trained on. Of the classes "
                f"that it knows, {name} comes nearest ({sure})."
            )
        case Reason.COMMISSIONING.value:
            return (
                "The model has not learned yet what a sound surface of this line looks like, and "
                f"this is not much like a defect that it knows. Nearest is {name} ({sure})."
            )
        case Reason.LOW_CONFIDENCE.value:
            return f"It looks most like {name}, but the model is only {sure} sure."
        case _:
            passed = verdict == Verdict.PASS.value
            end = " and it passed; it is shown to find what the model misses" if passed else ""
            return f"The model is {sure} sure that this is {name}{end}."


def duration(milliseconds: float) -> str:
    """A time that people can read from afar."""
    if milliseconds < 10_000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def local_time(moment: str | None, calendar: Calendar) -> str:
    """A time of the database in the plant's own zone."""
    if not moment:
        return ""
    return f"{calendar.there(datetime.fromisoformat(moment)):%Y-%m-%d %H:%M:%S}"
