"""Many broken files through the decoder, in processes that may die of it."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.mutations import case
from fuzz.seeds import seeds

WORKERS = 2
ROOT = Path(__file__).resolve().parents[2]
DECODE = "models.preprocessing:decode"
START_SECONDS = 60.0


@dataclass
class Tally:
    """What a campaign saw."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, -1)
    largest: tuple[int, int] = (0, -1)
    loudest: tuple[int, int, int] = (0, 0, -1)
    noise_bytes: int = 0

    @property
    def count(self) -> int:
        return self.outcomes.total()

    def add(self, iteration: int, result: dict[str, Any]) -> None:
        self.outcomes[result["outcome"]] += 1
        self.slowest = max(self.slowest, (result["seconds"], iteration))
        self.largest = max(self.largest, (result["grown"], iteration))
        noise = (result["noise_bytes"], result["noise_lines"], iteration)
        self.loudest = max(self.loudest, noise)
        self.noise_bytes += noise[0]

    def report(self) -> str:
        lines = [
            f"{self.count} broken files in {self.seconds:.0f} s: {self.count / self.seconds:.0f}/s",
            *(
                f"  {share / self.count:6.1%} {outcome}"
                for outcome, share in self.outcomes.most_common()
            ),
            f"slowest: {self.slowest[0]:.2f} s (iteration {self.slowest[1]})",
            f"largest growth: {self.largest[0] / 1e6:.0f} MB (iteration {self.largest[1]})",
            "most on standard error: {} bytes in {} lines (iteration {})".format(*self.loudest),
            f"mean on standard error: {self.noise_bytes / self.count:.0f} bytes",
            f"findings: {len(self.findings)}",
            *self.findings,
        ]
        return "\n".join(lines)


class Worker:
    """A process that decodes; started again when it has died."""

    def __init__(self, seed: int, *, seconds: float, decoder: str, log: Path) -> None:
        self._command = [sys.executable, "-m", "fuzz.worker", str(seed), str(seconds), decoder]
        self._seconds = seconds
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def examine(self, iteration: int) -> dict[str, Any]:
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"%d\n" % iteration)
        self._process.stdin.flush()
        # C code may hold off the worker's own alarm, which also writes where it hangs.
        answered, _, _ = select.select([self._process.stdout], [], [], self._seconds + 5)
        line = self._process.stdout.readline() if answered else b""
        if line:
            return dict(json.loads(line))
        return self._dead(hung=not answered)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> None:
        """Returns when the process has drawn its files, so that only decoding is timed."""
        paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": paths,
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                    # What is freed goes back at once, so that growth is measured and not kept.
                    "MALLOC_MMAP_THRESHOLD_": "131072",
                },
            )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        if not ready or self._process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"a worker did not start: {self._log.read_text()[-2000:]}")

    def _dead(self, *, hung: bool) -> dict[str, Any]:
        assert self._process is not None
        if hung:
            self._process.kill()
        code = self._process.wait()
        self._process.communicate()
        self._process = None
        told = self._log.read_text(errors="replace")[-1500:]
        if hung or "Timeout (" in told:
            problem = f"more than {self._seconds:g} s"
        elif code < 0:
            problem = f"death by {signal.Signals(-code).name}"
        else:
            problem = f"exit {code}"
        self._log.write_text("")
        nothing = {"seconds": self._seconds if hung else 0.0, "grown": 0, "noise_bytes": 0}
        problems = {"outcome": "died", "problems": [problem], "detail": told}
        return {**nothing, "noise_lines": 0, **problems}


def run_campaign(
    seed: int,
    iterations: Iterable[int],
    *,
    folder: Path,
    seconds: float = 5.0,
    decoder: str = DECODE,
    go_on: Callable[[], bool] = lambda: True,
) -> Tally:
    """Decode the file of each iteration. Findings lie in the folder, as bytes and as JSON."""
    tally = Tally()
    files = seeds()
    numbers = iter(iterations)
    begin = time.monotonic()

    def work(number: int) -> None:
        worker = Worker(seed, seconds=seconds, decoder=decoder, log=folder / f"worker-{number}.log")
        try:
            while go_on() and (iteration := next(numbers, None)) is not None:
                result = worker.examine(iteration)
                tally.add(iteration, result)
                if result["problems"]:
                    one = case(files, seed=seed, iteration=iteration)
                    name = f"{seed}-{iteration}"
                    (folder / f"{name}.bin").write_bytes(one.data)
                    told = {"origin": one.origin, "mutators": one.mutators, "size": one.size}
                    told |= {"allow_zero_tail": one.allow_zero_tail, **result}
                    (folder / f"{name}.json").write_text(json.dumps(told, indent=2))
                    tally.findings.append(f"{folder / name}.bin: {'; '.join(result['problems'])}")
        finally:
            worker.close()

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))
    tally.seconds = time.monotonic() - begin
    return tally
