"""Reading the configuration again while the line is judged: what changes at once, and what needs a restart."""

from typing import Any, Final

from config.settings import Settings
from config.table import Table

_AT_ONCE: Final = {
    "policy": frozenset(
        {"min_defect_confidence", "max_wrong_class_rate", "max_missed_defect_rate"}
    ),
    "retention": None,
    "retraining": None,
    "gate": None,
    "drift": None,
    "alarms": None,
    "mail": None,
    "mqtt": None,
    "webhook": None,
}
"""The keys of a table that can change at once; None for all of them."""


def merged(old: Settings, new: Settings) -> tuple[Settings, list[str], list[str]]:
    """What to go on with.

    Returns:
        The settings, the keys that changed, and those that differ but need a restart.
    """
    changed: list[str] = []
    waiting: list[str] = []
    tables: dict[str, Any] = {}
    for name in type(old).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if not isinstance(before, Table):
            told = changed if name in _AT_ONCE else waiting
            told += [name] if before != after else []
            if name in _AT_ONCE:
                tables[name] = after
            continue
        keys = [key for key in type(before).model_fields if _differs(before, after, key)]
        allowed = _AT_ONCE.get(name, frozenset())
        now = [key for key in keys if allowed is None or key in allowed]
        changed += [f"{name}.{key}" for key in now]
        waiting += [f"{name}.{key}" for key in keys if key not in now]
        tables[name] = before.model_copy(update={key: getattr(after, key) for key in now})
    return old.model_copy(update=tables), changed, waiting


def _differs(before: Table, after: Table, key: str) -> bool:
    return bool(getattr(before, key) != getattr(after, key))
