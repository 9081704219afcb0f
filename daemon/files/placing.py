"""One file, whole and durable where it is put, and never over another.

What `daemon.files.moving` does with images that cameras deliver is made of these, and so is what moves
images that are the daemon's own already.
"""

import errno
import hashlib
import os
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Final

from daemon.files.flushing import fsync, fsync_folder

_CHUNK: Final = 1 << 20
_SPARE_BYTES: Final = 1 << 16
"""That a large copy leaves free."""
_LARGE_BYTES: Final = 1 << 20
"""From there on a look at what is free is worth its turn, on a share above all."""
NO_FILE: Final = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO}
"""Nothing lies there, or what has the name is a folder, a link, a pipe or a socket."""
_LINK_IMPOSSIBLE: Final = {
    errno.EXDEV,
    errno.EPERM,  # no links on this filesystem, or fs.protected_hardlinks and another owner
    errno.EACCES,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EMLINK,
    errno.ENOENT,  # through /proc, for a file whose last name is gone
}


class TargetTakenError(Exception):
    """Another file lies at the target."""


class ChangedError(Exception):
    """The camera wrote to the file after it was judged: what was judged is no longer there."""


class GoneError(Exception):
    """The file is neither where it was delivered nor where it should go."""


def open_ordinary(path: Path) -> BufferedReader:
    """To read a file; no link is followed, and no pipe waited for. Raises OSError."""

    def at_once(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)

    file = open(path, "rb", opener=at_once)  # noqa: SIM115 -- by whoever reads it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.ENXIO, "it is no ordinary file", str(path))
    return file


def relocate(source: Path, target: Path, sha256: str) -> None:
    """Move a file that is ours already; doing it again changes nothing.

    Raises:
        GoneError: the file is at neither place.
        ChangedError: it is there, with other bytes than were recorded.
        TargetTakenError: another file lies at the target.
        OSError: it cannot be moved now; trying again may help.
    """
    make_folder(target.parent)
    if not _is_whole(target, sha256):
        if os.path.lexists(target):
            raise TargetTakenError(str(target))
        if not os.path.lexists(source):
            raise GoneError(str(source))
        if not _is_whole(source, sha256):
            raise ChangedError(str(source))
        try:
            rename_without_overwriting(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy_across(source, target, sha256)
        fsync_folder(target.parent)
    if _is_whole(source, sha256) and not _is_one_name(source, target):
        make_durable(target)  # somebody's copy may still be in memory only
        source.unlink()
        fsync_folder(source.parent)


def _copy_across(source: Path, target: Path, sha256: str) -> None:
    """To another filesystem; the source stays."""
    partial = target.with_name(f".{sha256[:16]}-moved.part")
    try:
        with open_ordinary(source) as file:
            status = os.fstat(file.fileno())
            copy(file.fileno(), partial, sha256, size=status.st_size, mtime_ns=status.st_mtime_ns)
        rename_without_overwriting(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _is_one_name(first: Path, second: Path) -> bool:
    """Whether to remove one is to lose the other: the same path, or written in other letters."""
    status = second.lstat()
    return first == second or (os.path.samestat(first.lstat(), status) and status.st_nlink == 1)


def _is_whole(path: Path, sha256: str) -> bool:
    """Whether an ordinary file with this content lies there."""
    try:
        with open_ordinary(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        return False


def make_durable(path: Path) -> None:
    """A file that somebody else put there, and its name."""
    with open_ordinary(path) as file:
        fsync(file.fileno())
    fsync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durable in its parent."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)


def write_durably(path: Path, text: str) -> None:
    """Write a small file whole or not at all, over an older one."""
    partial = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.part")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    fsync_folder(path.parent)


def digest(source: int, size: int) -> str:
    """The hash of that many bytes: a file that grows as fast as it is read would never end."""
    sha256 = hashlib.sha256()
    offset = 0
    while chunk := os.pread(source, min(_CHUNK, size - offset), offset):
        sha256.update(chunk)
        offset += len(chunk)
    return sha256.hexdigest()


def copy(source: int, partial: Path, sha256: str, *, size: int, mtime_ns: int) -> None:
    """Copy the bytes, durable, checked against the recorded hash, with the file's own time.

    Raises:
        ChangedError: other bytes.
        OSError: of no space left before anything is written, where it is known not to suffice.
    """
    copied = hashlib.sha256()
    partial.unlink(missing_ok=True)  # of a kill; or a link that somebody laid there
    if size >= _LARGE_BYTES:
        _refuse_without_room(partial.parent, size)
    with partial.open("xb") as file:
        offset = 0
        # No more than that: a file that grows as fast as it is read would never end.
        while chunk := os.pread(source, min(_CHUNK, size - offset), offset):
            copied.update(chunk)
            file.write(chunk)
            offset += len(chunk)
        file.flush()
        with suppress(OSError):  # not every filesystem holds every time
            os.utime(file.fileno(), ns=(mtime_ns, mtime_ns))
        os.fsync(file.fileno())
    if copied.hexdigest() != sha256:
        raise ChangedError(f"other bytes than were judged, on the way to {partial}")


def _refuse_without_room(folder: Path, size: int) -> None:
    """Else each try would fill a disk that others write to, the database among them, to the last byte."""
    status = os.statvfs(folder)
    # Some shares tell of no blocks at all.
    if status.f_blocks and status.f_bavail * status.f_frsize < size + _SPARE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def link(source: Path | str, target: Path, *, src_dir_fd: int | None = None) -> bool:
    """Give a file one more name, that no other has; False where that is impossible.

    Raises:
        TargetTakenError: a file has that name.
    """
    try:
        os.link(source, target, src_dir_fd=src_dir_fd, follow_symlinks=True)
    except FileExistsError as error:
        raise TargetTakenError(str(target)) from error
    except OSError as error:
        if error.errno not in _LINK_IMPOSSIBLE:
            raise
        return False
    return True


def rename_without_overwriting(partial: Path, target: Path) -> None:
    """Raises TargetTakenError, OSError."""
    if link(partial, target):
        return
    # No links on this filesystem (FAT, some shares). The daemon alone writes under this name, with
    # the image's id in it; what remains is the instant between this look and the rename.
    if os.path.lexists(target):
        raise TargetTakenError(str(target))
    partial.rename(target)
