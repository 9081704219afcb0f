"""Work in the background that gives way to what a line waits for."""

import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

Item = TypeVar("Item")

_PIECE_SECONDS: Final = 0.002
_TIMES_PAUSED: Final = 3.0


def unhurried(items: Iterable[Item]) -> Iterator[Item]:
    """The items, with a pause of three times as long as the work on them after each few milliseconds of it.

    Python runs one thread at a time. One that computes on is made to let go every 5 ms only
    (`sys.setswitchinterval`), and so long each of the others waits whenever it comes back from the disk,
    which it does several times for an image: 0.2 s of such work made images wait as long.
    """
    since = time.thread_time()
    for item in items:
        yield item
        if (used := time.thread_time() - since) > _PIECE_SECONDS:
            time.sleep(_TIMES_PAUSED * used)
            since = time.thread_time()
