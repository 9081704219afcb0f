"""Lets a camera or a person act at one exact instant of a real call, and changes no call.

Python tells an audit hook of each call that opens, links or renames before it is made (PEP 578). A
hook cannot be taken away, so there is one, which does nothing unless something waits for it.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_waiting: dict[tuple[str, str], Callable[[], object]] = {}
_noting: list[tuple[str, list[str]]] = []


def just_before(call: str, path: Path, deed: Callable[[], object]) -> None:
    """Do something once, just before the next `open`, `os.link` or `os.rename` of a path."""
    _waiting[call, os.fspath(path)] = deed


@contextmanager
def noting_what_is_opened(folder: Path) -> Iterator[list[str]]:
    """The paths below a folder that are opened meanwhile."""
    opened: list[str] = []
    _noting.append((f"{folder}{os.sep}", opened))
    try:
        yield opened
    finally:
        _noting.pop()


def _act(event: str, arguments: tuple[object, ...]) -> None:
    if not (_waiting or _noting) or event not in ("open", "os.link", "os.rename"):
        return
    first = arguments[0]
    if isinstance(first, str | os.PathLike):
        for below, opened in _noting:
            if event == "open" and os.fspath(first).startswith(below):
                opened.append(os.fspath(first))
        deed = _waiting.pop((event, os.fspath(first)), None)
        if deed is not None:
            deed()


sys.addaudithook(_act)
