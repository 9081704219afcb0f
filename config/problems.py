"""What is wrong with a configuration, in the words of the person who has to put it right."""

from collections.abc import Sequence
from dataclasses import dataclass

from config.text import as_one_line

# EX_CONFIG of sysexits.h. The systemd unit does not restart on it: only an edit helps.
CONFIGURATION_EXIT_STATUS = 78


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One reason why a configuration cannot be used.

    `source` is the file, or "environment MILLWATCH_X". `again_helps` says that it may go away without
    an edit, as a share that is not mounted yet does.
    """

    source: str
    line: int | None
    key: str
    what: str
    remedy: str
    again_helps: bool = False

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        headline = ": ".join(part for part in (where, self.key, self.what) if part)
        return f"{as_one_line(headline)}\n    → {as_one_line(self.remedy)}"


class ConfigurationError(Exception):
    """The configuration cannot be used; `problems` holds every reason, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
