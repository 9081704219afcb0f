"""Moving one file so that it is always whole in at least one place, and never over another.

Link, then unlink: a link cannot overwrite. Where a link is impossible (another filesystem, a share,
a file of another owner) the bytes are copied.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Final

from daemon.files.flushing import fsync, fsync_folder
from daemon.files.placing import (
    NO_FILE,
    ChangedError,
    GoneError,
    TargetTakenError,
    copy,
    digest,
    link,
    open_ordinary,
    rename_without_overwriting,
)
from daemon.names import LEAVING
from daemon.values import Delivery

REASON_SUFFIX: Final = ".reason.json"
"""After the name of an image in quarantine: the file that says why it is there."""


def same_file(status: os.stat_result, delivery: Delivery) -> bool:
    """Whether a file is the delivery, untouched: inode, size and modification time."""
    return (status.st_ino, status.st_size, status.st_mtime_ns) == (
        delivery.inode,
        delivery.size,
        delivery.mtime_ns,
    )


def bring(
    delivery: Delivery, sha256: str, target: Path, held: int | None, *, fresh: bool = False
) -> bool:
    """Make `target` the delivered file, whole and durable but for its folder's entry.

    Repeatable: the same content at the target is an unfinished move of this very delivery, as no
    two images are ever promised one target.

    Args:
        held: a descriptor of the file as it was judged, when there is one, that was flushed. It
            keeps a file that the camera replaced under the same name.
        fresh: nothing of this move was tried before: whatever lies at the target is another's.

    Returns:
        Whether the delivered file is known to have these bytes, and not only what was at the target.

    Raises:
        TargetTakenError, ChangedError, GoneError: nothing was changed.
        OSError: the target's folder cannot be written to; trying again may help.
    """
    try:
        if held is None:  # what has just been read lies under its own name
            _recover_aside(delivery, aside_of(delivery))
        # To link tells as well that a name is taken, and costs no look of its own.
        new = fresh and held is not None
        if not new and is_there(delivery, sha256, target, fresh=fresh):
            # The second name that a kill left.
            partial_of(target, delivery, sha256).unlink(missing_ok=True)
            return held is not None
        _bring(delivery, sha256, target, held)
    except (ChangedError, GoneError, TargetTakenError) as error:
        # Of a copy that a kill ended.
        partial_of(target, delivery, sha256).unlink(missing_ok=True)
        if isinstance(error, ChangedError):
            with suppress(FileNotFoundError, NotADirectoryError):
                _put_back(aside_of(delivery), delivery.path)
        raise
    return True


def _bring(delivery: Delivery, sha256: str, target: Path, held: int | None) -> None:
    with _source(delivery, held) as source:
        if not same_file(os.fstat(source), delivery):
            raise ChangedError(str(delivery.path))
        _link_or_copy(source, delivery, sha256, target, compare=held is None)
        if not same_file(os.fstat(source), delivery):
            target.unlink()
            raise ChangedError(str(delivery.path))


def make_own(target: Path, delivery: Delivery, sha256: str) -> None:
    """Where the file still has another name, let the target be a copy of its own.

    Else what the camera writes there later would alter the image that was judged. A target that is gone
    was taken by somebody.

    Raises:
        ChangedError: it was written to just now.
    """
    try:
        status = os.lstat(target)
    except FileNotFoundError:
        return
    if status.st_nlink == 1 or not _is_same_inode(status, delivery):
        return
    partial = partial_of(target, delivery, sha256)
    try:
        with open_ordinary(target) as file:
            copy(file.fileno(), partial, sha256, size=delivery.size, mtime_ns=delivery.mtime_ns)
        partial.replace(target)
        fsync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def is_there(delivery: Delivery, sha256: str, target: Path, *, fresh: bool = False) -> bool:
    """Whether the delivered file lies at the target already.

    Raises:
        TargetTakenError: another file lies there.
        ChangedError: it lay there, but was written to since; now it is back in the drop folder.
    """
    try:
        status = target.lstat()
    except FileNotFoundError:
        return False
    if fresh:  # though it may have the same bytes
        raise TargetTakenError(str(target))
    if _holds(target, status, delivery, sha256):
        return True
    if _is_same_inode(status, delivery):
        _give_back(target, delivery)
        raise ChangedError(str(delivery.path))
    raise TargetTakenError(str(target))


class Release(Enum):
    """What became of the delivered file in the drop folder."""

    REMOVED = "removed"
    ABSENT = "absent"
    """It was not there: removed before, or another file has its name."""
    WRITTEN = "written"
    """The camera has written to it since; it stays."""


def release(
    delivery: Delivery, marker_suffix: str = "", *, sha256: str = "", fresh: bool = False
) -> Release:
    """Remove the delivered file, and its marker, from the drop folder.

    To look and then to unlink would unlink what the camera renamed to the same name in between. So
    the name is moved aside first, where no camera touches it, and looked at there.

    Args:
        sha256: where given, what has other bytes stays, though inode, size and time are the same.
        fresh: as for `bring`: so no kill has left it aside.

    Raises:
        OSError: it cannot be removed now; trying again may help.
    """
    aside = aside_of(delivery)
    if fresh or not _recover_aside(delivery, aside):
        try:
            status = os.lstat(delivery.path)
            if not same_file(status, delivery):
                return _not_removed(status, delivery)
            if sha256 and not _has_bytes(delivery.path, delivery, sha256):
                return Release.WRITTEN
            if marker_suffix:
                # Before the image: a marker that stays would call the next file of this name whole.
                Path(f"{delivery.path}{marker_suffix}").unlink(missing_ok=True)
            os.rename(delivery.path, aside)  # noqa: PTH104 -- which makes a third `Path` of the two
        except (FileNotFoundError, NotADirectoryError):
            return Release.ABSENT
    elif sha256 and not _has_bytes(aside, delivery, sha256):
        _put_back(aside, delivery.path)
        return Release.WRITTEN
    status = os.lstat(aside)
    if same_file(status, delivery):
        aside.unlink()
        return Release.REMOVED
    _put_back(aside, delivery.path)
    return _not_removed(status, delivery)


def _has_bytes(path: Path, delivery: Delivery, sha256: str) -> bool:
    with open_ordinary(path) as file:
        return digest(file.fileno(), delivery.size) == sha256


def _not_removed(status: os.stat_result, delivery: Delivery) -> Release:
    return Release.WRITTEN if status.st_ino == delivery.inode else Release.ABSENT


def take_back_if_written(delivery: Delivery, target: Path | None, held: int | None) -> bool:
    """Take back the move of a file that the camera wrote to meanwhile.

    What is lost then is only the record: the file lies where it was delivered, to be judged again.
    A copy at the target holds what was judged, whatever was written since, and stays.
    """
    if target is None or held is None:
        return False
    status = os.fstat(held)
    if same_file(status, delivery) or not os.path.samestat(status, target.lstat()):
        return False
    _give_back(target, delivery)
    return True


def _holds(target: Path, status: os.stat_result, delivery: Delivery, sha256: str) -> bool:
    if not stat.S_ISREG(status.st_mode) or status.st_size != delivery.size:
        return False
    try:
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except PermissionError:  # nothing that was put there by this daemon
        return False


def _is_same_inode(status: os.stat_result, delivery: Delivery) -> bool:
    """Whether a target is a second name of the delivered file, not a copy and not a stranger."""
    try:
        return (status.st_ino, status.st_dev) == (
            delivery.inode,
            delivery.path.parent.stat().st_dev,
        )
    except (FileNotFoundError, NotADirectoryError):
        return False


def _give_back(target: Path, delivery: Delivery) -> None:
    """Let a file that was written to after it was judged lie in the drop folder only."""
    if _lies_in_drop_folder(target.lstat().st_ino, delivery):
        target.unlink()
    else:
        _put_back(target, delivery.path)


def _lies_in_drop_folder(inode: int, delivery: Delivery) -> bool:
    """Whether the file has a name there, under which it is found again: its own or another."""
    root = delivery.path.parents[len(Path(delivery.filename).parts) - 1]
    below = [root]
    while below:
        # In a folder that is shut, `lost+found` say, no scan would find it either.
        with suppress(PermissionError), os.scandir(below.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(Path(entry.path))
                elif entry.inode() == inode:
                    return True
    return False


@contextmanager
def _source(delivery: Delivery, held: int | None) -> Iterator[int]:
    """A descriptor of the delivered file, its bytes on disk: the held one, or what lies there now."""
    if held is not None:
        yield held
        return
    for path in (delivery.path, aside_of(delivery)):
        try:
            file = open_ordinary(path)
        except OSError as error:
            if error.errno not in NO_FILE:
                raise
            continue
        with file:
            if os.fstat(file.fileno()).st_ino == delivery.inode:
                fsync(file.fileno())
                yield file.fileno()
                return
    raise GoneError(str(delivery.path))


def aside_of(delivery: Delivery) -> Path:
    """A name in the drop folder that is no image's, and that the same delivery always gets."""
    return delivery.path.with_name(f".{delivery.inode}-{delivery.mtime_ns}{LEAVING}")


