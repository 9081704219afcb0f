"""An image as a camera delivered it, for tests that move it."""

import hashlib
from pathlib import Path

from daemon.values import Delivery

DATA = b"the image" * 100
SHA256 = hashlib.sha256(DATA).hexdigest()


def delivery_of(path: Path, *, camera: str = "top-1") -> Delivery:
    status = path.lstat()
    return Delivery(
        camera=camera,
        filename=path.name,
        path=path,
        inode=status.st_ino,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
