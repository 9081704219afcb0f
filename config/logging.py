"""The one set-up of logging: readable on a terminal, one JSON object a line everywhere else.

What the standard library's loggers say (alembic, watchdog, sqlalchemy, warnings) goes the same way.
Whatever is logged, a line stays one line and can be written: file names come from cameras.
"""

import logging
import math
import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import PurePath
from typing import Any, TextIO

import structlog

from config.text import as_one_line, escape_undecodable

# Deeper than anything worth reading; also ends a value that contains itself.
_DEEPEST = 8
# The only values that may take several lines, and on a terminal only.
_TRACEBACKS = ("exception", "stack")


class _Handler(logging.StreamHandler[TextIO]):
    """Marks the handler that `configure_logging` owns, so that a second call replaces only it."""


def configure_logging(*, stream: TextIO | None = None, as_json: bool | None = None) -> None:
    """Send every log line of the process to `stream` (standard error unless given).

    `as_json` None means: readable text on a terminal, JSON otherwise. A second call replaces the first.
    """
    stream = sys.stderr if stream is None else stream
    is_terminal = stream.isatty()
    is_json = not is_terminal if as_json is None else as_json
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last = _json_processors() if is_json else _readable_processors(stream, is_terminal)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        # A logger made at import, before this call, must follow it.
        cache_logger_on_first_use=False,
    )
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    _install(handler)


def _install(handler: _Handler) -> None:
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    logging.captureWarnings(capture=True)


def _json_processors() -> list[structlog.typing.Processor]:
    return [
        structlog.processors.format_exc_info,
        _encodable,
        # ASCII only, so that no stream's encoding matters.
        structlog.processors.JSONRenderer(ensure_ascii=True),
    ]


def _readable_processors(stream: TextIO, is_terminal: bool) -> list[structlog.typing.Processor]:
    encoding = getattr(stream, "encoding", None) or "utf-8"

    render = structlog.dev.ConsoleRenderer(
        colors=is_terminal and "NO_COLOR" not in os.environ,
        exception_formatter=structlog.dev.plain_traceback,
    )

    def render_for_stream(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        line = render(logger, method, event)
        return line.encode(encoding, "backslashreplace").decode(encoding)

    return [structlog.processors.format_exc_info, _on_one_line, render_for_stream]


def _encodable(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {escape_undecodable(str(key)): _plain(value) for key, value in event.items()}


def _on_one_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {as_one_line(str(key)): _shown(key, value) for key, value in event.items()}


def _shown(key: str, value: Any) -> Any:
    plain = _plain(value)
    if not isinstance(plain, str):
        return plain
    if key in _TRACEBACKS:
        return "\n".join(as_one_line(line) for line in plain.split("\n"))
    return as_one_line(plain)


def _plain(value: Any, depth: int = 0) -> Any:
    """Return `value` as JSON can hold it: paths and bytes as text, any other object by its repr."""
    plain: Any
    match value:
        case None | bool() | int():
            plain = value
        case float():
            plain = value if math.isfinite(value) else str(value)
        case str() | PurePath():
            plain = escape_undecodable(str(value))
        case bytes():
            plain = escape_undecodable(value.decode("utf-8", "surrogateescape"))
        case Mapping() if depth < _DEEPEST:
            plain = {
                escape_undecodable(str(key)): _plain(item, depth + 1) for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth < _DEEPEST:
            plain = [_plain(item, depth + 1) for item in value]
        case _:
            plain = escape_undecodable(repr(value))
    return plain