def _recover_aside(delivery: Delivery, aside: Path) -> bool:
    """After a kill, give a file that was moved aside but is not the judged one its name back.

    Returns:
        Whether the judged one lies aside.
    """
    try:
        status = os.lstat(aside)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if same_file(status, delivery):
        return True
    with suppress(FileNotFoundError, NotADirectoryError):
        _put_back(aside, delivery.path)
    return False


def _put_back(aside: Path, path: Path) -> None:
    """Under its own name, or, where the camera has used that once more, under one of its own."""
    status = aside.lstat()
    for name in (path, path.with_name(f"{status.st_ino}-{status.st_mtime_ns}{path.suffix}")):
        try:
            rename_without_overwriting(aside, name)
        except TargetTakenError:
            if not os.path.samestat(status, name.lstat()):  # else a kill interrupted this
                continue
        aside.unlink(missing_ok=True)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _link_or_copy(
    source: int, delivery: Delivery, sha256: str, target: Path, *, compare: bool
) -> None:
    """Put the open file at the target under a name that did not exist.

    Args:
        compare: nobody kept the file open since it was judged. A camera may have written into it and
            given it its old time back, or a power failure emptied it.
    """
    # By descriptor, not by name: the name may be another file's by now. A folder's descriptor
    # must be given for Python to follow the link in /proc; the absolute path makes it unused.
    name = f"/proc/self/fd/{source}"
    if not compare and link(name, target, src_dir_fd=source):
        return
    partial = partial_of(target, delivery, sha256)
    try:
        if compare:
            partial.unlink(missing_ok=True)
        if not compare or not link(name, partial, src_dir_fd=source):
            copy(source, partial, sha256, size=delivery.size, mtime_ns=delivery.mtime_ns)
        else:
            _refuse_other_bytes(source, delivery, sha256)
        rename_without_overwriting(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _refuse_other_bytes(source: int, delivery: Delivery, sha256: str) -> None:
    if digest(source, delivery.size) != sha256:
        raise ChangedError(str(delivery.path))


def partial_of(target: Path, delivery: Delivery, sha256: str) -> Path:
    """A name beside the target that is no image's, and that the same delivery always gets."""
    # Cameras share folders, and two disks number their files alike.
    camera = hashlib.sha256(delivery.camera.encode()).hexdigest()[:8]
    return target.parent / f".{sha256[:16]}-{camera}-{delivery.inode}.part"
