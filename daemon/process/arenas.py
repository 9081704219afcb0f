"""How the C library hands out memory to a process of many threads."""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8
"""Of glibc's <malloc.h>."""
_ARENAS: Final = 2


def share_arenas() -> None:
    """Let the threads share two of glibc's arenas, where each may get one of its own.

    What is freed in an arena no other one can use, so that a service which frees all that it takes
    grows nevertheless: over 30,000 images by 9 MiB with as many arenas as glibc likes, by none with two.
    To be called before the threads start. Other C libraries have no arenas.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, _ARENAS)
