"""On which line of a TOML file a key stands.

`tomllib` forgets lines, so this scans the text once more. It understands as much TOML as is needed not
to be misled (strings, comments, lists over several lines) and never fails: what it does not understand
has no line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# ("intake", "quiet_seconds"), or ("cameras", 0, "folder") for a key of the first [[cameras]].
KeyPath = tuple[str | int, ...]

_HEADER = re.compile(r"[ \t]*(?P<open>\[\[?)(?P<key>[^\]\n]*)\]")
_KEY = re.compile(r"""[ \t]*(?P<key>(?:[A-Za-z0-9_.\- \t]|"[^"\n]*"|'[^'\n]*')+)=""")
_KEY_PART = re.compile(r""""([^"\n]*)"|'([^'\n]*)'|([A-Za-z0-9_-]+)""")
# What a value is made of, as far as its end matters; the longest kinds of string come first.
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\#[^\n]*|[\[\]{}\n]''',
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One `key = value`, or one [table] header, with its first and last line (from 1)."""

    path: KeyPath
    first_line: int
    last_line: int
    is_header: bool


def statements(text: str) -> Iterator[Statement]:
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    position = 0
    while position < len(text):
        if header := _HEADER.match(text, position):
            table = _table(_parts(header["key"]), counts, is_list=header["open"] == "[[")
            path, end = table, _end_of_line(text, header.end())
        elif key := _KEY.match(text, position):
            path, end = table + _parts(key["key"]), _end_of_value(text, key.end())
        else:
            position = _end_of_line(text, position) + 1
            continue
        yield Statement(
            path=path,
            first_line=text.count("\n", 0, position) + 1,
            last_line=text.count("\n", 0, end) + 1,
            is_header=header is not None,
        )
        position = end + 1


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line of every key and table, and for a list of tables that of its first.

    The keys inside an inline table are not looked for: they have the line of the table's own key.
    """
    lines: dict[KeyPath, int] = {}
    for statement in statements(text):
        lines.setdefault(statement.path, statement.first_line)
        if statement.path and isinstance(statement.path[-1], int):
            lines.setdefault(statement.path[:-1], statement.first_line)
    return lines


def _parts(dotted: str) -> KeyPath:
    return tuple(found[1] or found[2] or found[3] or "" for found in _KEY_PART.finditer(dotted))


def _table(parts: KeyPath, counts: dict[KeyPath, int], *, is_list: bool) -> KeyPath:
    """Return the path of a header: [a.b] below [[a]] is a part of the latest `a`."""
    path: KeyPath = ()
    for place, part in enumerate(parts):
        path += (part,)
        if is_list and place == len(parts) - 1:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path += (counts[path] - 1,)
    return path


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _end_of_value(text: str, position: int) -> int:
    depth = 0
    while token := _TOKEN.search(text, position):
        position = token.end()
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n" and depth <= 0:
            return token.start()
    return len(text)
