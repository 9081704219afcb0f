"""Cameras, operators, kills and full disks in any order; no image is lost, doubled or altered."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders import surface_file
from crash.station_machine import CAMERAS, HOPELESS, PATIENT, World
from filesystems import mount_memory
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from zygotes import Zygote

ZYGOTE = Path(__file__).with_name("zygote.py")
_ROUNDS = {PATIENT: 2, HOPELESS: 5}
"""What is given up is read a second time after a tenth of a second."""
EXAMPLES = os.environ.get("HYPOTHESIS_EXAMPLES")
PHASES = (
    (Phase.generate, Phase.shrink) if os.environ.get("HYPOTHESIS_SHRINK") else (Phase.generate,)
)
MEMORY = Path("/dev/shm")  # noqa: S108 -- fsync costs nothing there, and a kill is no power loss
PICTURES = {
    "jpeg": surface_file("scratches", seed=1),
    "png": surface_file("patches", seed=2, form="png"),
    "bmp": surface_file("crazing", seed=3, form="bmp"),
}
CONTENTS = {**PICTURES, "no picture": b"no picture", "nothing": b""}
NAMES = ("a.jpg", "b.png", "deep/a.jpg", "deep/er/c.bmp")

KINDS = ("rename", "link", "unlink", "commit", "fsync", "replace", "pread")

cameras = st.sampled_from(CAMERAS)
names = st.sampled_from(NAMES)
contents = st.sampled_from(tuple(CONTENTS))
steps = st.integers(2, 30)
some = st.integers(0, 11)
configs = st.sampled_from((PATIENT, HOPELESS))


class Children(Zygote):
    """Runs of the daemon, in children of one process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(ZYGOTE, folder / "zygote.log")
        self._trace = folder / "trace"

    def run(self, config: Path, *, kill_at: int | None = None, **options: Any) -> str | None:
        """The step that it was killed before; None when it came to an end."""
        self._trace.unlink(missing_ok=True)
        status = self.ask(
            config=str(config),
            kill_at=kill_at,
            trace=str(self._trace),
            rounds=_ROUNDS[config.name],
            **options,
        )
        assert status in (0, -signal.SIGKILL), self.log()
        steps = self._trace.read_text(errors="surrogateescape").splitlines()
        return steps[-1] if status else None


@dataclass
class Yard:
    """Where stations are built, one for each example."""

    here: Path
    model: Path
    children: Children
    small: tuple[Path, ...]
    """Two small filesystems, where they can be had."""
    built: int = 0

    def build(self, *, apart: bool) -> World:
        self.built += 1
        root = self.here / str(self.built)
        review, state = root / "review", root / "state"
        if apart:
            review, state = (disk / str(self.built) for disk in self.small)
        return World(root, self.model, self.children.run, review=review, state=state)


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Yard]:
    own = tmp_path_factory.mktemp("yard")
    here = Path(
        tempfile.mkdtemp(
            prefix="millwatch-test-", dir=MEMORY if os.access(MEMORY, os.W_OK) else own
        )
    )
    small = tuple(disk for disk in (own / "review", own / "state") if mount_memory(disk, size="3m"))
    children = Children(own)
    yield Yard(here=here, model=model, children=children, small=small if len(small) == 2 else ())
    children.close()
    shutil.rmtree(here)
    for disk in small:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def free(folders: Sequence[Path]) -> None:
    """Give back what a child filled."""
    for folder in folders:
        with suppress(FileNotFoundError):
            os.unlink(folder / "filler")  # noqa: PTH108


