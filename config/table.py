"""What every table of the configuration has in common, and which of them are lists."""

from typing import Final

from pydantic import BaseModel, ConfigDict

LISTS: Final = ("cameras", "alarms")
"""Tables of which there may be several: [[cameras]]."""


class Table(BaseModel):
    """A TOML table: frozen, strict about types (`true` is no number), closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,  # two keys that contradict each other, one of them at its default
        protected_namespaces=(),
    )
