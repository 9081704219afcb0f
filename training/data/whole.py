"""What a command or a run leaves: there whole or not at all, an earlier one as it was."""

import os
from pathlib import Path

from models.checkpoint import fsync


def write_whole(path: Path, text: str, *, durable: bool = True) -> None:
    """Through a link to what it names; where `durable` also after a power cut. Raises OSError."""
    place = Path(os.path.realpath(path))
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.part")
    try:
        with partial.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.rename(place)
    finally:
        partial.unlink(missing_ok=True)
    if durable:
        fsync(place.parent)
