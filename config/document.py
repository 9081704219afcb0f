"""The configuration file as it was written: its values, its lines, and what could not be read."""

import os
import re
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.problems import Problem
from config.sources import Source, key_text
from config.toml_lines import KeyPath, Statement, key_lines, statements

_LINE_IN_MESSAGE = re.compile(r" ?\((?:at line (?P<line>\d+), column \d+|at end of document)\)")
# tomllib's words, those that replace them, and the remedy.
_PLAIN_SYNTAX = (
    (
        "Invalid value",
        "the value cannot be read",
        'Text must stand in "quotes", true, false and numbers must not; each "[" needs its "]".',
    ),
    ("Cannot overwrite a value", "is set a second time", "Remove one of the two lines."),
    (
        "Cannot declare",
        "this table appears a second time",
        "Put all keys of a table under one header (each camera has its own [[cameras]]).",
    ),
    (
        "Expected '=' after a key",
        "the line cannot be read",
        'Write key = value, or begin the line with "#" if it is a comment.',
    ),
    (
        "Expected newline or end of document after a statement",
        "something stands behind the value",
        'Write fractions with a point (0.5, not 0,5), and "#" before a remark.',
    ),
    ("Illegal character '\\n'", "a quotation mark is missing", "Close the text with a quote."),
    (
        "Unescaped '\\'",
        'a backslash in "double quotes" has a special meaning',
        "Write the text in 'single quotes', or each backslash twice.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file as read.

    `is_whole` is False if it, or more of it than single lines, could not be read. `refused` names the
    keys of single lines that could not.
    """

    values: dict[str, Any] = field(default_factory=dict)
    is_whole: bool = True
    source: Source = field(default_factory=Source)
    problems: tuple[Problem, ...] = ()
    refused: frozenset[KeyPath] = frozenset()


def read_document(path: Path, asked_by: str) -> Document:
    """Read a file; whatever is wrong with it becomes a problem. `asked_by` says who named it."""
    name = os.fspath(path)
    try:
        # Notepad begins a file with a byte order mark, which TOML forbids.
        data = bytes_of(path).removeprefix(b"\xef\xbb\xbf")
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        what = f"the configuration file named by {asked_by} cannot be read: {reason}"
        remedy = "Correct the path, or let the user that Millwatch runs as read the file."
        return _unreadable(name, None, what, remedy)
    try:
        text = data.decode()
    except UnicodeDecodeError as failure:
        line = data.count(b"\n", 0, failure.start) + 1
        return _unreadable(name, line, "the file is not UTF-8", "Save it again as UTF-8.")
    return _parse(name, text)


def bytes_of(path: Path) -> bytes:
    """What an ordinary file holds; a FIFO would be waited for, by a service that must not stand still.

    Raises:
        OSError, ValueError: it is no ordinary file.
    """

    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)

    with open(path, "rb", opener=without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not an ordinary file")
        return file.read()


def _unreadable(name: str, line: int | None, what: str, remedy: str) -> Document:
    problem = Problem(source=name, line=line, key="", what=what, remedy=remedy)
    return Document(is_whole=False, source=Source(name=name), problems=(problem,))


def _parse(name: str, text: str) -> Document:
    """Parse TOML, setting aside single lines that are wrong so that the rest is judged as well.

    Only a `key = value` on one line can go without changing what other lines mean; any other mistake
    ends the reading.
    """
    source = Source(name=name, lines=key_lines(text))
    problems: list[Problem] = []
    refused: set[KeyPath] = set()
    for attempt in _attempts(text):
        if attempt.values is not None:
            break
        problems.append(_syntax_problem(name, attempt))
        if attempt.statement is not None:
            refused.add(attempt.statement.path)
    return Document(
        values=attempt.values or {},
        is_whole=attempt.values is not None,
        source=source,
        problems=tuple(problems),
        refused=frozenset(refused),
    )


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    values: dict[str, Any] | None
    failure: str = ""
    line: int = 0
    statement: Statement | None = None


def _attempts(text: str) -> Iterator[_Attempt]:
    """Parse, again and again, each time without the line that was wrong."""
    lines = text.split("\n")
    while True:
        text = "\n".join(lines)
        try:
            values = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as failure:
            attempt = _failed_attempt(text, str(failure))
        else:
            attempt = _Attempt(values=values)
        yield attempt
        statement = attempt.statement
        if statement is None or statement.is_header or statement.first_line < statement.last_line:
            return
        lines[attempt.line - 1] = ""


def _failed_attempt(text: str, message: str) -> _Attempt:
    found = _LINE_IN_MESSAGE.search(message)
    line = int(found["line"]) if found and found["line"] else text.rstrip().count("\n") + 1
    return _Attempt(
        values=None,
        failure=_LINE_IN_MESSAGE.sub("", message),
        line=line,
        statement=next(
            (each for each in statements(text) if each.first_line <= line <= each.last_line), None
        ),
    )


def _syntax_problem(name: str, attempt: _Attempt) -> Problem:
    path = attempt.statement.path if attempt.statement else ()
    what, remedy = next(
        (plain for theirs, *plain in _PLAIN_SYNTAX if attempt.failure.startswith(theirs)),
        (
            f"is not TOML: {attempt.failure}",
            "Correct the line; https://toml.io has the rules.",
        ),
    )
    return Problem(source=name, line=attempt.line, key=key_text(path), what=what, remedy=remedy)
