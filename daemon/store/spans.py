"""Which times, and of which camera, a report is asked for."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement


@dataclass(frozen=True, kw_only=True)
class Span:
    """None for all of the time, and for all cameras.

    Attributes:
        since: the first time that counts, `YYYY-MM-DDTHH:MM:SSZ`; of kept counts an hour.
        until: then, and later, nothing counts any more.
    """

    since: str | None = None
    until: str | None = None
    camera: str | None = None

    def holds(
        self, time: ColumnElement[str], camera: ColumnElement[str]
    ) -> list[ColumnElement[bool]]:
        """That a row of these is in it."""
        conditions: list[ColumnElement[bool]] = []
        if self.since is not None:
            conditions.append(time >= self.since)
        if self.until is not None:
            conditions.append(time < self.until)
        if self.camera is not None:
            conditions.append(camera == self.camera)
        return conditions
