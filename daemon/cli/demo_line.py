"""The demo's line: a daemon of its own on a scratch folder, and two cameras that deliver to it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

from daemon.cli.options import CommandError
from daemon.process.control import NoAnswerError, NoDaemonError, ask

CAMERAS: Final = ("top-1", "bottom-1")
_START_SECONDS: Final = 120.0
_CONFIG: Final = """\
state_dir = {state}

[review]
folder = {review}

[policy]
# Some 180 defects are held out. To promise the default of 0.005 it takes 598, for this 299.
max_missed_defect_rate = 0.01

[retraining]
threads = 2

[web]
enabled = false

[[cameras]]
name = "top-1"
folder = {top}

[[cameras]]
name = "bottom-1"
folder = {bottom}
"""


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """What was drawn, and the bytes that were delivered."""

    surface: str
    sha256: str


@dataclass
class Line:
    """A scratch folder with a configuration, and all that its cameras delivered."""

    root: Path
    console: Console
    dropped: dict[tuple[str, str], Dropped] = field(default_factory=dict)

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    @property
    def review(self) -> Path:
        return self.root / "review"

    @property
    def config(self) -> Path:
        return self.root / "millwatch.toml"

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False)

    def set_up(self) -> None:
        for camera in CAMERAS:
            (self.root / "cameras" / camera).mkdir(parents=True)
        text = _CONFIG.format(
            state=json.dumps(str(self.state_dir)),
            review=json.dumps(str(self.review)),
            top=json.dumps(str(self.root / "cameras" / CAMERAS[0])),
            bottom=json.dumps(str(self.root / "cameras" / CAMERAS[1])),
        )
        self.config.write_text(text)

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = ask(self.state_dir, "status")
        return answer

    @contextmanager
    def daemon(self) -> Iterator[dict[str, Any]]:
        """The daemon in a process of its own, ready; stopped with SIGTERM at the end."""
        command = [sys.executable, "-P", "-m", "daemon.cli", "run", "--config", str(self.config)]
        environ = {
            key: value for key, value in os.environ.items() if not key.startswith("MILLWATCH_")
        }
        self.say(f"Starting: millwatch run --config {self.config}")
        with (self.root / "daemon.log").open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=environ)  # noqa: S603 -- ourselves
            try:
                yield self._wait_until_ready(process)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=30)

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                return self.status()
            except (NoDaemonError, NoAnswerError):
                time.sleep(0.1)
        raise CommandError(f"the daemon did not start; {self.root / 'daemon.log'} says why")

    def feed(self, surfaces: Iterator[tuple[str, bytes]], seconds: float, rate: float) -> None:
        """Deliver at a steady rate, by turns to each camera."""
        start = time.monotonic()
        total = max(1, int(seconds * rate))
        with Progress(console=self.console, transient=True) as progress:
            task = progress.add_task("cameras running", total=total)
            for number, (surface, data) in enumerate(islice(surfaces, total)):
                time.sleep(max(0.0, start + number / rate - time.monotonic()))
                self.deliver(surface, data)
                progress.advance(task)

    def burst(self, surfaces: Iterator[tuple[str, bytes]], images: int) -> float:
        """Deliver a backlog at once; the seconds until every image of it is recorded."""
        backlog = list(islice(surfaces, images))
        start = time.monotonic()
        for surface, data in backlog:
            self.deliver(surface, data)
        self.wait_for_all()
        return time.monotonic() - start

    def deliver(self, surface: str, data: bytes) -> None:
        """One camera writes under another name and renames, the other writes in place."""
        number = len(self.dropped)
        camera = CAMERAS[number % len(CAMERAS)]
        folder = self.root / "cameras" / camera
        name = f"{number:05d}.jpg"
        digest = hashlib.sha256(data).hexdigest()
        self.dropped[camera, name] = Dropped(surface=surface, sha256=digest)
        if camera == CAMERAS[0]:
            partial = folder / f"{name}.part"
            partial.write_bytes(data)
            partial.rename(folder / name)
        else:
            (folder / name).write_bytes(data)

    def wait_for_all(self) -> dict[str, Any]:
        """Until the daemon has recorded and moved all that was dropped; its status then."""

        def recorded(status: dict[str, Any]) -> int:
            return sum(status["recorded"].values())

        def done(status: dict[str, Any]) -> bool:
            return recorded(status) >= len(self.dropped) and not status["pending_moves"]

        return self.wait_until(done, recorded)

    def wait_until(
        self,
        done: Callable[[dict[str, Any]], bool],
        moved_on: Callable[[dict[str, Any]], object],
        *,
        stall_seconds: float = 60.0,
    ) -> dict[str, Any]:
        """The status when it is `done`; an error when what `moved_on` tells has not changed for long."""
        before, changed_at = None, time.monotonic()
        while not done(status := self.status()):
            if (now := moved_on(status)) != before:
                before, changed_at = now, time.monotonic()
            if time.monotonic() - changed_at > stall_seconds:
                raise CommandError(f"the daemon stands still; see {self.root / 'daemon.log'}")
            time.sleep(0.02)
        return status
