"""Which names in a few folders, and in all below them, are new, and which have gone.

A folder whose time has not changed is not listed again: the scan of a review folder that rests costs
one look at each folder, however many files lie there.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from daemon.pacing import unhurried

_COARSE_NS: Final = 2_000_000_000
"""A folder that changed this short a time ago may change again without its time telling."""
_DISTRUST_SECONDS: Final = 300.0
"""Every so often all is listed: the clock of a share may go wrong."""


@dataclass(kw_only=True)
class _Folder:
    mtime_ns: int
    trusted: bool
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class _Found:
    folder: _Folder
    came: set[str] = field(default_factory=set)
    went: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs from the listing before; at first, all that lies there came.

    Attributes:
        failed: folders that could not be listed; nothing is said of what lies there.
    """

    came: list[Path] = field(default_factory=list)
    went: list[Path] = field(default_factory=list)
    failed: list[tuple[Path, OSError]] = field(default_factory=list)


class Listing:
    """The names in the folders. One thread calls it.

    Args:
        ignores: whether a name is to be passed over, a folder with all that lies in it.
    """

    def __init__(self, roots: tuple[Path, ...], ignores: Callable[[str], bool]) -> None:
        self._roots = roots
        self._ignores = ignores
        self._folders: dict[Path, _Folder] = {}
        self._distrust_at = 0.0

    def changes(self, *, now: float) -> Changes:
        """Look again.

        Args:
            now: of a clock that never jumps, in seconds.
        """
        distrusts = now >= self._distrust_at
        changes = Changes()
        seen: dict[Path, _Folder] = {}
        below = list(self._roots)
        while below:
            folder = below.pop()
            before = self._folders.get(folder)
            try:
                found = self._look(folder, before, distrusts=distrusts)
            except OSError as error:
                changes.failed.append((folder, error))
                if before is not None:
                    seen[folder] = before
                    below += [folder / name for name in before.folders]
                continue
            if found is None:
                continue
            seen[folder] = found.folder
            changes.came.extend(folder / name for name in sorted(found.came))
            changes.went.extend(folder / name for name in sorted(found.went))
            below += [folder / name for name in found.folder.folders]
        for folder, before in self._folders.items():
            if folder not in seen:
                changes.went.extend(folder / name for name in sorted(before.files))
        self._folders = seen
        if distrusts:
            self._distrust_at = now + _DISTRUST_SECONDS
        return changes

    def _look(self, path: Path, before: _Folder | None, *, distrusts: bool) -> _Found | None:
        """None where it is gone."""
        try:
            mtime_ns = path.stat().st_mtime_ns
            if before and before.trusted and before.mtime_ns == mtime_ns and not distrusts:
                return _Found(folder=before)
            trusted = mtime_ns + _COARSE_NS < time.time_ns()
            folder = before or _Folder(mtime_ns=mtime_ns, trusted=trusted)
            came, still, folders = self._list(path, folder)
            went = folder.files - _files_in(path) if still < len(folder.files) else set()
        except (FileNotFoundError, NotADirectoryError):
            return None
        # The names that stay are kept as they are: made anew at each look they would scatter the memory.
        folder.files -= went
        folder.files |= came
        folder.mtime_ns, folder.trusted, folder.folders = mtime_ns, trusted, folders
        return _Found(folder=folder, came=came, went=went)

    def _list(self, path: Path, folder: _Folder) -> tuple[set[str], int, set[str]]:
        """The files that are new, how many of the others are still there, and all folders."""
        came: set[str] = set()
        folders: set[str] = set()
        still = 0
        with os.scandir(path) as entries:
            for entry in unhurried(entries):
                name = entry.name
                if name not in folder.files and name not in folder.folders and self._ignores(name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.add(name)
                elif name in folder.files:
                    still += 1
                else:
                    came.add(name)
        return came, still, folders


def _files_in(path: Path) -> set[str]:
    with os.scandir(path) as entries:
        return {each.name for each in unhurried(entries) if not each.is_dir(follow_symlinks=False)}
