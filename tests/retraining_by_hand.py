"""A retrainer at its work, under a clock that is set by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from builders import Station, surface_file, wait_until
from composed import ByHand

from daemon.clock import now_utc
from daemon.retraining.promotion import Promoter
from daemon.retraining.retrainer import Retrainer
from daemon.review.labelling import Labeller
from daemon.store.models import remember_current

NIGHT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
"""When a run is due, as the schedule is by default."""


@dataclass
class Clock:
    now: datetime

    def __call__(self) -> datetime:
        return self.now


@contextmanager
def retrainer_of(
    station: Station, line: ByHand, clock: Clock | None = None, **seconds: float
) -> Iterator[Retrainer]:
    parts = {"database": line.database, "health": line.health}
    promoter = Promoter(station.settings(), **parts, clock=now_utc, line=line.pipeline)  # type: ignore[arg-type]
    retrainer = Retrainer(
        station.settings(),
        **parts,
        promoter=promoter,
        clock=clock or now_utc,  # type: ignore[arg-type]
        **seconds,
    )
    try:
        yield retrainer
    finally:
        retrainer.close()


def label(station: Station, line: ByHand, counts: dict[str, int]) -> None:
    """Images that the line judged and a person labelled."""
    remember_current(line.database, line.pipeline.model.metadata, now_utc())
    names = []
    for name, count in counts.items():
        for number in range(count):
            names.append(name)
            data = surface_file(name, seed=2000 + number)
            station.drop("top-1", f"{name}-{number}.jpg", data)
    line.work_until(lambda: station.count() == len(names))
    labeller = Labeller(
        station.settings(), database=line.database, health=line.health, clock=now_utc
    )
    for image_id, filename in station.query("SELECT id, filename FROM inspections"):
        labeller.label(image_id, filename.rpartition("-")[0], "eva", seen=0)


def states(station: Station) -> list[tuple[str, str]]:
    return station.query("SELECT state, reason FROM retraining_run ORDER BY id")  # type: ignore[return-value]


def stepped_to_the_end(retrainer: Retrainer) -> None:
    def over() -> bool:
        retrainer.step()
        return not retrainer.busy

    wait_until(over, seconds=110)


def process_of(run: str) -> int | None:
    """None until it has become the command that was asked for."""
    for each in Path("/proc").iterdir():
        try:
            command = (each / "cmdline").read_bytes() if each.name.isdigit() else b""
            if b"-m\0training\0" in command and run.encode() in command:
                return int(each.name)
        except OSError:
            continue
    return None
