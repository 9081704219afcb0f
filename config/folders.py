"""Whether the folders that the settings name fit together, and whether Millwatch can work in them."""

import errno
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Final

from config.hanging import hang
from config.mounted import is_read_only_to_all, mount_of
from config.problems import Problem
from config.settings import Settings
from config.sources import Source
from config.text import as_one_line
from config.toml_lines import KeyPath

# A full disk passes, and the service waits it out; it is no reason to refuse the configuration.
_FULL = {errno.ENOSPC, errno.EDQUOT}
# Errors of shares and disks that may come back, as opposed to permissions, which do not.
_LASTING = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}

_MADE_THERE: Final = ("models", "runs", "backups")
"""In `state_dir`; old ones are removed."""
_ANSWER_SECONDS: Final = 2.0
_READ_ONLY = (
    "Mount it read-write, or name another folder. Where systemd runs Millwatch, let it write there:"
    " `millwatch-configure`, as root (it runs `millwatch check --write-unit /etc/systemd/system`)."
)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A folder, or the database's file, with the key that put it there."""

    name: str
    key: KeyPath
    path: Path

    @cached_property
    def real(self) -> Path:
        """Without links."""
        return Path(os.path.realpath(self.path))

    @cached_property
    def on_disk(self) -> Path:
        """Its place within its filesystem, wherever that is mounted."""
        return Path(mount_of(self.real).path)

    def __str__(self) -> str:
        return f"{self.name} ({as_one_line(str(self.path))})"


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Every place of a configuration; one whose key was refused is None, or is not in the list."""

    cameras: list[_Place]
    state: _Place | None
    kept: list[_Place]
    review: _Place | None
    database: _Place | None
    model: _Place | None


def folder_problems(
    settings: Settings, source: Source | None = None, *, skip: frozenset[KeyPath] = frozenset()
) -> list[Problem]:
    """Return what is wrong with the folders: with their names, with each other, and on the disk.

    `skip` names keys that were refused and hold a stand-in now; nothing is said about them. Each folder
    on the disk is really tried, with a file that has no name where the filesystem allows that.
    """
    source = source or Source()
    places, silent = _answering(_places(settings, skip))
    return [
        *_repeated_names(settings, source, skip),
        *(_is_silent(place, source) for place in silent),
        *_camera_overlaps(places, source),
        *_review_overlaps(places, source),
        *_database_overlaps(places, source),
        *_disk_problems(places, source),
    ]


def _places(settings: Settings, skip: frozenset[KeyPath]) -> _Places:
    def place(name: str, key: KeyPath, path: Path | None) -> _Place | None:
        if path is None or any(key[:length] in skip for length in range(1, len(key) + 1)):
            return None
        return _Place(name=name, key=key, path=path)

    state_key, review_key = ("state_dir",), ("review", "folder")
    review_is_set = settings.review.folder is not None or review_key in skip or ("review",) in skip
    kept = [
        place("the archive", state_key, settings.archive_folder),
        place("the quarantine", state_key, settings.quarantine_folder),
    ]
    cameras = [
        place(f"the folder of camera {camera.name}", ("cameras", number, "folder"), camera.folder)
        for number, camera in enumerate(settings.cameras)
    ]
    database_file = settings.database_file if settings.database_url is not None else None
    return _Places(
        cameras=[camera for camera in cameras if camera],
        state=place("state_dir", state_key, settings.state_dir),
        kept=[folder for folder in kept if folder],
        review=place(
            "the review folder",
            review_key if review_is_set else state_key,
            settings.review_folder,
        ),
        database=place("the database", ("database_url",), database_file),
        model=place("the model folder", ("model", "folder"), settings.model.folder),
    )


def _answering(places: _Places) -> tuple[_Places, list[_Place]]:
    """The places without those on shares that hang, and these: to look at one of them may never end."""
    looked_at = [*places.cameras, *places.kept, *filter(None, [places.review])]
    hung = hang([partial(_look, place) for place in looked_at], seconds=_ANSWER_SECONDS)
    silent = [place for place, hangs in zip(looked_at, hung, strict=True) if hangs]
    answering = replace(
        places,
        cameras=[place for place in places.cameras if place not in silent],
        kept=[place for place in places.kept if place not in silent],
        review=None if places.review in silent else places.review,
    )
    return answering, silent


def _look(place: _Place) -> None:
    """As it will be looked at, so that a share which hangs does so here."""
    os.path.realpath(place.path)
    list(_existing_folder(place, Source(), is_written=True))


def _is_silent(place: _Place, source: Source) -> Problem:
    remedy = (
        "See whether the server of its share is up. What else there is can be served meanwhile."
    )
    return source.problem(place.key, f"{place} does not answer", remedy, again_helps=True)


def _repeated_names(
    settings: Settings, source: Source, skip: frozenset[KeyPath]
) -> Iterator[Problem]:
    first_with: dict[str, KeyPath] = {}
    for number, camera in enumerate(settings.cameras):
        key: KeyPath = ("cameras", number, "name")
        if key in skip or key[:2] in skip:
            continue
        first = first_with.setdefault(camera.name, key)
        if first != key:
            line = source.line(first)
            where = "" if line is None else f" on line {line}"
            yield source.problem(
                key,
                f'another camera{where} is named "{camera.name}" already',
                "Give each camera a name of its own: records and file names carry it.",
            )


def _camera_overlaps(places: _Places, source: Source) -> Iterator[Problem]:
    own = [*places.kept, *filter(None, [places.review, places.state])]
    for number, camera in enumerate(places.cameras):
        sharing = [
            (other, how) for other in places.cameras[:number] if (how := _overlap(camera, other))
        ]
        for other, how in sharing:
            yield source.problem(
                camera.key,
                f"{camera} {how} {_with_line(other, source)}",
                "Give each camera a folder of its own, beside the others: an image in both would be"
                " counted twice.",
            )
        if any(how == "is the same as" for _, how in sharing):
            # All else about this folder was said of the first camera.
            continue
        remedy = "Keep them apart: what Millwatch puts there would be taken for new images."
        within = next((place for place in own if _overlap(camera, place) in _WITHIN), None)
        if within:
            yield source.problem(
                camera.key, f"{camera} {_overlap(camera, within)} {within}", remedy
            )
            continue
        caught = [place for place in own if _overlap(place, camera) == "is inside"]
        for place in caught:
            if not any(_overlap(place, other) == "is inside" for other in caught):
                what = f"{place} is inside {_with_line(camera, source)}"
                yield source.problem(place.key, what, remedy)


def _review_overlaps(places: _Places, source: Source) -> Iterator[Problem]:
    review, state = places.review, places.state
    if review is None or state is None:
        return
    made = (
        replace(state, name=f"the folder of {name}", path=state.path / name) for name in _MADE_THERE
    )
    own = [*places.kept, *made]
    within = next((place for place in own if _overlap(review, place) in _WITHIN), None)
    remedy = "Use a folder of its own: people move and delete files in the review folder."
    if within:
        yield source.problem(review.key, f"{review} {_overlap(review, within)} {within}", remedy)
        return
    # Inside state_dir is its usual place; to be state_dir, or to hold it, would show people the database.
    others = (each for each in (state, *own) if _overlap(review, each) not in (None, "is inside"))
    around = next(others, None)
    if around:
        yield source.problem(review.key, f"{review} {_overlap(review, around)} {around}", remedy)


def _database_overlaps(places: _Places, source: Source) -> Iterator[Problem]:
    database = places.database
    if database is None:
        return
    others = filter(None, [*places.cameras, places.review])
    around = next((place for place in others if _overlap(database, place) in _WITHIN), None)
    if around:
        what = f"{database} is inside {_with_line(around, source)}"
        remedy = "Keep it where neither cameras nor people move files, such as in state_dir."
        yield source.problem(database.key, what, remedy)


_WITHIN = ("is the same as", "is inside")


def _overlap(one: _Place, other: _Place) -> str | None:
    if _same(one.real, other.real):
        return "is the same as"
    if _is_inside(one, other):
        return "is inside"
    return "has inside it" if _is_inside(other, one) else None


def _is_inside(one: _Place, other: _Place) -> bool:
    """By its path, or as a part of the other that is mounted elsewhere as well."""
    if any(_same(parent, other.real) for parent in one.real.parents):
        return True
    whole, part = other.on_disk, one.on_disk
    return part.is_relative_to(whole) and _same(other.real / part.relative_to(whole), one.real)


def _same(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to one folder, as bind mounts and case-blind filesystems allow."""
    if one == other:
        return True
    try:
        return one.samefile(other)
    except OSError:
        return False


