"""Which names in a drop folder are images to judge."""

from collections.abc import Sequence
from dataclasses import dataclass

from config.settings import Intake
from daemon.names import is_ignored


@dataclass(frozen=True, kw_only=True)
class NameRule:
    """What `[intake]` says of names.

    Attributes:
        extensions: in lower case, each with its dot.
        ignore: shell patterns; a name, or a folder on the way to it, that matches one is passed over.
    """

    extensions: tuple[str, ...]
    ignore: Sequence[str]

    @classmethod
    def of(cls, intake: Intake) -> "NameRule":
        return cls(extensions=intake.extensions, ignore=intake.ignore)

    def ignores(self, component: str) -> bool:
        """Whether one file or folder name is to be passed over."""
        return is_ignored(component, self.ignore)

    def has_extension(self, filename: str) -> bool:
        """Whether a name, or a path inside a drop folder, ends as an image's does."""
        dot = filename.rfind(".")
        begins = dot <= 0 or filename[dot - 1] == "/"
        return not begins and filename[dot:].lower() in self.extensions

    def is_image(self, filename: str) -> bool:
        """Whether a path inside a drop folder names an image."""
        if not self.has_extension(filename):
            return False
        return not any(self.ignores(component) for component in filename.split("/"))
