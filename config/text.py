"""Text for people: file names that may hold bytes that no encoding explains, and shares."""

import re

# How Python carries a byte that is not UTF-8 in a file name (PEP 383), and any other lone surrogate.
_UNDECODABLE_BYTES = re.compile("[\udc80-\udcff]")
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
# C0, DEL, C1 and the Unicode line ends: each can break a line or drive a terminal.
_LINE_BREAKERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape_undecodable(text: str) -> str:
    r"""Return text that can be encoded: a byte that was not UTF-8 is shown as `\xNN`."""
    if text.isascii():
        return text
    text = _UNDECODABLE_BYTES.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text)
    return _LONE_SURROGATES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def as_one_line(text: str) -> str:
    r"""Return `text` on one line, fit for a terminal: line ends as `\n`, control bytes as `\xNN`."""
    return _LINE_BREAKERS.sub(_escape_control, escape_undecodable(text))


def _escape_control(found: re.Match[str]) -> str:
    character = found[0]
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    return f"\\x{ord(character):02x}" if character.isascii() else f"\\u{ord(character):04x}"


def counted(number: int, noun: str) -> str:
    """`1 image`, `2 images`, `2 classes`."""
    several = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{several}"


def percent(share: float, digits: int = 2) -> str:
    """A share of one, alike wherever it is read."""
    return f"{100 * share:.{digits}f} %"


def told_apart(value: float, limit: float) -> tuple[str, str]:
    """Both with three digits, or with as many as it takes to see that they differ."""
    shown = ((f"{value:.{digits}f}", f"{limit:.{digits}f}") for digits in range(3, 17))
    return next((pair for pair in shown if pair[0] != pair[1]), (str(value), str(limit)))