class Line(RuleBasedStateMachine):
    yard: Yard

    @initialize(apart=st.booleans())
    def build(self, apart: bool) -> None:
        self.apart = apart and bool(self.yard.small)
        self.world = self.yard.build(apart=self.apart)

    @rule(camera=cameras, name=names, content=contents, in_place=st.booleans())
    def drop(self, camera: str, name: str, content: str, in_place: bool) -> None:
        deliver = self.world.write if in_place else self.world.drop
        deliver(camera, name, CONTENTS[content], decodes=content in PICTURES)

    @rule(
        camera=cameras,
        name=names,
        content=st.sampled_from(tuple(PICTURES)),
        quarters=st.sampled_from((0, 2, 3)),
    )
    def begin(self, camera: str, name: str, content: str, quarters: int) -> None:
        data = PICTURES[content]
        self.world.begin(camera, name, data, quarters * len(data) // 4)

    @rule(which=some)
    def go_on(self, which: int) -> None:
        begun = [file for file in self.world.lying if file.writer]
        if not begun:
            return
        file = begun[which % len(begun)]
        self.world.go_on(file)

    @rule(which=some, content=contents, in_place=st.booleans())
    def overwrite(self, which: int, content: str, in_place: bool) -> None:
        waiting = self.world.reachable()
        if not waiting:
            return
        file = waiting[which % len(waiting)]
        self.drop(file.camera, file.filename, content, in_place)

    @rule(which=some, camera=cameras, name=names)
    def rename(self, which: int, camera: str, name: str) -> None:
        waiting = self.world.reachable()
        if not waiting:
            return
        file = waiting[which % len(waiting)]
        self.world.rename(file, camera, name)

    @rule(camera=cameras)
    def make_folder_anew(self, camera: str) -> None:
        self.world.make_anew(camera)

    @rule(camera=cameras)
    def exchange_folder(self, camera: str) -> None:
        self.world.exchange(camera)

    @rule(which=some, deed=st.sampled_from(("label", "copy", "move", "delete")))
    def operate(self, which: int, deed: str) -> None:
        rows = self.world.in_review()
        if not rows:
            return
        row = rows[which % len(rows)]
        assert row.path is not None
        review = self.world.station.review
        folder = review / ("to_check/mine" if deed == "move" else "labelled/scratches")
        to = None if deed == "delete" else folder / row.path.name
        self.world.take(row, to, copy=deed == "copy")

    @rule(config=configs)
    def work(self, config: str) -> None:
        self.world.run(config)

    @rule(config=configs, kind=st.sampled_from(KINDS), nth=st.integers(1, 3))
    def kill(self, config: str, kind: str, nth: int) -> None:
        if not self.world.reachable():
            return
        self.world.run(config, kill_at=nth, kind=kind)

    @rule(
        config=configs,
        which=st.sampled_from(("review", "state", "both")),
        step=steps,
        kill_after=st.none() | st.integers(1, 20),
    )
    def fill(self, config: str, which: str, step: int, kill_after: int | None) -> None:
        if not (self.apart and self.world.reachable()):
            return
        disks = [disk for disk in self.yard.small if which in (disk.name, "both")]
        kill_at = None if kill_after is None else step + kill_after
        fill = [str(disk) for disk in disks]
        try:
            self.world.run(config, kill_at=kill_at, fill=fill, fill_at=step)
        finally:
            free(disks)

    @rule(config=configs)
    def work_with_review_read_only(self, config: str) -> None:
        if not self.world.reachable():
            return
        folder = self.world.station.review / "to_check"
        folder.mkdir(parents=True, exist_ok=True)
        folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for path in folders:
            path.chmod(0o555)
        try:
            self.world.run(config, obey_permissions=True)
        finally:
            for path in folders:
                path.chmod(0o755)

    def teardown(self) -> None:
        try:
            self.world.finish()
        finally:
            shutil.rmtree(self.world.root)
            if self.apart:
                shutil.rmtree(self.world.station.review, ignore_errors=True)
                shutil.rmtree(self.world.station.state_dir)


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_whatever_cameras_operators_kills_and_disks_do_no_image_is_lost_doubled_or_altered(
    yard: Yard,
) -> None:
    Line.yard = yard
    run_state_machine_as_test(
        Line,
        settings=settings(
            max_examples=int(EXAMPLES or 30),
            stateful_step_count=20,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )
