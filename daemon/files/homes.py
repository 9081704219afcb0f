"""Today's folders for images, and where in them a file goes that an earlier configuration planned for elsewhere."""

import re
from pathlib import Path
from typing import Final

from config.settings import Settings

DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
"""How a folder of a day is named; no class has such a name."""


class Homes:
    """Today's folders for images, as they are laid out whichever path they have."""

    def __init__(self, settings: Settings) -> None:
        review, archive = settings.review_folder, settings.archive_folder
        quarantine = settings.quarantine_folder
        self._all = (review, archive, quarantine, *(each.folder for each in settings.cameras))
        self._roots = {
            "to_check": review / "to_check",
            "labelled": review / "labelled",
            "archive": archive,
            "quarantine": quarantine,
        }

    def hold(self, path: Path) -> bool:
        """Whether it lies in a folder of today's, a camera's too."""
        return any(path.is_relative_to(root) for root in self._all)

    def of(self, planned: Path) -> Path:
        """The same place in today's folders; as planned where it is in one, or in none that is known."""
        roots = self._roots.values()
        if len(planned.parts) < 4 or any(planned.is_relative_to(root) for root in roots):
            return planned
        # By class or camera, and by day; what is labelled by class alone.
        depth = 3 if DAY.fullmatch(planned.parts[-2]) else 2
        kind, *within = planned.parts[-depth - 1 :]
        return self._roots[kind].joinpath(*within) if kind in self._roots else planned
