"""Unpacks a zip of pictures beside the manifest that will name them."""

import hashlib
import lzma
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Final

from training.data.findings import PreparationError

MAX_FILES: Final = 100_000
MAX_BYTES: Final = 4_000_000_000
"""Unpacked. NEU-DET has 27 million."""
_MARK: Final = ".unpacked-from"
"""Holds the SHA-256 of the zip that a folder came from."""
_LEFT_OUT: Final = ("__MACOSX", ".DS_Store", "Thumbs.db")
_CHUNK: Final = 1 << 20
_ENCRYPTED: Final = 0x1
_DAMAGED: Final = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError, ValueError),
)
"""What zipfile raises on one that is damaged, or packed in a way that it does not know."""


def unpack(
    archive: Path, into: Path, *, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES
) -> tuple[Path, bool]:
    """Unpack a zip to a folder of its name in `into`, all of it or nothing.

    Returns:
        The folder, and whether it was there already from the very same zip and was used again.

    Raises:
        PreparationError: for a zip that is damaged, encrypted, would write outside its folder,
            holds a link, or is larger than the limits; and where the folder is taken.
    """
    digest = _sha256(archive)
    folder = into / archive.stem
    if folder.exists() or folder.is_symlink():
        _refuse_another(folder, archive, digest)
        return folder, True
    partial: Path | None = None
    try:
        into.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{archive.stem}.", suffix=".part", dir=into))
        partial.chmod(0o755)
        with zipfile.ZipFile(archive) as opened:
            _extract(opened, archive, partial, max_files, max_bytes)
        (partial / _MARK).write_text(digest + "\n")
        partial.rename(folder)
    except _DAMAGED as error:
        raise PreparationError(
            f"{archive} cannot be unpacked ({error}); fetch it again, or unpack it yourself and "
            "name the folder"
        ) from error
    except OSError as error:
        raise PreparationError(
            f"cannot unpack {archive} to {folder}: {error.strerror or error}; nothing was kept"
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return folder, False


def _refuse_another(folder: Path, archive: Path, digest: str) -> None:
    try:
        mark = (folder / _MARK).read_text().strip()
    except (OSError, ValueError):
        mark = ""
    if mark != digest:
        raise PreparationError(
            f"{folder} is there already and was not unpacked from this {archive.name}; rename it, "
            "or write the manifest into another folder"
        )


def _extract(
    opened: zipfile.ZipFile, archive: Path, to: Path, max_files: int, max_bytes: int
) -> None:
    entries = [entry for entry in opened.infolist() if not _is_clutter(entry)]
    if len(entries) > max_files:
        raise PreparationError(f"{archive} holds {len(entries)} files, the limit is {max_files}")
    left = max_bytes
    for entry in entries:
        path = _safe_path(entry, archive)
        if entry.is_dir():
            continue
        target = to / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb")
        except (FileExistsError, NotADirectoryError) as error:
            raise PreparationError(
                f"{archive} holds {entry.filename!r} twice, or a file and a folder of that name: "
                "unpack it yourself, see which is the right one, and name the folder"
            ) from error
        with file, opened.open(entry) as source:
            while chunk := source.read(_CHUNK):
                # Counted as it comes: what a zip says of its own sizes may be a lie.
                left -= len(chunk)
                if left < 0:
                    raise PreparationError(
                        f"{archive} unpacks to more than {max_bytes} bytes; nothing was kept"
                    )
                file.write(chunk)


def _safe_path(entry: zipfile.ZipInfo, archive: Path) -> PurePosixPath:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in entry.filename or not path.parts:
        raise PreparationError(
            f"{archive} would write outside its folder ({entry.filename!r}); nothing was kept"
        )
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise PreparationError(
            f"{archive} holds {entry.filename!r}, a link or device; nothing was kept"
        )
    if entry.flag_bits & _ENCRYPTED:
        raise PreparationError(f"{archive} is encrypted; unpack it yourself and name the folder")
    return path


def _is_clutter(entry: zipfile.ZipInfo) -> bool:
    return any(part in _LEFT_OUT for part in PurePosixPath(entry.filename).parts)


def _sha256(archive: Path) -> str:
    try:
        with archive.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PreparationError(f"cannot read {archive}: {error.strerror}") from error
