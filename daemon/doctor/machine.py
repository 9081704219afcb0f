"""What kind of computer this is: its clock, processor, memory and GPU."""

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from config.settings import Settings
from config.text import counted
from daemon.clock import timestamp
from daemon.doctor.checked import Checked, bad, good, remark

_SLACK: Final = timedelta(hours=1)
_MEMORY_GB: Final = 2.0
_VNNI: Final = {"avx512_vnni", "avx_vnni", "amx_int8"}
_SECONDS: Final = 10


def clock_checks(
    settings: Settings, now: datetime, *, last_recorded: str | None
) -> Iterator[Checked]:
    """Whether the clock can be right, goes by another one, and which zone shifts follow.

    Args:
        last_recorded: the time of the newest record, UTC; None without one.
    """
    installed = datetime.fromtimestamp(Path(__file__).stat().st_mtime, now.tzinfo)
    step = "Set it (`timedatectl set-time`), and let it follow a time server of the plant's."
    here = f"the clock says {timestamp(now)}"
    if last_recorded is not None and last_recorded > timestamp(now + _SLACK):
        yield bad("clock", f"{here}, and the newest record is of {last_recorded}", step)
    elif installed > now + _SLACK:
        told = f"{here}, and Millwatch was installed at {timestamp(installed)}"
        yield bad("clock", told, step)
    else:
        yield good("clock", here)
    match _synchronised():
        case "yes":
            yield good("clock: synchronised", "with a time server")
        case "no":
            found = "it follows no time server, so times in records drift"
            yield remark("clock: synchronised", found, "`timedatectl set-ntp true`, or chrony.")
        case _:
            yield good("clock: synchronised", "nothing here tells (no timedatectl, or no systemd)")
    zone, system = settings.time_zone, _system_zone()
    if zone == "UTC" and system not in ("", "UTC", "Etc/UTC"):
        found = f"shifts and the retraining schedule follow UTC, and this computer is in {system}"
        yield remark("time zone", found, f'Set time_zone = "{system}", if that is meant.')
    else:
        yield good("time zone", f"{zone}: shifts, the schedule and the page follow it")


def _synchronised() -> str:
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    return _said(command).strip()


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 -- fixed words
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _system_zone() -> str:
    """By where /etc/localtime leads; "" where it does not tell."""
    _, found, zone = os.path.realpath("/etc/localtime").partition("/zoneinfo/")
    return zone if found else ""


def processor_check(cpuinfo: str | None = None) -> Checked:
    """What the network can be computed with.

    Args:
        cpuinfo: the text of `/proc/cpuinfo`; read from there when None.
    """
    text = Path("/proc/cpuinfo").read_text() if cpuinfo is None else cpuinfo
    name = re.search(r"^model name\s*: (.+)$", text, flags=re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", text, flags=re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    what = f"{name[1] if name else platform.machine()}, {counted(len(os.sched_getaffinity(0)), 'processor')}"
    if fast := sorted(known & _VNNI):
        return good("processor", f"{what}, with {', '.join(fast)}: INT8 is fast")
    if "asimddp" in known:
        return good("processor", f"{what}, with dot products of INT8")
    if "avx2" in known:
        wide = "AVX-512" if "avx512f" in known else "AVX2"
        found = f"{what}, with {wide} and without VNNI: INT8 takes about twice as long"
        step = (
            "None is needed. `millwatch models list` tells what serves; it is tried at each start."
        )
        return remark("processor", found, step)
    found = f"{what}, without AVX2: an image takes several times as long"
    return remark("processor", found, "Measure by `millwatch demo` whether it keeps up.")


def memory_check() -> Checked:
    text = Path("/proc/meminfo").read_text()
    found = re.search(r"^MemAvailable:\s*(\d+) kB", text, flags=re.MULTILINE)
    available = int(found[1]) * 1024 / 1e9 if found else 0.0
    if available < _MEMORY_GB:
        step = (
            f"Millwatch wants {_MEMORY_GB:g} GB: end other programs, or lower batching.max_images."
        )
        return remark("memory", f"{available:.1f} GB are free for programs", step)
    return good("memory", f"{available:.1f} GB are free for programs")


def gpu_check(*, runtime: str, wanted: str) -> Checked:
    """Whether a GPU that is there judges.

    Args:
        runtime: the name of the one that the model was loaded in; "" when it was not.
        wanted: `model.runtime`.
    """
    devices = sorted(each.name for each in Path("/dev").glob("nvidia[0-9]*"))
    driver = Path("/proc/driver/nvidia/version")
    if not devices and not driver.exists():
        return good("GPU", "no driver of NVIDIA's is loaded: the processor judges")
    version = driver.read_text().splitlines()[0].strip() if driver.exists() else "driver not loaded"
    what = f"{', '.join(devices) or 'no device node'} ({version})"
    if "cuda" in runtime or wanted == "openvino" or not runtime:
        return good("GPU", what)
    return remark(
        "GPU",
        f"{what}, and {runtime} judges all the same: PyTorch does not see it",
        "Install PyTorch with CUDA for this driver (`python -c 'import torch; print(torch.version.cuda)'` "
        "tells which it has; `make upgrade TORCH_BACKEND=` brings it), and let the service's user open "
        "/dev/nvidia*.",
    )
