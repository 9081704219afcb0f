"""Memory that is freed can be used by another thread, or goes back to the system."""

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import pytest

THREADS_THAT_ALLOCATE = """
import ctypes, sys, threading
from daemon.process.arenas import keep_the_heap_small

keep_the_heap_small()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(9)

def allocate():
    libc.malloc(ctypes.c_size_t(1000))
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
together.wait()
for thread in threads:
    thread.join()
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""

LARGE_BLOCKS = """
import ctypes, sys
from daemon.process.arenas import keep_the_heap_small

keep_the_heap_small()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.free(ctypes.c_void_p(libc.malloc(ctypes.c_size_t(8 << 20))))
for _ in range(20):
    libc.malloc(ctypes.c_size_t(1 << 20))
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_info"), reason="this C library is not glibc"
)


def test_many_threads_share_two_arenas(tmp_path: Path) -> None:
    told = tmp_path / "arenas.xml"
    subprocess.run([sys.executable, "-c", THREADS_THAT_ALLOCATE, told], check=True)
    assert told.read_text().count("<heap ") == 2


def test_a_large_block_is_mapped_by_itself_after_larger_ones_were_freed(tmp_path: Path) -> None:
    told = tmp_path / "blocks.xml"
    subprocess.run([sys.executable, "-c", LARGE_BLOCKS, told], check=True)
    mapped = re.search(r'<total type="mmap" count="(\d+)"', told.read_text())
    assert mapped
    assert int(mapped[1]) >= 20
