"""What a command leaves as its result: there whole or not at all, an earlier one as it was."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Also on a full disk, and when killed amid it; through a link to what it names. Raises OSError."""
    place = Path(os.path.realpath(path))
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.rename(place)
    finally:
        partial.unlink(missing_ok=True)
