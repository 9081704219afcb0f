"""What a pushed image is called while it is written into a drop folder; what a kill left of one goes."""

import os
import re
import secrets
from pathlib import Path
from typing import Final

import structlog

from daemon.names import to_text

log = structlog.get_logger(__name__)

_THIS_RUN: Final = secrets.token_hex(4)
_NAME: Final = re.compile(r"\.upload-([0-9a-f]{8})-[0-9a-f]{16}\.part")
"""No camera's: nothing else is ever removed."""


def partial_name() -> str:
    """A new one, of an upload of this process."""
    return f".upload-{_THIS_RUN}-{secrets.token_hex(8)}.part"


def remove_leftovers(folder: Path) -> None:
    """Remove what earlier runs did not come to the end of: nobody was told that it was taken.

    Raises:
        OSError: the folder cannot be listed.
    """
    with os.scandir(folder) as entries:
        found = [each.name for each in entries if each.name.startswith(".upload-")]
    for name in found:
        match = _NAME.fullmatch(name)
        if match is None or match[1] == _THIS_RUN:
            continue
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            log.warning("left of an upload", path=to_text(folder / name), error=str(error))
        else:
            log.info("removed what was left of an upload", path=to_text(folder / name))