def _with_line(place: _Place, source: Source) -> str:
    line = source.line(place.key)
    return str(place) if line is None else f"{place} (line {line})"


def _disk_problems(places: _Places, source: Source) -> Iterator[Problem]:
    for camera in places.cameras:
        yield from _existing_folder(camera, source, is_written=True)
    state_found = list(_working_folder(places.state, source)) if places.state else []
    yield from state_found
    for place in filter(None, [*places.kept, places.review]):
        # One that is not there yet is made in state_dir, which was just tried.
        is_in_state = place.key == ("state_dir",)
        if not is_in_state or (not state_found and os.path.lexists(place.path)):
            yield from _working_folder(place, source)
    if places.model:
        yield from _existing_folder(places.model, source, is_written=False)
    if places.database:
        yield from _database_file(places.database, source)


def _existing_folder(place: _Place, source: Source, *, is_written: bool) -> Iterator[Problem]:
    """Check a folder that someone else makes, such as a camera's."""
    try:
        with os.scandir(place.path) as entries:
            next(entries, None)  # a share that went away may only fail here
        if is_written:
            _try_to_write(place.path)
    except FileNotFoundError:
        what = f"{place} does not exist"
        remedy = "Create it, mount the share it is on, or correct the path."
        # A camera is waited for, while the others are served; nothing is without its model.
        yield source.problem(place.key, what, remedy, again_helps=is_written)
    except OSError as failure:
        yield _refusal(place, source, failure)


