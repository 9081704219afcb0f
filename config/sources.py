"""Where each setting was made, so that a problem can point at the line to edit."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from config.problems import Problem
from config.table import LISTS
from config.toml_lines import KeyPath

BUILT_IN = "built-in defaults"
PREFIX = "MILLWATCH_"


@dataclass(frozen=True, kw_only=True)
class Source:
    """The file that settings came from, the lines of its keys, and the variables that override them."""

    name: str = BUILT_IN
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    variables: Mapping[KeyPath, str] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int | None:
        """Return the line of a key, or of the table it is missing from."""
        return next(
            (self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines),
            None,
        )

    def problem(
        self, path: KeyPath, what: str, remedy: str, *, again_helps: bool = False
    ) -> Problem:
        variable = self.variables.get(setting_path(path))
        return Problem(
            source=f"environment {variable}" if variable else self.name,
            line=None if variable else self.line(path),
            key=key_text(path),
            what=what,
            remedy=remedy,
            again_helps=again_helps,
        )


def setting_path(path: KeyPath) -> KeyPath:
    """Return the path of the key that a path into its value belongs to."""
    is_list = path[:1] and path[0] in LISTS
    depth = 3 if is_list else 2
    for place, part in enumerate(path[:depth]):
        if isinstance(part, int) and not (is_list and place == 1):
            return path[:place]
    return path[:depth]


def key_text(path: KeyPath) -> str:
    """Return a path as people write it; list entries are counted from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def variable_name(path: KeyPath) -> str:
    return PREFIX + "__".join(str(part).upper() for part in path)
