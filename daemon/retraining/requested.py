"""`python -m daemon.retraining.requested`: the retraining that the daemon asked for, run by systemd."""

import os
import sys
from pathlib import Path
from typing import Final

from daemon.retraining import folders
from models.checkpoint import fsync

REQUESTED_VARIABLE: Final = "RETRAINING_REQUESTED"
"""Names the file that the path unit waits for. The unit knows it, as the configuration may by now hold a mistake."""
_ENDED: Final = "it was ended from outside ({result}); the current model is as it was, retrain"
_MEMORY: Final = " with a larger retraining.max_memory_gb (`millwatch-configure` makes systemd allow it), or more free"


def main(arguments: list[str]) -> None:
    """Become the training; or, with `--ended`, tell the daemon of one that could not say so itself."""
    requested = Path(os.environ[REQUESTED_VARIABLE])
    begun = requested.with_name(folders.BEGUN)
    # When one ends, the next may be asked for already: nothing was heard of that yet.
    which = begun if arguments == ["--ended"] and begun.exists() else requested
    folder = Path(which.read_text().strip())
    if folder.parent != requested.parent:
        sys.exit(f"{which} names {folder}, which is no retraining run of {requested.parent}")
    if (folder / folders.EVALUATION).exists():
        return
    if arguments == ["--ended"]:
        _tell(folder, os.environ.get("SERVICE_RESULT", "unknown"))
        return
    begun.write_text(f"{folder}\n")
    os.execv(sys.executable, [sys.executable, "-m", "training", str(folder)])  # noqa: S606 -- ourselves


def _tell(folder: Path, result: str) -> None:
    failed = folder / folders.FAILED
    if folder.is_dir() and not failed.exists():
        remedy = _MEMORY if result == "oom-kill" else ""
        failed.write_text(f"{_ENDED.format(result=result)}{remedy}\n")
        fsync(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