def _working_folder(place: _Place, source: Source) -> Iterator[Problem]:
    """Check a folder that Millwatch makes for itself where it does not exist yet."""
    nearest = place.path
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    try:
        _try_to_write(nearest)
    except OSError as failure:
        if nearest == place.path:
            yield _refusal(place, source, failure)
            return
        where = as_one_line(str(nearest))
        reason = failure.strerror or failure
        what = f"{place} does not exist, and {user_in_words()} cannot make it in {where}: {reason}"
        remedy = f"Create it as root and let {user_in_words()} own it, or name another folder."
        if failure.errno == errno.EROFS:
            remedy = _READ_ONLY
        yield source.problem(place.key, what, remedy)


def _database_file(place: _Place, source: Source) -> Iterator[Problem]:
    folder = replace(place, name="the database's folder", path=place.path.parent)
    folder_found = list(_working_folder(folder, source))
    yield from folder_found
    if folder_found or not os.path.lexists(place.path):
        return
    try:
        status = place.path.stat()
    except OSError as failure:
        yield from _lost_link(place, source, failure)
        return
    if not stat.S_ISREG(status.st_mode):
        yield source.problem(
            place.key, f"{place} is not a file", "Name a file, or one that is still to be made."
        )
    elif not os.access(place.path, os.R_OK | os.W_OK, effective_ids=True):
        what = f"{place} cannot be read and written by {user_in_words()}"
        yield source.problem(place.key, what, _hand_over(place.path))


def _lost_link(place: _Place, source: Source, failure: OSError) -> Iterator[Problem]:
    """A link to a file that is still to be made is good."""
    if failure.errno == errno.ENOENT and place.real.parent.is_dir():
        return
    where = as_one_line(str(place.real))
    what = f"{place} is a link to {where}, which cannot be reached: {failure.strerror}"
    remedy = "Mount the disk that it leads to, or name the file itself."
    again_helps = failure.errno not in _LASTING
    yield source.problem(place.key, what, remedy, again_helps=again_helps)


def _try_to_write(folder: Path) -> None:
    """Create a file and remove it again: permission bits alone do not tell of read-only mounts.

    Linux makes a file without a name where it can, so no camera or watcher sees one.
    """
    try:
        with tempfile.TemporaryFile(prefix=".millwatch-check-", dir=folder):
            pass
    except OSError as failure:
        if failure.errno not in _FULL:
            raise


def _refusal(place: _Place, source: Source, failure: OSError) -> Problem:
    again_helps = failure.errno not in _LASTING or (
        failure.errno == errno.EROFS and is_read_only_to_all(place.path)
    )
    match failure.errno:
        case errno.ENOTDIR:
            what, remedy = f"{place} is not a folder", "Name a folder, or move the file away."
        case errno.EROFS:
            what = f"{place} is on a filesystem that is mounted read-only"
            remedy = _READ_ONLY
        case errno.EACCES | errno.EPERM:
            what = f"{place} cannot be listed and written by {user_in_words()}"
            remedy = _hand_over(place.path)
        case _:
            what = f"{place} cannot be used: {failure.strerror or failure}"
            remedy = "Check the disk or the share that it is on, then try again."
    return source.problem(place.key, what, remedy, again_helps=again_helps)


def user_in_words() -> str:
    try:
        return f"the user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"user number {os.geteuid()}"


def _hand_over(path: Path) -> str:
    return (
        f"Let {user_in_words()} read, write and enter it: images are moved out of and into folders"
        f" (`ls -ld '{path}'` shows who may)."
    )
