"""What a command or a run leaves: there whole or not at all, an earlier one as it was."""

import os
from contextlib import suppress
from pathlib import Path

from models.checkpoint import fsync


def write_whole(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Through a link to what it names; where `durable` also after a power cut. Raises OSError."""
    place = Path(os.path.realpath(path))
    partial = place.with_name(f".{place.name}.part")
    data = content if isinstance(content, bytes) else content.encode(errors="surrogateescape")
    try:
        with partial.open("wb") as file:
            with suppress(OSError):  # none there, or a filesystem that knows no permissions
                partial.chmod(place.stat().st_mode & 0o777)
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.rename(place)
    finally:
        partial.unlink(missing_ok=True)
    if durable:
        fsync(place.parent)
