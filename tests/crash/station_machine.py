"""A station and what is known of it: what the camera and the operator did, what must follow."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from builders import Station

from daemon.names import from_text

CAMERAS = ("top-1", "bottom-1")
PATIENT, HOPELESS = "patient.toml", "hopeless.toml"
"""A daemon that never gives up a file that does not decode, and one that does so at once."""
_SQL = """SELECT id, camera, filename, inode, size, mtime_ns, sha256, progress, path, target
          FROM image ORDER BY id"""

Identity = tuple[str, str, int, int, int]


@dataclass(kw_only=True)
class Lying:
    """A file that its camera believes to lie in a drop folder.

    Attributes:
        decodes: it holds a whole picture.
        away: in the folder that was renamed away.
        writer: open for the rest of a file that is half written.
    """

    camera: str
    filename: str
    data: bytes = field(repr=False)
    decodes: bool
    identity: Identity
    away: bool = False
    writer: BinaryIO | None = None
    rest: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, kw_only=True)
class Row:
    id: int
    identity: Identity
    sha256: str
    progress: str
    path: Path | None
    target: Path | None


class World:
    """One station on its disks, beside the account of what was done to it from outside."""

    def __init__(
        self, root: Path, model: Path, run: Callable[..., str | None], *, review: Path, state: Path
    ) -> None:
        self._run = run
        for name, seconds in ((HOPELESS, 0.0), (PATIENT, 3600.0)):
            intake = {"quiet_seconds": 0.0, "give_up_seconds": seconds}
            self.station = Station(
                root=root,
                model=model,
                cameras=CAMERAS,
                watch="polling",
                tables={"intake": intake, "review": {"folder": str(review)}},
                state=state,
            )
            self.station.config.rename(root / name)
        self.root = root
        self.lying: list[Lying] = []
        self.rows: list[Row] = []
        self.possible: dict[Identity, str] = {}
        """Of everything that may have a record: the hash."""
        self.disturbed: set[Identity] = set()
        """Taken away, renamed or overwritten by the camera when there was a record already."""
        self.been_away: set[Identity] = set()
        self.taken: set[int] = set()
        """The images that an operator took from where they lay."""
        self.operators: dict[Path, bytes] = {}

    def folder(self, camera: str, *, away: bool = False) -> Path:
        return self.root / "away" / camera if away else self.station.folder(camera)

    def place(self, file: Lying) -> Path:
        return self.folder(file.camera, away=file.away) / file.filename

    def lies(self, file: Lying) -> bool:
        with suppress(FileNotFoundError, NotADirectoryError):
            return self.place(file).lstat().st_ino == file.identity[2]
        return False

    def reachable(self) -> list[Lying]:
        """What the camera still finds in its drop folders."""
        return [file for file in self.lying if not file.away and self.lies(file)]

    def drop(self, camera: str, filename: str, data: bytes, *, decodes: bool) -> None:
        """Written elsewhere and renamed into place, over what has its name."""
        path = self.folder(camera) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.parent / ".delivery.part"
        partial.write_bytes(data)
        self._leave(camera, filename)
        partial.rename(path)
        self._lie(camera, filename, data, decodes=decodes)

    def write(self, camera: str, filename: str, data: bytes, *, decodes: bool) -> None:
        """Written in place, over what has its name."""
        path = self.folder(camera) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        self._leave(camera, filename)
        path.write_bytes(data)
        self._lie(camera, filename, data, decodes=decodes)

    def begin(self, camera: str, filename: str, data: bytes, written: int) -> None:
        """Written in place as far as that."""
        path = self.folder(camera) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        self._leave(camera, filename)
        writer = path.open("wb", buffering=0)
        writer.write(data[:written])
        file = self._lie(camera, filename, data[:written], decodes=False)
        file.writer, file.rest = writer, data[written:]

    def go_on(self, file: Lying) -> None:
        """Write the rest of a file that is half written, wherever it is by now."""
        assert file.writer is not None
        self._forget(file)
        file.writer.write(file.rest)
        file.writer.close()
        self.lying.remove(file)
        self._lie(file.camera, file.filename, file.data + file.rest, decodes=True, away=file.away)

    def rename(self, file: Lying, camera: str, filename: str) -> None:
        source, target = self.place(file), self.folder(camera) / filename
        if source == target:
            return
        self._leave(camera, filename)
        self._forget(file)
        self.lying.remove(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        moved = self._lie(camera, filename, file.data, decodes=file.decodes)
        moved.writer, moved.rest = file.writer, file.rest

    def make_anew(self, camera: str) -> None:
        """The drop folder is deleted, with all that lies in it, and made again."""
        for file in [one for one in self.lying if one.camera == camera and not one.away]:
            self._remove(file)
        shutil.rmtree(self.folder(camera))
        self.folder(camera).mkdir()

    def exchange(self, camera: str) -> None:
        """The drop folder goes away, and another comes: an empty one, or the one that went before."""
        here, away = self.folder(camera), self.folder(camera, away=True)
        away.parent.mkdir(exist_ok=True)
        spare = away.with_suffix(".spare")
        if not away.exists():
            away.mkdir()
        away.rename(spare)
        here.rename(away)
        spare.rename(here)
        for file in self.lying:
            if file.camera == camera:
                file.away = not file.away
                self.been_away.add(file.identity)

    def _lie(
        self, camera: str, filename: str, data: bytes, *, decodes: bool, away: bool = False
    ) -> Lying:
        status = (self.folder(camera, away=away) / filename).lstat()
        identity = (camera, filename, status.st_ino, status.st_size, status.st_mtime_ns)
        file = Lying(
            camera=camera,
            filename=filename,
            data=data,
            decodes=decodes,
            identity=identity,
            away=away,
        )
        self.lying.append(file)
        self.possible[identity] = hashlib.sha256(data).hexdigest()
        if away:
            self.been_away.add(identity)
        return file

    def _leave(self, camera: str, filename: str) -> None:
        """What has this name in the drop folder is about to lose it, or its content."""
        for file in self.reachable():
            if (file.camera, file.filename) == (camera, filename):
                self._remove(file)

    def _remove(self, file: Lying) -> None:
        self._forget(file)
        self.lying.remove(file)
        if file.writer is not None:
            file.writer.close()

    def _forget(self, file: Lying) -> None:
        """Nothing need come of the file as it lies there; nothing may, where it has no record yet."""
        if any(row.identity == file.identity for row in self.rows):
            self.disturbed.add(file.identity)
        else:
            del self.possible[file.identity]

    # What operators do.

    def in_review(self) -> list[Row]:
        return [row for row in self._settled() if self.station.review in _parents(row.path)]

    def take(self, row: Row, to: Path | None, *, copy: bool = False) -> None:
        assert row.path is not None
        data = row.path.read_bytes()
        if to is not None:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(row.path, to)
            self.operators[to] = data
        if not copy:
            row.path.unlink()
            self.taken.add(row.id)

    # What the daemon does, and what must hold then.

    def run(self, config: str, **options: Any) -> None:
        if config == HOPELESS:
            for file in self.lying:  # whoever is given up writes no more
                if file.writer is not None:
                    file.writer.close()
                    file.writer = None
        killed = self._run(self.root / config, **options)
        self.rows = self._read_rows()
        try:
            self.check()
            if (
                not killed
                and options.get("fill_at") is None
                and not options.get("obey_permissions")
            ):
                self.check_rest(hopeless=config == HOPELESS)
        except AssertionError as error:
            error.add_note(f"killed before: {killed}")
            raise

    def _read_rows(self) -> list[Row]:
        if not self.station.database.exists():
            return []
        return [
            Row(
                id=row_id,
                identity=(camera, from_text(name), int(inode), size, int(mtime_ns)),
                sha256=sha256,
                progress=progress,
                path=None if path is None else Path(from_text(path)),
                target=None if target is None else Path(from_text(target)),
            )
            for (
                row_id,
                camera,
                name,
                inode,
                size,
                mtime_ns,
                sha256,
                progress,
                path,
                target,
            ) in self.station.query(_SQL)
        ]

    def _settled(self) -> list[Row]:
        moved = [row for row in self.rows if row.progress in ("moved", "unseen")]
        return [row for row in moved if row.id not in self.taken]

    def check(self) -> None:
        """What holds at every moment, killed or not."""
        for row in self.rows:
            assert self.possible.get(row.identity) == row.sha256, f"nothing was delivered: {row}"
        often = Counter(row.identity for row in self.rows)
        doubled = [
            identity for identity, n in often.items() if n > 1 + (identity in self.disturbed)
        ]
        assert not doubled, f"two records of {doubled}"
        for row in self._settled():
            assert row.path is not None
            assert row.path.exists(), f"points to nothing: {row}"
            assert _sha256(row.path) == row.sha256, f"altered: {row}"
        for path, data in self.operators.items():
            assert path.read_bytes() == data, f"the operator's {path} was altered"
        for file in list(self.lying):
            self._check_place(file)
        self._check_strangers()

    def _check_place(self, file: Lying) -> None:
        """In the drop folder, or where its record says: in one of the two."""
        rows = {row.progress: row for row in self.rows if row.identity == file.identity}
        fresh = file.identity not in self.disturbed
        if self.lies(file):
            assert self.place(file).read_bytes() == file.data, f"altered: {self.place(file)}"
            assert not (fresh and "moved" in rows), f"in two places: {file}"
            return
        row = rows.get("pending") or rows.get("moved") or rows.get("unseen")
        assert row is not None, f"lost: {file}, {rows}"
        assert row.target is not None
        assert row.target.exists(), f"lost: {file}, {row}"
        assert _sha256(row.target) == self.possible[file.identity], f"altered: {row}"
        self.lying.remove(file)

    def _check_strangers(self) -> None:
        """Nothing lies anywhere that nobody put there."""
        pending = [row for row in self.rows if row.progress == "pending"]
        placed = [row.path for row in self._settled()] + [row.target for row in pending]
        expected = {path for path in placed if path is not None}
        expected |= {path.with_name(f"{path.name}.reason.json") for path in expected}
        expected |= {self.place(file) for file in self.lying} | set(self.operators)
        roots = [self.root / "cameras", self.root / "away", self.station.review]
        roots += [self.station.state_dir / "quarantine", self.station.state_dir / "archive"]
        found = {path for root in roots for path in root.rglob("*") if path.is_file()}
        if pending:
            found = {path for path in found if path.suffix not in (".part", ".leaving")}
        # A kill between the two steps of a removal, in a folder that was then away: the image is safe.
        found = {path for path in found if not (self.been_away and path.suffix == ".leaving")}
        assert found <= expected, f"left over: {found - expected}"

    def check_rest(self, *, hopeless: bool) -> None:
        """What holds as well when the daemon came to rest, and no disk stood in its way."""
        for file in self.reachable():
            waits = not hopeless and not file.decodes
            assert waits, f"left behind: {file}"
        for row in self.rows:
            if row.progress in ("pending", "gone"):
                excused = row.identity in self.disturbed | self.been_away
                assert excused, f"not seen through: {row}"
                assert not (hopeless and row.progress == "pending"), f"not seen through: {row}"

    def finish(self) -> None:
        """Bring every folder back, and let the daemon see everything through."""
        self.run(HOPELESS)
        for camera in CAMERAS:
            if self.folder(camera, away=True).exists():
                self.exchange(camera)
        self.run(HOPELESS)
        for camera in CAMERAS:
            if self.folder(camera, away=True).exists():
                self.exchange(camera)
        self.run(HOPELESS)
        assert not self.lying, f"left behind: {self.lying}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parents(path: Path | None) -> Sequence[Path]:
    return () if path is None else path.parents
