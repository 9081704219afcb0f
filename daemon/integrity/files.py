"""Every file against its record."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from os import DirEntry
from pathlib import Path
from typing import Final

from config.settings import Settings
from daemon.files.moving import REASON_SUFFIX
from daemon.integrity.differences import Counts, Difference, Kind, Mend, Roots, content_of, unread
from daemon.integrity.names import camera_in_name, files_below, id_in_name
from daemon.names import to_text
from daemon.store import places
from daemon.store.database import Database
from daemon.store.places import Notebook, Place
from daemon.store.restoring import Replaced
from daemon.values import Progress

_PAGE: Final = 200
_ENDED: Final = (Progress.GONE, Progress.DELETED)
"""Images that are known to have no file; but here one may be, with the image's own name."""


class FileAudit:
    """Finds files that no record knows, and the records that they belong to."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        replaced: Replaced,
        roots: Roots,
        notebook: Notebook,
        counts: Counts,
    ) -> None:
        self._database = database
        self._replaced = replaced
        self._roots = roots
        self._notebook = notebook
        self._counts = counts
        self._drop_folders = {camera.name: camera.folder for camera in settings.cameras}
        self._extensions = settings.intake.extensions
        self._marker_suffix = settings.intake.marker_suffix

    def differences(self) -> Iterator[Difference]:
        """Raises StoreError, OSError."""
        review, archive, quarantine = (
            self._roots.review,
            self._roots.archive,
            self._roots.quarantine,
        )
        folders = (review / "to_check", review / "labelled", archive, quarantine)
        files = chain.from_iterable(files_below(folder) for folder in folders)
        while page := list(islice(files, _PAGE)):
            yield from self._page([entry for entry in page if _is_image(entry)])

    def _page(self, entries: Sequence[DirEntry[str]]) -> Iterator[Difference]:
        self._counts.files += len(entries)
        files = [Path(entry.path) for entry in entries]
        ids = [number for entry in entries if (number := id_in_name(entry.name)) is not None]
        known = places.places_named(self._database, files, ids)
        by_id = {each.image_id: each for each in known}
        by_target = {each.target: each for each in known}
        for file in files:
            sent, named = by_target.get(file), by_id.get(id_in_name(file.name) or 0)
            if any(each is not None and each.claims(file) for each in (sent, named)):
                continue
            if not self._notebook.is_remembered(file):
                yield from self._unclaimed(file, named or sent)

    def _unclaimed(self, file: Path, named: Place | None) -> Iterator[Difference]:
        try:
            size = file.lstat().st_size
            # Only what may be some image's file is worth reading.
            is_named = named is not None and named.size == size
            digest = content_of(file) if is_named or self._notebook.has_lost(size) else ""
        except FileNotFoundError:  # the daemon has moved it since the folder was read
            return
        except OSError as error:
            yield unread(file, error)
            return
        owners = self._owners(size, digest, named) if digest else []
        if len(owners) == 1:
            yield self._moved(file, owners[0])
        elif len(owners) > 1:
            yield self._ambiguous(file, owners)
        elif named is not None and is_named and digest == named.sha256:
            yield self._copy(file, named)
        else:
            yield self._orphan(file, size)

    def _owners(self, size: int, digest: str, named: Place | None) -> list[Place]:
        """Images with this content that have no file; the one that the name tells, where it is one."""
        lost = self._notebook.lost(size, digest)
        may_be = named is not None and (named.image_id in lost or named.progress in _ENDED)
        if named is not None and may_be and digest == named.sha256:
            return [named]
        found = (places.place(self._database, number) for number in lost)
        return [each for each in found if each is not None]

    def _moved(self, file: Path, was: Place) -> Difference:
        self._notebook.find(was.image_id, was.size, was.sha256)
        hindrance = self._roots.hindrance(was, file)
        return Difference(
            kind=Kind.MOVED,
            path=file,
            image_id=was.image_id,
            what=f"image {was.image_id} lies at {to_text(file)}, unchanged",
            remedy=hindrance or "Its record may follow it: `millwatch audit --mend`.",
            mend=None if hindrance else Mend(was=was, path=file),
        )

    def _ambiguous(self, file: Path, owners: Iterable[Place]) -> Difference:
        numbers = ", ".join(str(owner.image_id) for owner in owners)
        return Difference(
            kind=Kind.ORPHANED,
            path=file,
            what=f"{to_text(file)} has the content of each of the images {numbers}, whose files are missing",
            remedy="Which of them it is cannot be told; give it back the name that has its id in it.",
        )

    def _copy(self, file: Path, named: Place) -> Difference:
        where = "nowhere" if named.path is None else to_text(named.path)
        return Difference(
            kind=Kind.ORPHANED,
            path=file,
            image_id=named.image_id,
            what=f"{to_text(file)} is a copy of image {named.image_id}, which lies at {where}",
            remedy="It is nobody's but whoever made it: leave it, or remove it by hand.",
        )

    def _orphan(self, file: Path, size: int) -> Difference:
        camera = self._camera(file)
        if camera is None or not file.name.lower().endswith(self._extensions):
            remedy, command = "It is no image of ours: leave it, or take it away by hand.", None
        elif camera not in self._drop_folders:
            remedy = f"To have it judged anew, move it to a drop folder; camera {camera} has none."
            command = None
        else:
            remedy = "To have it judged anew and recorded, move it to its camera's drop folder."
            number = id_in_name(file.name)
            known = self._replaced.delivered_as(file, image_id=number, camera=camera, size=size)
            if known is None and self._roots.of(file) == self._roots.review:
                remedy += " What its camera called it is not known any more: it is recorded under its name here."
            command = self._delivers(file, self._drop_folders[camera], known or file.name)
        return Difference(
            kind=Kind.ORPHANED,
            path=file,
            what=f"{to_text(file)} has no record",
            remedy=remedy,
            command=command,
        )

    def _delivers(self, file: Path, drop: Path, filename: str) -> str | None:
        """What a person may run to bring a file into a drop folder."""
        target = drop / filename
        source, aim, folder = (shlex.quote(str(each)) for each in (file, target, target.parent))
        command = f"mv -nT -- {source} {aim}"
        if target.name == file.name:
            command = f"mv -n -- {source} {folder}/"
        if target.parent != drop:
            command = f"mkdir -p -- {folder} && {command}"
        if self._marker_suffix:  # without it the image would wait for ever
            command += f" && touch -- {shlex.quote(f'{target}{self._marker_suffix}')}"
        # Else a shell would not see it.
        return command if command.isprintable() and to_text(command) == command else None

    def _camera(self, file: Path) -> str | None:
        """Whose it is: by its name in review, by its folder elsewhere."""
        root = self._roots.of(file)
        if root is None or root == self._roots.review:
            return camera_in_name(file.name)
        parts = file.relative_to(root).parts
        return parts[0] if len(parts) > 1 else None


def _is_image(entry: DirEntry[str]) -> bool:
    return not entry.name.endswith((REASON_SUFFIX, ".part"))
