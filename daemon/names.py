r"""File names as text, without loss.

A name on Linux is bytes; a database, JSON and a terminal want text. Bytes that are not UTF-8 are
written as `\xNN`, and the backslash of a name that really contains such four characters as `\x5c`.
Everything else, newlines included, stays as it is.
"""

import os
import re

_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


def to_text(name: str | os.PathLike[str]) -> str:
    """A name from the file system (undecodable bytes as surrogates) to text that holds no surrogate."""
    literal = _ESCAPE.sub(r"\\x5cx\1", os.fspath(name))
    if literal.isascii():
        return literal
    return literal.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def from_text(text: str) -> str:
    """The name that `to_text` was given."""
    raw = _ESCAPE.sub(lambda match: "\0" + match[1], text).encode("utf-8")
    # No name contains NUL, so it can mark the bytes that were escaped.
    return os.fsdecode(re.sub(rb"\0(..)", lambda match: bytes.fromhex(match[1].decode()), raw))
