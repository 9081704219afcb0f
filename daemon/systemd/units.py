"""What the systemd units owe to the configuration: which folders may be written, and which must be mounted.

`millwatch check --write-unit DIR` writes it as drop-ins; `make install` does so for /etc/systemd/system.
"""

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from config.hanging import hang
from config.settings import Settings
from daemon.retraining.folders import REQUESTED, runs_folder
from daemon.retraining.requested import REQUESTED_VARIABLE

DROP_IN: Final = "50-configuration.conf"
_HEAD: Final = (
    "# Written by `millwatch-configure` (`millwatch check --write-unit`) from the configuration: run it\n"
    "# again after a change there. What you add yourself belongs into a file of its own.\n"
)
# Too much lies beside Millwatch's folders there to let it write to all of them.
_SHARED: Final = frozenset(
    Path(each)
    for each in (
        *("/", "/boot", "/dev", "/etc", "/home", "/media", "/mnt", "/opt", "/proc", "/root", "/run"),
        *("/run/user", "/sys", "/tmp", "/usr", "/var", "/var/cache", "/var/lib", "/var/log", "/var/tmp"),  # noqa: S108 -- names that are refused
    )
)  # fmt: skip
_ANSWER_SECONDS: Final = 2.0
_WRITABLE: Final = 'ReadWritePaths="-'
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
_TEMPORARY: Final = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 -- only looked at


class UnitError(Exception):
    """A folder cannot be written into a unit; the message says why."""


def drop_ins(settings: Settings, *, apart: bool = False) -> dict[str, str]:
    """The text of each drop-in, by its path below /etc/systemd/system.

    Args:
        apart: with an entry for each folder that is written to, whatever disk it lies on.

    Raises:
        UnitError
    """
    return {
        f"millwatch.service.d/{DROP_IN}": _service(settings, apart=apart),
        f"millwatch-backup.service.d/{DROP_IN}": _backup(settings, apart=apart),
        f"millwatch-retrain.service.d/{DROP_IN}": _retrain(settings, apart=apart),
        f"millwatch-retrain.path.d/{DROP_IN}": _section(
            "Path", "PathChanged=", f"PathChanged={_requested(settings)}"
        ),
        f"millwatch-retrain.slice.d/{DROP_IN}": _section(
            "Slice",
            f"CPUQuota={settings.retraining.threads * 100}%",
            f"MemoryMax={int(settings.retraining.max_memory_gb * 1e9)}",
        ),
    }


def unfit(settings: Settings, folder: Path) -> list[Path]:
    """The drop-ins in a folder of units that do not do what the configuration takes.

    How folders share an entry is not looked at: a share may have come or gone since.

    Raises:
        UnitError
    """
    wanted = drop_ins(settings, apart=True)
    return [folder / name for name, text in wanted.items() if not _does(folder / name, text)]


def _does(written: Path, wanted: str) -> bool:
    try:
        told = written.read_text()
    except (OSError, UnicodeDecodeError):
        return False
    (rest, entries), (needed, folders) = _divided(told), _divided(wanted)
    return rest == needed and all(_is_below(each, entries) for each in folders)


def _divided(text: str) -> tuple[list[str], tuple[Path, ...]]:
    """A drop-in's lines, and the folders that may be written to."""
    lines = text.splitlines()
    entries = [line for line in lines if line.startswith(_WRITABLE)]
    rest = [line for line in lines if line not in entries]
    return rest, tuple(Path(each.removeprefix(_WRITABLE).rstrip('"')) for each in entries)


def write_drop_ins(settings: Settings, folder: Path) -> list[Path]:
    """Write those that differ; which they are. Raises UnitError, OSError."""
    written = []
    for name, text in drop_ins(settings).items():
        path = folder / name
        if path.exists() and path.read_text() == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        partial = path.with_suffix(".part")
        partial.write_text(text)
        partial.chmod(0o644)
        partial.replace(path)
        written.append(path)
    return written


def _service(settings: Settings, *, apart: bool) -> str:
    own = [settings.state_dir, settings.database_file.parent, settings.review_folder]
    cameras = [camera.folder for camera in settings.cameras]
    kept = [settings.archive_folder, settings.quarantine_folder]  # which may be disks of their own
    needed = [*own, *kept, *filter(None, [settings.model.folder, settings.retraining.base_set])]
    lines = [
        "# One entry for folders of one disk: between two, a file can only be copied, not linked.",
        *_writable([*own, *cameras], apart=apart),
        *_beside([*needed, *cameras, *_read_alone(settings)]),
    ]
    page = settings.web.enabled and not settings.web.on_loopback
    if page or settings.alarms:
        why = "The page is for others too ([web] host)" if page else "Alarms are sent ([[alarms]])"
        lines += [f"# {why}.", "IPAddressDeny="]
    if settings.retraining.runner == "spawn":
        lines += [
            "# The daemon trains by itself ([retraining] runner), and lowers its own priority.",
            "SystemCallFilter=@resources",
        ]
    return _section("Service", *lines, unit=(*_required(needed), *_awaited(cameras, needed)))


