"""Writers feed images for as long as it takes while the daemon is killed again and again."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import Station, stop_process, wait_until
from soak.account import Account, take_account
from soak.writers import HABITS, Feed, Pictures, Writer
from zygotes import Zygote

ZYGOTE = Path(__file__).with_name("zygote.py")
MEMORY = Path("/dev/shm")  # noqa: S108 -- another filesystem is what is wanted
QUIET_SECONDS = 0.2
GIVE_UP_SECONDS = 4.0
COLD = 20
"""One start of so many is the real command, which takes seconds to come up."""
CALM = 25
"""One life of so many is long enough to give a broken file up."""
FLOOD = 50
"""In one life of so many more is delivered than it can work off."""
FLOOD_FILES, USUAL_FILES = 500, 100
"""How many files may lie in the drop folders. Most images are to be met as they arrive."""
DRAIN_SECONDS = 300.0
SHOWN = 20


class Lives(Zygote):
    """Daemons in children of one process."""

    def live(self, station: Station, *, seconds: float, number: signal.Signals) -> int:
        """A daemon from its start to its end. Its exit code, a signal's being negative."""
        return self.ask(config=str(station.config), seconds=seconds, signal=number)


def live_cold(station: Station, *, seconds: float, number: signal.Signals) -> int:
    """The same by `millwatch run`."""
    process = station.start()
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return stop_process(process, number)
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True, kw_only=True)
class Soak:
    images: int
    cycles: int
    seed: int


