"""The account at the end: each delivery, its row, its file, and nothing else."""

import hashlib
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from builders import Station
from soak.writers import REUSED, Feed, Key

from daemon.names import from_text

Row = tuple[str, str | None]
"""The recorded hash, and where the file is."""

_PUT_BACK = re.compile(rf"{REUSED}/\d+-\d+\.jpg")
"""The name that a file gets which was written to after its record, and whose name is used again."""


@dataclass
class Account:
    """What is wrong, each in words that name the file."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)
    overwritten: int = 0
    """Contents that went before they were judged: their camera wrote the next over them."""

    def faults(self) -> dict[str, list[str]]:
        named = {
            "lost": self.lost,
            "doubled": self.doubled,
            "altered": self.altered,
            "leftovers": self.leftovers,
            "miscounted": self.miscounted,
        }
        return {name: told for name, told in named.items() if told}


def take_account(feed: Feed) -> Account:
    """Of a station whose daemon has stopped with nothing left to do."""
    account = Account()
    rows: dict[Key, list[Row]] = defaultdict(list)
    found = feed.station.query("SELECT camera, filename, sha256, path FROM inspections")
    for camera, filename, sha256, path in found:
        place = None if path is None else from_text(path)
        rows[camera, from_text(filename)].append((sha256, place))
    _check_places(account, feed, rows)
    for key in feed.overslept:
        rows.pop(key, None)
    for key, sha256 in feed.once.items():
        if key not in feed.overslept:
            _check_once(account, key, sha256, rows.pop(key, []))
    for camera in feed.station.cameras:
        _check_reused(account, camera, feed, rows)
    account.doubled += [f"{key}: never delivered, but recorded" for key in rows]
    _check_counts(account, feed.station)
    return account


def _check_places(account: Account, feed: Feed, rows: dict[Key, list[Row]]) -> None:
    """Every file is a row's, every row's file is as it was judged, and nothing else lies there."""
    places: Counter[str] = Counter()
    for key, recorded in rows.items():
        for sha256, path in recorded:
            if path is None:
                continue
            places[path] += 1
            if not Path(path).is_file():
                account.lost.append(f"{key}: recorded, but not at {path}")
            elif key not in feed.overslept and _hash(Path(path)) != sha256:
                account.altered.append(f"{key}: {path} is not what was judged")
    account.doubled += [f"{path}: of {n} records" for path, n in places.items() if n > 1]
    station = feed.station
    there = {file for root in (station.root, station.review) for file in root.rglob("*")}
    account.leftovers += [
        str(file)
        for file in sorted(there)
        if file.is_file() and not _belongs(file, station, places)
    ]


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _belongs(file: Path, station: Station, places: Counter[str]) -> bool:
    """To a row, as its image or its reason; or to the daemon, where no image is ever brought."""
    if str(file).removesuffix(".reason.json") in places:
        return True
    drops = [station.folder(camera) for camera in station.cameras]
    kept = [station.review, *(station.state_dir / name for name in ("archive", "quarantine"))]
    among_images = any(file.is_relative_to(root) for root in (*drops, *kept))
    return not among_images and file.suffix not in (".part", ".leaving")


def _check_once(account: Account, key: Key, sha256: str, recorded: list[Row]) -> None:
    if not recorded:
        account.lost.append(f"{key}: no record")
    if len(recorded) > 1:
        account.doubled.append(f"{key}: {len(recorded)} records")
    for found, path in recorded:
        if found != sha256:
            account.altered.append(f"{key}: recorded with {found}, delivered with {sha256}")
        if path is None:
            account.lost.append(f"{key}: recorded, but nowhere")


def _check_reused(account: Account, camera: str, feed: Feed, rows: dict[Key, list[Row]]) -> None:
    """Only the last content of a name must be there; each that is there was delivered, once."""
    names = {key: contents for key, contents in feed.reused.items() if key[0] == camera}
    name_of = {sha256: key for key, contents in names.items() for sha256 in contents}
    recorded: dict[str, list[str | None]] = defaultdict(list)
    for key in [key for key in rows if key in names or _is_put_back(camera, key)]:
        for sha256, path in rows.pop(key):
            if name_of.get(sha256) == key or (key not in names and sha256 in name_of):
                recorded[sha256].append(path)
            else:
                account.altered.append(f"{key}: {sha256} was never delivered under this name")
    for sha256, paths in recorded.items():
        if len(paths) > 1:
            account.doubled.append(f"{name_of[sha256]}: {len(paths)} records of {sha256}: {paths}")
    for key, contents in names.items():
        account.overwritten += sum(1 for sha256 in contents if not any(recorded[sha256]))
        if not any(recorded[contents[-1]]):
            account.lost.append(f"{key}: the last of {len(contents)} contents, {contents[-1]}")


def _is_put_back(camera: str, key: Key) -> bool:
    return key[0] == camera and _PUT_BACK.fullmatch(key[1]) is not None


def _check_counts(account: Account, station: Station) -> None:
    """The kept aggregates say what a count of the rows says."""
    kept = station.query(
        "SELECT camera, hour, inspected, defects, unsure, unreadable FROM defect_rate_hourly"
    )
    counted = station.query(
        """
        SELECT camera, substr(captured_at, 1, 13) || ':00:00Z', sum(verdict <> 'unreadable'),
               sum(verdict = 'defect'), sum(verdict = 'unsure'), sum(verdict = 'unreadable')
        FROM inspections GROUP BY 1, 2
        """
    )
    for name, lines in (("kept", set(kept) - set(counted)), ("counted", set(counted) - set(kept))):
        account.miscounted += [f"{name} only: {line}" for line in sorted(lines)]
