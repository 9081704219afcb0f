"""What a message of an alarm says, for programs and for people."""

import socket
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from daemon.clock import timestamp


def message(
    alarm: str,
    told: Mapping[str, str],
    holds: Mapping[str, str],
    passed: Mapping[str, str],
    now: datetime,
) -> dict[str, Any]:
    """What began and what is over since the last message `told`, and what else still holds.

    Args:
        passed: what began and was over before a message might tell it.
    """
    new = [what for name, what in holds.items() if name not in told]
    began = [*new, *passed.values()]
    ended = [*(what for name, what in told.items() if name not in holds), *passed.values()]
    still = [what for name, what in holds.items() if name in told]
    first = new[0] if new else f"over: {ended[0]}" if ended else ""
    return {
        **_head(alarm, first, now),
        "began": began,
        "ended": ended,
        "still": still,
        "text": _text(alarm, now, {"": began, "Over: ": ended, "Still: ": still}),
    }


def test_message(alarm: str, now: datetime) -> dict[str, Any]:
    what = "this is a test; nothing is wrong"
    nothing: list[str] = []
    return {
        **_head(alarm, what, now),
        "test": True,
        "began": nothing,
        "ended": nothing,
        "still": nothing,
        "text": _text(alarm, now, {"": [what]}),
    }


def _head(alarm: str, first: str, now: datetime) -> dict[str, Any]:
    return {
        # The same for each try: whoever gets a message twice can tell.
        "id": uuid.uuid4().hex,
        "source": "millwatch",
        "computer": socket.gethostname(),
        "alarm": alarm,
        "at": timestamp(now),
        "test": False,
        "subject": f"[{alarm}] {first}",
    }


def _text(alarm: str, now: datetime, parts: Mapping[str, list[str]]) -> str:
    lines = [f"{label}{what}." for label, whats in parts.items() for what in whats]
    head = f"Millwatch on {socket.gethostname()}, alarm '{alarm}', {timestamp(now)}"
    return "\n\n".join([head, *lines]) + "\n"
