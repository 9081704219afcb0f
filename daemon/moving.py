"""Moving one file so that it is always whole in at least one place, and never over another.

Link, then unlink. A link cannot overwrite, and watchdog holds every event behind an unpaired
"moved from" for 0.4 s, which a rename out of a watched folder would cause for each image. Where a
link is impossible (another filesystem, a share, a file of another owner) the bytes are copied.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from daemon.values import Delivery

_CHUNK: Final = 1 << 20
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


def same_file(status: os.stat_result, delivery: Delivery) -> bool:
    """Whether a file is the delivery, untouched: inode, size and modification time."""
    return (status.st_ino, status.st_size, status.st_mtime_ns) == (
        delivery.inode,
        delivery.size,
        delivery.mtime_ns,
    )


def bring(delivery: Delivery, sha256: str, target: Path, held: int | None) -> None:
    """Make `target` the delivered file, whole and durable but for its folder's entry.

    Repeatable: the same content at the target is an unfinished move of this very delivery, as no
    two images are ever promised one target.

    Args:
        held: a descriptor of the file as it was judged, when there is one. It keeps a file that
            the camera replaced under the same name.

    Raises:
        TargetTakenError, ChangedError, GoneError: nothing was changed.
        OSError: the target's folder cannot be written to; trying again may help.
    """
    with suppress(FileNotFoundError):
        if _is_delivery(target, delivery, sha256):
            return
        _refuse_unless_ours(target, delivery)
    with _source(delivery, held) as source:
        if not same_file(os.fstat(source), delivery):
            raise ChangedError(str(delivery.path))
        os.fsync(source)
        _link_or_copy(source, delivery, sha256, target)
        if not same_file(os.fstat(source), delivery):
            target.unlink()
            raise ChangedError(str(delivery.path))


def release(delivery: Delivery) -> bool:
    """Remove the delivered file from the drop folder, unless another lies there by now.

    Returns:
        Whether it was there.
    """
    try:
        if not same_file(delivery.path.lstat(), delivery):
            return False
        delivery.path.unlink()
    except FileNotFoundError:
        return False
    return True


def take_back_if_written(delivery: Delivery, target: Path | None, held: int | None) -> bool:
    """Put a moved file back where it was delivered, if the camera wrote to it during the move.

    Returns:
        Whether it was put back, to be judged again.
    """
    if target is None or held is None or same_file(os.fstat(held), delivery):
        return False
    try:
        os.link(target, delivery.path)
    except (
        OSError
    ):  # the camera has put another file there: this one stays where it was judged to go
        return False
    target.unlink()
    return True


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def _is_delivery(target: Path, delivery: Delivery, sha256: str) -> bool:
    """Whether the file at the target is the delivery. Raises FileNotFoundError when none is there."""
    status = target.lstat()
    if not stat.S_ISREG(status.st_mode):
        return False
    if status.st_size != delivery.size:
        return False
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _refuse_unless_ours(target: Path, delivery: Delivery) -> None:
    """Remove a target that is a second name of the delivered file, written to since; else refuse."""
    with suppress(FileNotFoundError):
        if target.samefile(delivery.path):
            target.unlink()
            raise ChangedError(str(delivery.path))
    raise TargetTakenError(str(target))


@contextmanager
def _source(delivery: Delivery, held: int | None) -> Iterator[int]:
    """A descriptor of the delivered file: the held one, or the file that lies there now."""
    if held is not None:
        yield held
        return
    try:
        descriptor = os.open(delivery.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise GoneError(str(delivery.path)) from error
    try:
        if os.fstat(descriptor).st_ino != delivery.inode:
            raise GoneError(str(delivery.path))
        yield descriptor
    finally:
        os.close(descriptor)


def _link_or_copy(source: int, delivery: Delivery, sha256: str, target: Path) -> None:
    """Put the open file at the target under a name that did not exist."""
    try:
        # By descriptor, not by name: the name may be another file's by now. A folder's descriptor
        # must be given for Python to follow the link in /proc; the absolute path makes it unused.
        os.link(f"/proc/self/fd/{source}", target, src_dir_fd=source, follow_symlinks=True)
    except FileExistsError as error:
        raise TargetTakenError(str(target)) from error
    except OSError as error:
        if error.errno not in _LINK_IMPOSSIBLE:
            raise
    else:
        return
    partial = target.with_name(f".{sha256[:16]}-{delivery.inode}.part")
    try:
        _copy(source, partial, sha256, delivery)
        _rename_without_overwriting(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _copy(source: int, partial: Path, sha256: str, delivery: Delivery) -> None:
    """Copy the bytes, durable, checked against the recorded hash, with the file's own time."""
    digest = hashlib.sha256()
    with partial.open("wb") as file:
        offset = 0
        while chunk := os.pread(source, _CHUNK, offset):
            digest.update(chunk)
            file.write(chunk)
            offset += len(chunk)
        file.flush()
        os.utime(file.fileno(), ns=(delivery.mtime_ns, delivery.mtime_ns))
        os.fsync(file.fileno())
    if digest.hexdigest() != sha256:
        raise ChangedError(str(delivery.path))


def _rename_without_overwriting(partial: Path, target: Path) -> None:
    try:
        os.link(partial, target)
    except FileExistsError as error:
        raise TargetTakenError(str(target)) from error
    except OSError as error:
        if error.errno not in _LINK_IMPOSSIBLE:
            raise
    else:
        return
    # No links on this filesystem (FAT, some shares). The daemon alone writes under this name, with
    # the image's id in it; what remains is the instant between this look and the rename.
    if os.path.lexists(target):
        raise TargetTakenError(str(target))
    partial.rename(target)
