"""Which image a file in the review folder is: by the id in its name, proved by its content."""

import hashlib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from daemon.files.placing import open_ordinary
from daemon.names import to_text
from daemon.store import review_files
from daemon.store.database import Database
from daemon.store.review_files import Known, Problem, ReviewFile
from daemon.values import Signature
from models.taxonomy import Verdict

_ID: Final = re.compile(r"__([0-9]{1,18})(?=__|[-.]|$)")


def ids_in(name: str) -> list[int]:
    """The numbers in a file's name that may be an image's id."""
    return [int(number) for number in _ID.findall(name)]


def signature_of(path: Path) -> Signature | None:
    """Of an ordinary file; None where there is none. Raises OSError."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Signature.of(status) if stat.S_ISREG(status.st_mode) else None


def read(path: Path) -> tuple[Signature, str] | None:
    """The content hash of an ordinary file; None while it is written to.

    Raises:
        OSError: it is gone, is no ordinary file, or cannot be read.
    """
    with open_ordinary(path) as file:
        before = Signature.of(os.fstat(file.fileno()))
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        after = Signature.of(os.fstat(file.fileno()))
    return (before, sha256) if before == after else None


def identify(database: Database, path: Path, signature: Signature, sha256: str) -> ReviewFile:
    """The image that a file is, with the problem where it is none.

    What lies in an image's own place under its own name, with the bytes of another image, was laid over
    it: the other one is not moved there.

    Raises:
        StoreError: when the database cannot be read.
    """
    before = review_files.remembered(database, [path]).get(path)
    ids = ids_in(path.name)
    if before is not None and before.image_id is not None:
        ids.append(before.image_id)
    claimed = review_files.known(database, ids)
    alike = [image for image in claimed.values() if image.sha256 == sha256]
    if not alike and not any(image.path == path for image in claimed.values()):
        alike = review_files.known_by_content(database, sha256)
    if alike:
        image_id = _likeliest(alike, path).id
        return ReviewFile(path=path, signature=signature, sha256=sha256, image_id=image_id)
    claims = [image.id for image in claimed.values()]
    if claims:
        problem = Problem.EDITED
        told = (
            f"its name says image {claims[0]}, but its bytes are not those that were judged; put the "
            "original back, or delete this"
        )
    else:
        problem = Problem.STRANGER
        told = (
            "no image that Millwatch has judged; to teach with it, deliver it through a drop folder"
        )
    return ReviewFile(
        path=path,
        signature=signature,
        sha256=sha256,
        image_id=claims[0] if claims else None,
        problem=problem,
        reason=told,
    )


def no_file(path: Path, status: os.stat_result, why: str) -> ReviewFile:
    """What cannot be read, remembered until it changes."""
    return ReviewFile(
        path=path,
        signature=Signature.of(status),
        sha256=None,
        image_id=None,
        problem=Problem.NO_FILE,
        reason=f"{to_text(path.name)} cannot be taken for an image: {why}",
    )


def _likeliest(images: Iterable[Known], path: Path) -> Known:
    """Of images with the same bytes, the one whose file this is, or was copied from."""

    def order(image: Known) -> tuple[bool, bool, bool, bool, int]:
        gone = image.path is None or not os.path.lexists(image.path)
        return (
            image.path != path,
            not gone,  # it was moved, and renamed on the way
            image.verdict is Verdict.UNREADABLE,
            image.target is None or image.target.name != path.name,
            image.id,
        )

    return min(images, key=order)