def _retrain(settings: Settings, *, apart: bool) -> str:
    state = settings.state_dir
    read = [settings.review_folder, settings.model.folder, settings.retraining.base_set]
    there = [state, *filter(None, read)]
    threads = settings.retraining.threads
    return _section(
        "Service",
        *_writable([state], apart=apart),
        *_beside(there),
        f"Environment=OMP_NUM_THREADS={threads} MKL_NUM_THREADS={threads}",
        f'Environment="{REQUESTED_VARIABLE}={_requested(settings)}"',
        unit=_required(there),
    )


def _requested(settings: Settings) -> str:
    return _plain(runs_folder(settings) / REQUESTED)


def _backup(settings: Settings, *, apart: bool) -> str:
    there = [settings.state_dir, settings.database_file.parent]
    return _section(
        "Service", *_writable(there, apart=apart), *_beside(there), unit=_required(there)
    )


def _section(name: str, *lines: str, unit: Sequence[str] = ()) -> str:
    parts = ["[Unit]", *unit, ""] if unit else []
    return _HEAD + "\n".join([*parts, f"[{name}]", *lines]) + "\n"


def _writable(folders: Iterable[Path], *, apart: bool) -> list[str]:
    """`ReadWritePaths`; "-" because a share may be away, and the service waits for it by itself."""
    entries = map(_normal, folders) if apart else together(folders)
    return [f'{_WRITABLE}{_plain(folder)}"' for folder in entries]


def together(folders: Iterable[Path]) -> list[Path]:
    """As few folders as hold all of these, without a disk in between nor what others share.

    One on a share that hangs, which `millwatch-configure` and an upgrade must not wait for, is left as it is.
    """
    places = sorted({*map(_normal, folders)})
    hung = hang([partial(_disk, place) for place in places], seconds=_ANSWER_SECONDS)
    silent = [place for place, hangs in zip(places, hung, strict=True) if hangs]
    kept: list[Path] = []
    for folder in places:
        for place, other in enumerate(kept):
            if folder in silent or other in silent:
                continue
            above = Path(os.path.commonpath([folder, other]))
            if above not in _SHARED and _disk(folder) == _disk(other) == _disk(above):
                kept[place] = above
                break
        else:
            kept.append(folder)
    return kept


def _normal(folder: Path) -> Path:
    return Path(os.path.normpath(folder))


def _disk(folder: Path) -> int:
    """Of the nearest folder that is there."""
    for each in (folder, *folder.parents):
        try:
            return each.stat().st_dev
        except OSError:
            continue
    return 0


def _required(folders: Iterable[Path]) -> list[str]:
    """Without these Millwatch must not begin: it would fill the disk that the mount hides."""
    return [f'RequiresMountsFor="{_plain(each)}"' for each in dict.fromkeys(folders)]


def _awaited(cameras: Iterable[Path], needed: Sequence[Path]) -> list[str]:
    """One share that is away must not keep the other cameras waiting: ordered, and not required.

    `WantsMountsFor` says so too, but not before systemd 254.
    """
    mounts = [
        _mount_unit(each)
        for camera in cameras
        for each in (*reversed(camera.parents), camera)
        if each != Path("/") and not any(each in (one, *one.parents) for one in needed)
    ]
    return [f"After={unit}\nWants={unit}" for unit in dict.fromkeys(mounts)]


def _mount_unit(folder: Path) -> str:
    """As systemd-escape(1) writes it."""
    text = os.fsencode(folder).strip(b"/")
    escaped = "".join(
        "-"
        if each == 0x2F
        else chr(each)
        if chr(each).isascii() and (chr(each).isalnum() or chr(each) in ":_.") and (place or each != 0x2E)
        else f"\\x{each:02x}"
        for place, each in enumerate(text)
    )  # fmt: skip
    return f"{escaped}.mount"


def _beside(folders: Sequence[Path]) -> list[str]:
    """What the hardening would hide."""
    lines = []
    if any(_is_below(folder, _HOMES) for folder in folders):
        lines.append("ProtectHome=read-only")
    if any(_is_below(folder, _TEMPORARY) for folder in folders):
        lines.append("PrivateTmp=no")
    return lines


def _read_alone(settings: Settings) -> list[Path]:
    """Certificate, key and secrets, which may lie anywhere."""
    web, mail, mqtt, webhook = settings.web, settings.mail, settings.mqtt, settings.webhook
    files = [web.tls_certificate, web.tls_key, mail.password_file, mqtt.password_file]
    return [*filter(None, [*files, webhook.token_file])]


def _is_below(folder: Path, tops: tuple[Path, ...]) -> bool:
    return any(top in (folder, *folder.parents) for top in tops)


def _plain(folder: Path) -> str:
    text = str(folder)
    if not text.isprintable() or any(each in text for each in "\"'\\"):
        raise UnitError(
            f"{text!r} cannot be named in a systemd unit: it holds a quote, a backslash or what "
            "cannot be printed; name another folder"
        )
    return text.replace("%", "%%")
