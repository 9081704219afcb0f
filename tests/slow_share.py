"""A share that answers, but slowly: FUSE (fuse(4)) with the folder itself behind it, to read only."""

import ctypes
import errno
import os
import select
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _RELEASE, _FLUSH = 1, 2, 3, 14, 15, 18, 25
_INIT, _INTERRUPT, _BATCH_FORGET = 26, 36, 42
_HEADER = struct.Struct("IIQQIIII")
_AT_ONCE = 64


@dataclass
class SlowShare:
    """Each read of a piece takes `seconds`; all else is answered at once.

    Attributes:
        reading: how many pieces were asked for.
    """

    device: int
    behind: int
    seconds: float
    reading: int = 0
    hurry: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)
    _paths: list[str] = field(default_factory=lambda: ["", "."])

    def serve(self) -> None:
        ready = select.poll()
        ready.register(self.device, select.POLLIN)
        with ThreadPoolExecutor(_AT_ONCE) as readers:
            while not self._ended.is_set():
                if ready.poll(50):
                    try:
                        asked = os.read(self.device, 1 << 18)
                    except OSError:  # it is unmounted
                        return
                    self._take(asked, readers)

    def end(self) -> None:
        self.hurry.set()
        self._ended.set()

    def _take(self, asked: bytes, readers: ThreadPoolExecutor) -> None:
        _, what, unique, node, *_ = _HEADER.unpack_from(asked)
        body = asked[_HEADER.size :]
        if what in (_FORGET, _BATCH_FORGET, _INTERRUPT):
            return
        if what == _READ:
            self.reading += 1
            readers.submit(self._read, unique, body)
            return
        try:
            self._answer(unique, self._done(what, node, body))
        except OSError as error:
            self._answer(unique, b"", error.errno or errno.EIO)

    def _done(self, what: int, node: int, body: bytes) -> bytes:
        if what == _INIT:
            return struct.pack("IIIIHHI", 7, 12, 0, 0, _AT_ONCE, _AT_ONCE, 4096)
        if what == _LOOKUP:
            self._paths.append(f"{self._paths[node]}/{os.fsdecode(body.rstrip(bytes(1)))}")
            number = len(self._paths) - 1
            return struct.pack("QQQQII", number, 0, 0, 0, 0, 0) + self._attributes(number)
        if what == _GETATTR:
            return struct.pack("QII", 0, 0, 0) + self._attributes(node)
        if what == _OPEN:
            opened = os.open(self._paths[node], os.O_RDONLY, dir_fd=self.behind)
            return struct.pack("QII", opened, 1, 0)  # FOPEN_DIRECT_IO: no cache of the kernel's
        if what == _RELEASE:
            os.close(struct.unpack_from("Q", body)[0])
            return b""
        if what == _FLUSH:
            return b""
        raise OSError(errno.ENOSYS, "not here")

    def _attributes(self, node: int) -> bytes:
        found = os.stat(self._paths[node], dir_fd=self.behind, follow_symlinks=False)
        sizes = (found.st_ino, found.st_size, found.st_blocks)
        times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime), 0, 0, 0)
        return struct.pack("6Q10I", *sizes, *times, found.st_mode, found.st_nlink, 0, 0, 0, 4096, 0)

    def _read(self, unique: int, body: bytes) -> None:
        opened, offset, size = struct.unpack_from("QQI", body)
        self.hurry.wait(self.seconds)
        self._answer(unique, os.pread(opened, size, offset))

    def _answer(self, unique: int, data: bytes, error: int = 0) -> None:
        try:
            os.write(self.device, struct.pack("IiQ", 16 + len(data), -error, unique) + data)
        except OSError:  # nobody waits for it any more
            return


@contextmanager
def slow(folder: Path, *, seconds: float) -> Iterator[SlowShare]:
    """What lies in the folder is on a share meanwhile that takes so long for each piece of a file."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("only root may mount, and there must be FUSE")
    behind = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"millwatch-slow", os.fsencode(folder), b"fuse", 0, options) != 0:
        pytest.skip("FUSE cannot be mounted here")
    share = SlowShare(device=device, behind=behind, seconds=seconds)
    server = threading.Thread(target=share.serve, daemon=True)
    server.start()
    try:
        yield share
    finally:
        share.end()
        libc.umount2(os.fsencode(folder), 2)  # MNT_DETACH
        server.join()
        os.close(device)
        os.close(behind)
