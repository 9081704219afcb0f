"""Whatever people do to files in the review folder, and on the page meanwhile: nothing is lost, and the
records say what the folder says."""

import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from reviewed import UNSURE, Looking, data_of, labels, looking, paths, station_of

from daemon.process.control import RefusedError
from daemon.store import review_files

EXAMPLES = os.environ.get("HYPOTHESIS_EXAMPLES")
MEMORY = Path("/dev/shm")  # noqa: S108 -- fsync costs nothing there
VERDICTS = {**UNSURE, 5: "pass"}
BYTES = {data_of(number): number for number in VERDICTS}
FOLDERS = (
    "labelled/patches",
    "labelled/crazing/deep",
    "to_check/mine",
    "labelled",
    "labelled/unknown",
)
CLASSES = ("patches", "crazing")

some = st.integers(0, 30)
folders = st.sampled_from(FOLDERS)


class People(RuleBasedStateMachine):
    yard: Path
    numbers = itertools.count()

    @initialize()
    def build(self) -> None:
        root = self.yard / str(next(self.numbers))
        self.station = station_of(root, VERDICTS)
        self.held = ExitStack()
        self.one: Looking = self.held.enter_context(looking(self.station))
        self.kept = Counter(path.read_bytes() for path in self.station.files())
        self.trash: list[bytes] = []

    def files(self) -> list[Path]:
        found = (self.station.review / part for part in ("to_check", "labelled"))
        return sorted(path for root in found for path in root.rglob("*") if path.is_file())

    def pick(self, which: int) -> Path:
        files = [*self.files(), *sorted((self.station.state_dir / "archive").rglob("*.jpg"))]
        return files[which % len(files)]

    def place(self, path: Path, folder: str, *, renamed: bool) -> Path:
        name = f"renamed-{next(self.numbers)}.jpg" if renamed else path.name
        target = self.station.review / folder / name
        if target.exists():
            target = target.with_name(f"again-{next(self.numbers)}.jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    @rule(which=some, folder=folders, renamed=st.booleans())
    def move(self, which: int, folder: str, renamed: bool) -> None:
        if self.files():
            path = self.pick(which)
            path.rename(self.place(path, folder, renamed=renamed))

    @rule(which=some, folder=folders, renamed=st.booleans(), with_time=st.booleans())
    def copy(self, which: int, folder: str, renamed: bool, with_time: bool) -> None:
        if self.files():
            path = self.pick(which)
            copied = shutil.copy2 if with_time else shutil.copy
            copied(path, self.place(path, folder, renamed=renamed))
            self.kept[path.read_bytes()] += 1

    @rule(which=some)
    def delete(self, which: int) -> None:
        if self.files():
            path = self.files()[which % len(self.files())]
            self.trash.append(path.read_bytes())
            self.kept[path.read_bytes()] -= 1
            path.unlink()

    @rule(which=some, folder=folders)
    def put_back(self, which: int, folder: str) -> None:
        if self.trash:
            data = self.trash.pop(which % len(self.trash))
            self.place(Path("put-back.jpg"), folder, renamed=True).write_bytes(data)
            self.kept[data] += 1

    @rule(which=some)
    def edit(self, which: int) -> None:
        if self.files():
            path = self.files()[which % len(self.files())]
            before = path.read_bytes()
            path.write_bytes(before + b".")
            self.kept[before] -= 1
            self.kept[before + b"."] += 1

    @rule(number=st.sampled_from(tuple(VERDICTS)), name=st.sampled_from((*CLASSES, None)))
    def use_the_page(self, number: int, name: str | None) -> None:
        with suppress(RefusedError):  # its file is missing, say
            if name is None:
                self.one.labeller.undo(number, "anna", seen=None)
            else:
                self.one.labeller.label(number, name, "anna", seen=None)

    @rule()
    def start_anew(self) -> None:
        self.held.close()
        self.one = self.held.enter_context(looking(self.station))

    @rule()
    def look(self) -> None:
        self.one.look(seconds=30.0)
        self.check()

    def check(self) -> None:
        assert self.one.health.troubles() == {}
        assert self.one.minder.is_settled
        here = Counter(path.read_bytes() for path in self.station.files())
        for data, count in self.kept.items():
            if data in BYTES:
                assert min(count, 1) <= here[data] <= count, f"lost: {data!r}"
            else:
                assert here[data] == count, f"altered: {data!r}"
        self.kept = here
        told = {each.path for each in review_files.conflicts(self.one.database)}
        given, recorded = labels(self.station), paths(self.station)
        for data, number in BYTES.items():
            lying = [path for path in self.station.files() if path.read_bytes() == data]
            inside = [path for path in lying if path.is_relative_to(self.station.review)]
            self.check_image(number, inside, lying, told, given.get(number), recorded[number])

    def check_image(
        self,
        number: int,
        inside: list[Path],
        lying: list[Path],
        told: set[Path | None],
        label: str | None,
        path: Path,
    ) -> None:
        if not lying:
            # What passed and has no label is nobody's to look for.
            wanted = label is not None or VERDICTS[number] != "pass"
            assert path in told or not wanted, f"nothing tells that image {number} is missing"
            return
        assert path in lying or path in told, f"image {number}: {path}, and it lies at {lying}"
        if path not in lying:  # something else was laid over it
            return
        names = {name for each in inside if (name := class_of(self.station.review, each))}
        if len(names) > 1:
            assert told >= {each for each in inside if class_of(self.station.review, each)}
        elif names:
            assert label in names, f"image {number} is {label}, and lies at {inside}"
        elif path.is_relative_to(self.station.review / "to_check"):
            assert label is None, f"image {number} is {label}, and lies at {inside}"
        assert told >= {each for each in inside if each != path}

    def teardown(self) -> None:
        try:
            self.look()
            self.start_anew()
            before = (labels(self.station), paths(self.station))
            self.look()
            assert (labels(self.station), paths(self.station)) == before, "a start changes nothing"
        finally:
            self.held.close()
            shutil.rmtree(self.station.root)


def class_of(review: Path, path: Path) -> str | None:
    if not path.is_relative_to(review / "labelled"):
        return None
    first, *rest = path.relative_to(review / "labelled").parts
    return first if rest and first != "unknown" else None


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Path]:
    memory = MEMORY if os.access(MEMORY, os.W_OK) else tmp_path
    folder = Path(tempfile.mkdtemp(prefix="millwatch-test-", dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.fault(41)
@pytest.mark.timeout(0 if EXAMPLES else 120)
def test_whatever_people_do_in_the_review_folder_nothing_is_lost_and_the_records_follow(
    yard: Path,
) -> None:
    People.yard = yard
    run_state_machine_as_test(
        People,
        settings=settings(
            max_examples=int(EXAMPLES or 8),
            stateful_step_count=20,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
