"""A training run that was interrupted goes on where it ended."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


class ResumeError(Exception):
    """Progress cannot be kept, or gone on with; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Where a run keeps its progress.

    Attributes:
        file: about 0.3 GB for a ResNet18, and so not written after each epoch.
        run: says which run it is; another run does not go on from it.
        seconds_apart: the least time between two writes, after the first epoch and up to the last.
    """

    file: Path
    run: str
    seconds_apart: float = 60

    def write(self, state: dict[str, Any]) -> None:
        """Whole or not at all: a kill or a full disk while it is written leaves the epoch before.

        Raises:
            ResumeError: when it cannot be written.
        """
        partial = self.file.with_name(f"{self.file.name}.part")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"run": self.run, **state}, partial)
            partial.rename(self.file)
        except (OSError, RuntimeError) as error:  # torch's own writer raises the latter
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise ResumeError(
                f"the training ended because its progress could not be written to {self.file} "
                f"({error}); make room there and repeat the command: it goes on after the last "
                "epoch that was kept"
            ) from error

    def read(self, device: torch.device) -> dict[str, Any] | None:
        """What `write` was given, None when nothing was.

        Raises:
            ResumeError: for a damaged file, or one of another run.
        """
        if not self.file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.file, map_location=device, weights_only=True)
            run = state.pop("run")
        except Exception as error:  # the unpickler raises almost anything on a damaged file
            raise ResumeError(
                f"{self.file}, where an interrupted training would go on, cannot be read "
                f"({type(error).__name__}); delete it to begin anew"
            ) from error
        if run != self.run:
            raise ResumeError(
                f"{self.file} is of an interrupted training with other images, boxes, another recipe, "
                "seed or start; repeat that command to finish it, delete the file, or name "
                "another folder"
            )
        return state

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)
