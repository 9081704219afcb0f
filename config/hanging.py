"""What may never end, such as a look at a share whose server is away: done aside, and not waited for."""

import threading
import time
from collections.abc import Callable, Sequence


def hang(looks: Sequence[Callable[[], object]], *, seconds: float) -> list[bool]:
    """Whether each of them still goes on after so many seconds. It ends with the process at the latest."""
    threads = [threading.Thread(target=look, daemon=True) for look in looks]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.is_alive() for thread in threads]
