"""`demo`: the real daemon on a scratch folder, fed by two made-up cameras."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from daemon.cli.options import CommandError
from daemon.control import NoDaemonError, ask
from daemon.store.inspections import Inspection, all_inspections
from daemon.store.upgrading import open_existing

CAMERAS: Final = ("top-1", "bottom-1")
_BURST: Final = 128
_START_SECONDS: Final = 120.0
_STALL_SECONDS: Final = 60.0
_CONFIG: Final = """\
state_dir = {state}

[review]
folder = {review}

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
class _Dropped:
    surface: str
    sha256: str


@dataclass
class _Demo:
    root: Path
    console: Console
    dropped: dict[tuple[str, str], _Dropped] = field(default_factory=dict)

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    @property
    def config(self) -> Path:
        return self.root / "millwatch.toml"


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    seconds: Annotated[float, typer.Option(min=1, help="How long the cameras run.")] = 8.0,
    rate: Annotated[float, typer.Option(min=1, help="Images a second, both together.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the surfaces that are drawn.")] = 1,
) -> None:
    """Run the daemon for a few seconds on drawn steel surfaces, and show what came of each."""
    run = _Demo(root=Path(tempfile.mkdtemp(prefix="millwatch-demo-")), console=Console())
    _set_up(run)
    with _daemon(run) as status:
        run.console.print(
            f"Daemon ready: model {status['model_version']} on {status['runtime']}", highlight=False
        )
        surfaces = _surfaces(seed)
        _feed(run, surfaces, seconds, rate)
        steady = _wait_for_all(run)
        burst_seconds = _burst(run, surfaces)
    with open_existing(run.state_dir / "millwatch.db") as database:
        inspections = list(all_inspections(database))
    _print_classes(run, inspections)
    whole = _print_account(run, inspections)
    latency = steady["latency_ms"]
    run.console.print(
        f"Last write to committed row at {rate:g} images/s: median {latency['median']} ms, "
        f"99th percentile {latency['p99']} ms ({latency['images']} images)\n"
        f"A backlog of {_BURST} images: {_BURST / burst_seconds:.0f} images/s",
        highlight=False,
    )
    _print_where_to_look(run)
    if not whole:
        raise CommandError(f"not every image is accounted for; see {run.root}")


def _set_up(run: _Demo) -> None:
    for camera in CAMERAS:
        (run.root / "cameras" / camera).mkdir(parents=True)
    text = _CONFIG.format(
        state=json.dumps(str(run.state_dir)),
        review=json.dumps(str(run.root / "review")),
        top=json.dumps(str(run.root / "cameras" / CAMERAS[0])),
        bottom=json.dumps(str(run.root / "cameras" / CAMERAS[1])),
    )
    run.config.write_text(text)


