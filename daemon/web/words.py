"""What people read: why an image got its verdict, how sure the model is, times."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from daemon.reports.periods import Calendar
from daemon.reports.words import class_in_words, how_sure
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

_NOT_UNDERSTOOD: Final = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "list_type": "must be a list",
    "too_long": "must be at most {max_length} at a time",
    "json_invalid": "must be JSON",
    "model_attributes_type": "must be a JSON object, sent as application/json",
}


def not_understood(found: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with each part of a request, from what pydantic found."""
    told = []
    for each in found:
        where, *names = each["loc"]
        name = ".".join(map(str, names)) if each["type"] != "json_invalid" else ""
        words = _NOT_UNDERSTOOD.get(each["type"], "is not understood")
        told.append(f"{name or where} {words.format_map(each.get('ctx', {}))}")
    return "; ".join(told)


def why(verdict: str, reason: str, predicted_class: str | None, confidence: float | None) -> str:
    """One or two sentences for what is recorded of an image."""
    if verdict == Verdict.UNREADABLE.value or predicted_class is None or confidence is None:
        known = {each.value: text for each, text in _UNREADABLE.items()}
        return known.get(reason, "The model could not judge this picture.")
    name, sure = class_in_words(predicted_class), how_sure(confidence)
    match reason:
        case Reason.UNKNOWN.value:
            return (
                "This surface is unlike anything that the model was trained on. Of the classes "
                f"that it knows, {name} comes nearest ({sure})."
            )
        case Reason.COMMISSIONING.value:
            return (
                "The model has not learned yet what a sound surface of this line looks like, and "
                f"this is not enough like a defect that it knows; {name} comes nearest ({sure})."
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