def run(soak: Soak, root: Path, model: Path) -> None:
    print(f"\nseed: {soak.seed}", flush=True)
    with review_folder(root, elsewhere=soak.seed % 2 == 1) as review:
        station = three_cameras(root, model, review)
        feed = Feed(
            station=station,
            pictures=Pictures(min(20, 2 + soak.images // 1000)),
            images=soak.images,
            give_up_seconds=GIVE_UP_SECONDS,
        )
        started = time.monotonic()
        cycles = feed_and_kill(soak, feed)
        trouble = drain_and_stop(station)
        seconds = time.monotonic() - started
        account = take_account(feed)
        tell(soak, feed, account, cycles=cycles, seconds=seconds)
        judge(soak, account)
        assert trouble is None, f"seed {soak.seed}: {trouble}"


@contextmanager
def review_folder(root: Path, *, elsewhere: bool) -> Iterator[Path]:
    """Beside the rest, or on another filesystem where there is one; kept when the test fails."""
    if not elsewhere or not os.access(MEMORY, os.W_OK):
        yield root / "review"
        return
    folder = Path(tempfile.mkdtemp(prefix="millwatch-soak-", dir=MEMORY))
    yield folder / "review"
    shutil.rmtree(folder)


def three_cameras(root: Path, model: Path, review: Path) -> Station:
    """Two on inotify, one polled."""
    station = Station(
        root=root,
        model=model,
        cameras=("top-1", "bottom-1", "edge-1"),
        watch="inotify",
        tables={
            "intake": {
                "quiet_seconds": QUIET_SECONDS,
                "give_up_seconds": GIVE_UP_SECONDS,
                "rescan_seconds": 0.5,
            },
            "review": {"folder": str(review)},
            "policy": {"max_missed_defect_rate": 0.5},  # so that some pass, into the archive
        },
    )
    text = station.config.read_text()
    before, _, after = text.rpartition('"inotify"')
    station.config.write_text(f'{before}"polling"{after}')
    return station


def feed_and_kill(soak: Soak, feed: Feed) -> int:
    """Until every image is delivered and every daemon has had its end. The number of daemons."""
    chance = random.Random(soak.seed)  # noqa: S311 -- the same each time
    writers = [Writer(feed, habit, n, soak.seed) for n, habit in enumerate(HABITS)]
    zygote = Lives(ZYGOTE, feed.station.root / "daemon.log")
    cycle = 0
    try:
        for writer in writers:
            writer.thread.start()
        while cycle < soak.cycles or any(writer.thread.is_alive() for writer in writers):
            cycle += 1
            feed.allowed = soak.images * cycle // soak.cycles
            feed.most_waiting = FLOOD_FILES if cycle % FLOOD == FLOOD // 2 else USUAL_FILES
            one_life(feed.station, zygote, chance, cycle)
            assert not any(writer.error for writer in writers), [each.error for each in writers]
    except BaseException as error:
        error.add_note(f"seed {soak.seed}, cycle {cycle}, {feed.station.root}")
        raise
    finally:
        feed.stopping.set()
        for writer in writers:
            writer.thread.join()
        zygote.close()
    return cycle


def one_life(station: Station, zygote: Lives, chance: random.Random, cycle: int) -> None:
    cold = cycle % COLD == COLD // 2
    seconds = chance.uniform(0.05, 6.0 if cold else 2.0)
    if chance.random() < 0.2:  # most likely before it is up
        seconds = chance.uniform(0.05, 0.4)
    if cycle % CALM == CALM // 2:
        seconds += GIVE_UP_SECONDS
    number = signal.SIGTERM if chance.random() < 0.2 else signal.SIGKILL
    live = live_cold if cold else zygote.live
    status = live(station, seconds=seconds, number=number)
    # SIGTERM before the daemon listens for it ends the process as any other.
    wanted = (-number,) if number == signal.SIGKILL else (0, -number)
    assert status in wanted, f"status {status} after {seconds:.2f} s; {last_lines(station)}"


def last_lines(station: Station) -> str:
    lines = (station.root / "daemon.log").read_text().splitlines()
    return "\n".join(["the last of the log:", *lines[-SHOWN:]])


def drain_and_stop(station: Station) -> str | None:
    """Let a daemon do what is left, and stop it in good order. What was left all the same."""
    drops = [station.folder(camera) for camera in station.cameras]

    def is_drained() -> bool:
        files = any(path.is_file() for drop in drops for path in drop.rglob("*"))
        status = station.status()
        waiting = any(camera["waiting"] for camera in status["cameras"])
        return not files and not waiting and status["pending_moves"] == 0

    trouble = None
    with station.process() as daemon:
        try:
            wait_until(is_drained, seconds=DRAIN_SECONDS)
        except AssertionError:  # the account says which
            trouble = f"not drained in {DRAIN_SECONDS:g} s: {station.status()}"
        assert stop_process(daemon) == 0, last_lines(station)
    return trouble


def tell(soak: Soak, feed: Feed, account: Account, *, cycles: int, seconds: float) -> None:
    print(
        f"cycles: {cycles}\n"
        f"images delivered: {feed.delivered}\n"
        f"lost: {len(account.lost)}\n"
        f"doubled: {len(account.doubled)}\n"
        f"altered: {len(account.altered)}\n"
        f"images/s: {feed.delivered / seconds:.1f}\n"
        f"seconds: {seconds:.1f}\n"
        f"(recorded: {feed.station.count()}; overwritten by their camera before they were judged: "
        f"{account.overwritten}; held up by the machine and left out: {len(feed.overslept)})",
        flush=True,
    )
    assert feed.delivered == soak.images


def judge(soak: Soak, account: Account) -> None:
    faults = account.faults()
    told = [f"{name} ({len(files)}): " + "; ".join(files[:SHOWN]) for name, files in faults.items()]
    assert not faults, "\n".join([f"seed {soak.seed}:", *told])


@pytest.mark.timeout(600)
def test_random_kills_during_deliveries_of_every_habit_lose_double_and_alter_nothing(
    tmp_path: Path, commissioned_model: Path
) -> None:
    run(Soak(images=300, cycles=6, seed=7), tmp_path, commissioned_model)


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_thousands_of_images_and_hundreds_of_kills_lose_double_and_alter_nothing(
    tmp_path: Path, commissioned_model: Path
) -> None:
    soak = Soak(
        images=int(os.environ.get("SOAK_IMAGES", "20000")),
        cycles=int(os.environ.get("SOAK_CYCLES", "200")),
        seed=int(os.environ.get("SOAK_SEED", str(time.time_ns() % 1_000_000))),
    )
    run(soak, tmp_path, commissioned_model)
