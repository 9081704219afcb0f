"""`python restoring.py PRISTINE KILLED`: restores in forked children, each killed at a later step.

Each child works on a copy of the folder PRISTINE, at KILLED/<step>; prints the step at which it died.
"""

import itertools
import os
import shutil
import sys
from pathlib import Path

from crash.kills import Kill
from records import NOW

from daemon.store.restoring import restore
from daemon.store.soundness import examine


def main(pristine: Path, killed: Path) -> None:
    examine(pristine / "backup.db")  # what it remembers of the schema, the children inherit
    for step in itertools.count(1):
        folder = killed / str(step)
        shutil.copytree(pristine, folder)
        trace = killed / f"{step}.trace"
        child = os.fork()
        if child == 0:
            Kill(step, trace).arm()
            restore(folder / "millwatch.db", folder / "backup.db", now=NOW)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return
        print(trace.read_text().splitlines()[-1].split()[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
