"""Threads share the C library's arenas: memory that one frees, another can use."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

THREADS_THAT_ALLOCATE = """
import ctypes, sys, threading
from daemon.process.arenas import share_arenas

share_arenas()
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


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_info"), reason="this C library is not glibc"
)
def test_many_threads_share_two_arenas(tmp_path: Path) -> None:
    told = tmp_path / "arenas.xml"
    subprocess.run([sys.executable, "-c", THREADS_THAT_ALLOCATE, told], check=True)
    assert told.read_text().count("<heap ") == 2
