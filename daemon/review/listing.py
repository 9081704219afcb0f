"""Which names in a few folders, and in all below them, are new, and which folders have lost some.

A folder whose time has not changed is not listed again: the scan of a review folder that rests costs
one look at each folder, however many files lie there. Of each name 8 bytes are kept.
"""

import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from daemon.review.pacing import unhurried

_COARSE_NS: Final = 2_000_000_000
"""A folder that changed this short a time ago may change again without its time telling."""
_DISTRUST_SECONDS: Final = 300.0
"""Every so often all is listed: the clock of a share may go wrong."""
_AT_A_TIME: Final = 100
_MOST_EXPECTED: Final = 10_000


class _Names:
    """The names of a folder's files, each by its hash: all that is asked is which are new.

    As text they would take 0.2 MB for a thousand, and an unattended folder holds a hundred thousand. Among n
    names a new one is taken for one that is known with a probability of n / 2^64; `Rounds` finds its image.
    """

    def __init__(self) -> None:
        self._known = np.empty(0, np.int64)  # ascending
        self._still = np.empty(0, np.bool_)
        self._new: list[int] = []
        self._expected: set[int] = set()

    def begin(self, expected: set[int]) -> None:
        """All that lies there now is told next, by `strangers`. Those of these hashes are none."""
        self._still = np.zeros(len(self._known), np.bool_)
        self._new = []
        self._expected = expected

    def strangers(self, names: list[str]) -> list[str]:
        """Those that were not known at the end of the last listing."""
        hashes = np.array([hash(name) for name in names], np.int64)
        places = np.searchsorted(self._known, hashes)
        known = places < len(self._known)
        known[known] = self._known[places[known]] == hashes[known]
        self._still[places[known]] = True
        new = [name for name, is_known in zip(names, known, strict=True) if not is_known]
        if self._expected:
            self._new += [hash(name) for name in new if hash(name) in self._expected]
            new = [name for name in new if hash(name) not in self._expected]
        return new

    def add(self, names: list[str]) -> None:
        """Strangers to know from now on."""
        self._new.extend(hash(name) for name in names)

    def end(self) -> bool:
        """Know what was told, and nothing else. Returns whether a name has gone."""
        some_went = not self._still.all()
        if some_went or self._new:
            new = np.array(self._new, np.int64)
            self._known = np.unique(np.concatenate([self._known[self._still], new]))
        self._new = []
        return some_went


@dataclass(kw_only=True)
class _Folder:
    mtime_ns: int
    trusted: bool
    files: _Names = field(default_factory=_Names)
    folders: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class _Found:
    folder: _Folder
    came: list[str] = field(default_factory=list)
    some_went: bool = False


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs from the listing before; at first, all that lies there came.

    Attributes:
        lost: folders from which files have gone, or that have gone with theirs.
        failed: folders that could not be listed; nothing is said of what lies there.
    """

    came: list[Path] = field(default_factory=list)
    lost: list[Path] = field(default_factory=list)
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
        self._expected: deque[tuple[str, int]] = deque(maxlen=_MOST_EXPECTED)

    def expect(self, paths: Iterable[Path]) -> None:
        """The daemon itself put these files there: where they are found next they are no news.

        From any thread. More than some thousand between two looks are news nevertheless.
        """
        parts = (os.path.split(path) for path in paths)
        self._expected.extend((folder, hash(name)) for folder, name in parts)

    def changes(self, *, now: float) -> Changes:
        """Look again.

        Args:
            now: of a clock that never jumps, in seconds.
        """
        distrusts = now >= self._distrust_at
        # Before anything is listed: what lies in none of the listings has gone again.
        expected: dict[str, set[int]] = defaultdict(set)
        for _ in range(len(self._expected)):
            folder_name, name = self._expected.popleft()
            expected[folder_name].add(name)
        changes = Changes()
        seen: dict[Path, _Folder] = {}
        below = list(self._roots)
        while below:
            folder = below.pop()
            before = self._folders.get(folder)
            try:
                found = self._look(
                    folder, before, expected=expected.get(str(folder), set()), distrusts=distrusts
                )
            except OSError as error:
                changes.failed.append((folder, error))
                if before is not None:
                    seen[folder] = before
                    below += [folder / name for name in before.folders]
                continue
            if found is None:
                continue
            seen[folder] = found.folder
            changes.came.extend(folder / name for name in found.came)
            if found.some_went:
                changes.lost.append(folder)
            below += [folder / name for name in found.folder.folders]
        changes.lost.extend(folder for folder in self._folders if folder not in seen)
        self._folders = seen
        if distrusts:
            self._distrust_at = now + _DISTRUST_SECONDS
        return changes

    def _look(
        self, path: Path, before: _Folder | None, *, expected: set[int], distrusts: bool
    ) -> _Found | None:
        """None where it is gone."""
        try:
            mtime_ns = path.stat().st_mtime_ns
            if before and before.trusted and before.mtime_ns == mtime_ns and not distrusts:
                return _Found(folder=before)
            trusted = mtime_ns + _COARSE_NS < time.time_ns()
            folder = before or _Folder(mtime_ns=mtime_ns, trusted=trusted)
            folder.files.begin(expected)
            came, folders = self._list(path, folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        some_went = folder.files.end()
        folder.mtime_ns, folder.trusted, folder.folders = mtime_ns, trusted, folders
        return _Found(folder=folder, came=came, some_went=some_went)

    def _list(self, path: Path, folder: _Folder) -> tuple[list[str], set[str]]:
        """The files that are new, and all folders."""
        came: list[str] = []
        folders: set[str] = set()
        with os.scandir(path) as entries:
            for some in unhurried(_some(entries)):
                names = [each.name for each in some if not each.is_dir(follow_symlinks=False)]
                new = [name for name in folder.files.strangers(names) if not self._ignores(name)]
                folder.files.add(new)
                came += new
                folders.update(
                    each.name
                    for each in some
                    if each.is_dir(follow_symlinks=False)
                    and (each.name in folder.folders or not self._ignores(each.name))
                )
        return sorted(came), folders


def _some(entries: Iterator[os.DirEntry[str]]) -> Iterator[list[os.DirEntry[str]]]:
    """A few at a time."""
    while some := list(islice(entries, _AT_A_TIME)):
        yield some
