"""Bringing a record to where its file was found: by the daemon where one runs, as it alone writes."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from config.settings import Settings
from daemon.integrity.differences import Mend, Roots, content_of
from daemon.names import from_text, to_text
from daemon.process.control import Answer, Arguments, Handlers, RefusedError
from daemon.store import places
from daemon.store.database import Database
from daemon.values import Progress

COMMAND = "audit mend"


def arguments_of(mend: Mend, by: str) -> Arguments:
    """What is asked of the daemon."""
    was = mend.was
    return {
        "image": was.image_id,
        "was": None if was.path is None else to_text(was.path),
        "progress": was.progress.value,
        "path": to_text(mend.path),
        "by": by,
    }


class Mender:
    """Mends records, one at a time."""

    def __init__(
        self, settings: Settings, *, database: Database, clock: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock

    def commands(self) -> Handlers:
        return {COMMAND: self.mend}

    def mend(self, arguments: Arguments) -> Answer:
        """Whether the record now says where the file is.

        Raises:
            RefusedError: the record or the file has changed meanwhile.
            StoreError, OSError: nothing was changed.
        """
        was = places.place(self._database, arguments["image"])
        path = Path(from_text(arguments["path"]))
        seen = None if arguments["was"] is None else Path(from_text(arguments["was"]))
        if was is None or (was.path, was.progress) != (seen, Progress(arguments["progress"])):
            raise RefusedError(f"the record of image {arguments['image']} has changed meanwhile")
        hindrance = Roots(self._settings).hindrance(was, path)
        if hindrance:
            raise RefusedError(f"{to_text(path)}: {hindrance}")
        if content_of(path) != was.sha256:
            raise RefusedError(f"{to_text(path)} is not image {was.image_id} any more")
        if not places.follow(self._database, was, path, by=arguments["by"], now=self._clock()):
            raise RefusedError(f"the record of image {was.image_id} has changed meanwhile")
        return {"mended": was.image_id}
