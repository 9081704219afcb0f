"""Whether a camera has finished writing a file. Small and pure: no clock, no file system."""

from daemon.values import Signature


class StillnessTracker:
    """One file, watched until it has held still for as long as it must.

    Times are seconds of a monotonic clock: wall clocks jump.
    """

    def __init__(self, *, now: float) -> None:
        self._look: Signature | None = None
        self._still_since = now
        self._closed = False
        self._failed: Signature | None = None
        self._failing_since = now

    def closed(self) -> None:
        """The writer closed the file, or it was renamed into place: it need not hold still."""
        self._closed = True

    def taken(self) -> None:
        """Its turn to be judged has come: what was told of it so far is used up."""
        self._closed = False

    def failed(self, look: Signature, *, now: float) -> None:
        """What this look saw does not decode: unless it changes, it is given up in time."""
        if self._failed != look:
            self._failed, self._failing_since = look, now

    def seen(self, look: Signature, *, now: float) -> None:
        """What was seen of the file, now or before."""
        if look != self._look:
            self._look, self._still_since = look, now

    def is_complete(self, look: Signature, *, now: float, quiet_seconds: float) -> bool:
        """Whether the file as this look sees it may be judged."""
        self.seen(look, now=now)
        if self._closed:
            # Even when it looks like what failed: a file that was allocated first keeps its size,
            # and two writes within one tick of the kernel's clock have one mtime.
            return True
        return look != self._failed and now - self._still_since >= quiet_seconds

    def is_hopeless(self, look: Signature, *, now: float, give_up_seconds: float) -> bool:
        """Whether what failed to decode has held still so long that it is judged all the same."""
        return look == self._failed and now - self._failing_since >= give_up_seconds
