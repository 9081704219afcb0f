"""`python -m training RUN_DIR`: a retraining run, apart from the daemon that asked for it.

Exit status 0 when `evaluation.json` and the candidate are there; else 1, with one sentence in
`failed.txt` that says what to do.
"""

import os
import sys
import traceback
from pathlib import Path

import torch
from safetensors import SafetensorError

from models.checkpoint import CheckpointError
from models.runtimes.protocol import RuntimeUnavailableError, lacks_memory
from models.whole import write_whole
from training.data.manifest import ManifestError
from training.retraining.retrain import retrain
from training.retraining.run_folder import FAILED, RunError, read_run

_EXPLAINED = (RunError, CheckpointError, ManifestError, RuntimeUnavailableError)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m training RUN_DIR\n")
        return 2
    folder = Path(arguments[0])
    try:
        asked = read_run(folder)
        _keep_to(asked.threads)
        retrain(asked)
    except _EXPLAINED as error:
        return _failed(folder, str(error))
    except (OSError, SafetensorError) as error:
        return _failed(
            folder, f"the run could not write or read its files ({error}); make room and retrain"
        )
    except Exception as error:  # noqa: BLE001 -- whatever it is, the daemon must learn of it
        traceback.print_exc()
        if lacks_memory(error):
            return _failed(
                folder,
                f"the run needs more memory than there is for it ({error}); raise "
                "retraining.max_memory_gb, or free some, and retrain; the current model is as it was",
            )
        return _failed(
            folder,
            f"the run ended with {type(error).__name__}: {error}; the current model is as it was, "
            "the run's log has the details",
        )
    return 0


def _keep_to(threads: int) -> None:
    """Torch and OpenVINO alike: neither sees more of the processor than that."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[-threads:])
    torch.set_num_threads(min(threads, len(allowed)))


def _failed(folder: Path, why: str) -> int:
    sys.stderr.write(f"training: {why}\n")
    try:
        write_whole(folder / FAILED, why.replace("\n", " ") + "\n")
    except OSError as error:
        sys.stderr.write(f"training: {folder / FAILED} could not be written: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
