"""Where a file goes that was planned to go elsewhere, by a configuration with other folders."""

from pathlib import Path

from config.settings import Settings


class Homes:
    """Today's folders for images, as they are laid out whichever path they have."""

    def __init__(self, settings: Settings) -> None:
        self._roots = {
            "to_check": settings.review_folder / "to_check",
            "archive": settings.archive_folder,
            "quarantine": settings.quarantine_folder,
        }

    def of(self, planned: Path) -> Path:
        """The same place in today's folders; as planned where it is in one, or in none that is known."""
        roots = self._roots.values()
        if len(planned.parts) < 4 or any(planned.is_relative_to(root) for root in roots):
            return planned
        # By class or camera, and by day.
        kind, *within = planned.parts[-4:]
        return self._roots[kind].joinpath(*within) if kind in self._roots else planned
