"""Filesystems of a test's own: small, full, and with permissions that hold for root too."""

import ctypes
import errno
import os
import platform
import resource
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def mount_memory(folder: Path, *, size: str) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "millwatch-test", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, check=False).returncode == 0


def kind_of_filesystem(folder: Path) -> str:
    """Such as "ext4": that of the innermost mount which the folder lies below (proc(5))."""
    above = {str(each) for each in (folder.resolve(), *folder.resolve().parents)}
    kind, length = "", 0
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields, (told, *_) = line.split(" ")[:5], line.partition(" - ")[2].split(" ")
        if fields[4] in above and len(fields[4]) >= length:  # a later mount hides the one before
            kind, length = told, len(fields[4])
    return kind


@contextmanager
def filesystem(folder: Path, *, size: str) -> Iterator[None]:
    """A small filesystem of its own mounted on a folder."""
    if not mount_memory(folder, size=size):
        pytest.skip("only root may mount, and not in every container")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def no_file_larger(size: int) -> Iterator[None]:
    """As on a full disk: no file of this process grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def bound(folder: Path, *, at: Path | None = None) -> Iterator[None]:
    """A folder mounted on itself, or at another place too, with all that lies in it."""
    place = at or folder
    command = ["mount", "--bind", str(folder), str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:
        pytest.skip("only root may mount, and not in every container")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def unmounted(folder: Path, keep: Path) -> Iterator[None]:
    """A mounted filesystem is elsewhere meanwhile, as seen from the folder."""
    libc = ctypes.CDLL(None, use_errno=True)
    move = 8192  # MS_MOVE of mount(2)
    if libc.mount(os.fsencode(folder), os.fsencode(keep), None, move, None) != 0:
        pytest.skip("this mount cannot be moved")
    try:
        yield
    finally:
        assert libc.mount(os.fsencode(keep), os.fsencode(folder), None, move, None) == 0


@contextmanager
def hanging(folder: Path) -> Iterator[None]:
    """A share whose server never answers is mounted on the folder: FUSE without anyone behind it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("only root may mount, and there must be FUSE")
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    try:
        if libc.mount(b"millwatch-test", os.fsencode(folder), b"fuse", 0, options) != 0:
            pytest.skip("FUSE cannot be mounted here")
        yield
    finally:
        os.close(device)  # the kernel ends whatever waits for an answer
        libc.umount2(os.fsencode(folder), 2)  # MNT_DETACH


def unmount_lazily(folder: Path) -> None:
    """As `umount -l`: the share is out of sight, and what hangs in it hangs on."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """The filesystem of a folder has not one byte left meanwhile."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 512, 1):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The filesystem that is mounted on a folder cannot be written to meanwhile."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


def where_modes_are_the_mounts(work: Callable[[], None]) -> None:
    """Do this where no file's permissions can be set, as on a USB stick (vfat) or a share of Windows'.

    The kernel refuses it to the thread that does the work (seccomp(2)).
    """
    chmods = {"x86_64": (90, 91, 268), "aarch64": (52, 53)}.get(platform.machine())
    if chmods is None:
        pytest.skip("the numbers of system calls are another processor's")
    load, equal, give = (
        0x20,
        0x15,
        0x06,
    )  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
    steps = [(load, 0, 0, 0)]
    steps += [(equal, len(chmods) - place, 0, each) for place, each in enumerate(chmods)]
    steps += [(give, 0, 0, 0x7FFF0000), (give, 0, 0, 0x00050000 | errno.EPERM)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))

    def refused() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
        assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        work()

    with ThreadPoolExecutor(1) as alone:
        alone.submit(refused).result()


@contextmanager
def obeying_permissions() -> Iterator[None]:
    """Permission bits hold for root too, in this thread and those that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    before = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    without = (ctypes.c_uint32 * 6)(*before)
    without[0] &= ~0b110  # effective CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    assert libc.capset(header, without) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0
