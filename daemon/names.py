r"""File names as text, without loss.

A name on Linux is bytes; a database, JSON and a terminal want text. Bytes that are not UTF-8 are
written as `\xNN`, and the backslash of a name that really contains such four characters as `\x5c`.
Everything else, newlines included, stays as it is.
"""

import functools
import os
import re
from collections.abc import Iterable
from fnmatch import translate
from typing import Final

LEAVING: Final = ".leaving"
"""How the name ends that a file has on its way out of a drop folder."""
_LITERAL = re.compile(rb"\\x([0-9a-f]{2})")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_MARKED = re.compile(rb"\0(..)")


def to_text(name: str | os.PathLike[str]) -> str:
    """A name from the file system (undecodable bytes as surrogates) to text that holds no surrogate."""
    text = os.fspath(name)
    if text.isascii() and "\\" not in text:  # as good as every name
        return text
    # By way of the bytes: what Python made of them depends on the locale, and the text must not.
    raw = os.fsencode(name)
    return _LITERAL.sub(rb"\\x5cx\1", raw).decode("utf-8", "backslashreplace")


def from_text(text: str) -> str:
    """The name that `to_text` was given."""
    if text.isascii() and "\\" not in text:
        return text
    raw = _ESCAPE.sub(lambda match: "\0" + match[1], text).encode("utf-8")
    # No name contains NUL, so it can mark the bytes that were escaped.
    return os.fsdecode(_MARKED.sub(lambda match: bytes.fromhex(match[1].decode()), raw))


def is_ignored(name: str, patterns: Iterable[str]) -> bool:
    """Whether a file or folder of this name is passed over, by the patterns of `intake.ignore`."""
    return _any_of(tuple(patterns)).match(name) is not None


@functools.cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression: a folder of 100,000 is looked through every few seconds."""
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")