@contextmanager
def _daemon(run: _Demo) -> Iterator[dict[str, Any]]:
    """The daemon in a process of its own, ready; stopped with SIGTERM at the end."""
    command = [sys.executable, "-m", "daemon.cli", "run", "--config", str(run.config)]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MILLWATCH_")}
    run.console.print(f"Starting: millwatch run --config {run.config}", highlight=False)
    with (run.root / "daemon.log").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ)  # noqa: S603 -- ourselves
        try:
            yield _wait_until_ready(run, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def _wait_until_ready(run: _Demo, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return ask(run.state_dir, "status")
        except NoDaemonError:
            time.sleep(0.1)
    raise CommandError(f"the daemon did not start; {run.root / 'daemon.log'} says why")


def _surfaces(seed: int) -> Iterator[tuple[str, bytes]]:
    from training.synthetic import draw_sequence, encode  # noqa: PLC0415 -- only the demo draws

    for surface, pixels in draw_sequence(seed=seed):
        yield surface, encode(pixels, "jpeg")


def _feed(run: _Demo, surfaces: Iterator[tuple[str, bytes]], seconds: float, rate: float) -> None:
    """Deliver at a steady rate, by turns to each camera."""
    start = time.monotonic()
    total = max(1, int(seconds * rate))
    with Progress(console=run.console, transient=True) as progress:
        task = progress.add_task("cameras running", total=total)
        for number, (surface, data) in enumerate(islice(surfaces, total)):
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
            _deliver(run, number, surface, data)
            progress.advance(task)


def _burst(run: _Demo, surfaces: Iterator[tuple[str, bytes]]) -> float:
    """Deliver a backlog at once; the seconds until every image of it is recorded."""
    backlog = list(islice(surfaces, _BURST))
    numbers = count(len(run.dropped))
    start = time.monotonic()
    for surface, data in backlog:
        _deliver(run, next(numbers), surface, data)
    _wait_for_all(run)
    return time.monotonic() - start


def _deliver(run: _Demo, number: int, surface: str, data: bytes) -> None:
    """One camera writes under another name and renames, the other writes in place."""
    camera = CAMERAS[number % len(CAMERAS)]
    folder = run.root / "cameras" / camera
    name = f"{number:05d}.jpg"
    run.dropped[camera, name] = _Dropped(surface=surface, sha256=hashlib.sha256(data).hexdigest())
    if camera == CAMERAS[0]:
        partial = folder / f"{name}.part"
        partial.write_bytes(data)
        partial.rename(folder / name)
    else:
        (folder / name).write_bytes(data)


def _wait_for_all(run: _Demo) -> dict[str, Any]:
    """Until the daemon has recorded all that was dropped; its status then."""
    recorded, changed_at = -1, time.monotonic()
    while True:
        status = ask(run.state_dir, "status")
        now = sum(status["recorded"].values())
        if now >= len(run.dropped) and not status["pending_moves"]:
            return status
        if now != recorded:
            recorded, changed_at = now, time.monotonic()
        if time.monotonic() - changed_at > _STALL_SECONDS:
            raise CommandError(f"the daemon stands still; see {run.root / 'daemon.log'}")
        time.sleep(0.02)


def _print_classes(run: _Demo, inspections: list[Inspection]) -> None:
    """What was drawn, against what was seen."""
    seen: dict[str, Counter[str]] = {}
    for inspection in inspections:
        drawn = run.dropped[inspection.camera, inspection.filename].surface
        counts = seen.setdefault(drawn, Counter())
        counts["images"] += 1
        counts[inspection.verdict] += 1
        counts["right"] += inspection.predicted_class == drawn
    names = ("images", "defect", "unsure", "pass", "unreadable")
    table = Table("drawn", title="What the daemon made of it")
    for name in (*names, "class right"):
        table.add_column(name, justify="right")
    for drawn, counts in sorted(seen.items()):
        # The shipped model knows six defects and no clean surface: nothing to be right about.
        right = "-" if drawn == "no_defect" else str(counts["right"])
        table.add_row(drawn, *(str(counts[name]) for name in names), right)
    run.console.print(table)


def _print_account(run: _Demo, inspections: list[Inspection]) -> bool:
    """Whether each image dropped has one record and lies, unchanged, where that says."""
    records = Counter((each.camera, each.filename) for each in inspections)
    in_place = sum(
        each.path is not None
        and hashlib.sha256(each.path.read_bytes()).hexdigest()
        == run.dropped[each.camera, each.filename].sha256
        for each in inspections
    )
    dropped = len(run.dropped)
    run.console.print(
        f"{dropped} images dropped, {len(inspections)} records, {in_place} files unchanged where "
        "the record says",
        highlight=False,
    )
    return records == Counter(dict.fromkeys(run.dropped, 1)) and in_place == dropped


def _print_where_to_look(run: _Demo) -> None:
    run.console.print("Where to look:", style="bold")
    for what, path in (
        ("to check", run.root / "review" / "to_check"),
        ("database", run.state_dir / "millwatch.db"),
        ("log", run.root / "daemon.log"),
    ):
        run.console.print(f"  {what:9} {path}", highlight=False, soft_wrap=True)
    run.console.print(
        f"  rates     millwatch report rates --config {run.config}",
        highlight=False,
        soft_wrap=True,
    )
