"""Options that several commands share, and what they turn into."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, Final

import structlog
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from config.loading import load_settings
from config.settings import Settings
from config.text import as_one_line, escape_undecodable
from daemon.names import to_text

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration; else the file that MILLWATCH_CONFIG names, else the defaults.",
    ),
]
_WIDTH: Final = 160
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class CommandError(Exception):
    """A command could not do what it was asked; the message says why and what to do next."""


def settings_of(config: Path | None) -> Settings:
    """Raises ConfigurationError."""
    return load_settings(config, os.environ)


def existing_database(settings: Settings) -> Path:
    """Of a line that ran: a command without its --config must not tell of an empty one. Raises CommandError."""
    path = settings.database_file
    if not path.exists():
        raise CommandError(f"there is no database at {path} yet; start `millwatch run` first")
    return path


def text_alone(value: str | None) -> str | None:
    """An argument that the database is asked for: it must be text, as every name there is."""
    if value is not None and not value.isascii() and escape_undecodable(value) != value:
        raise typer.BadParameter(f"'{as_one_line(value)}' is not in UTF-8")
    return value


def shown(value: object) -> str:
    """Text from a file name or an error: it neither drives the terminal nor reads as markup."""
    return escape(as_one_line(str(value)))


def refuse_unwritable(path: Path | None) -> None:
    """Before the work that `path` is for, not after it; what is missing above it is made later.

    Raises:
        CommandError: when nothing could be written there.
    """
    if path is None:
        return
    why = ""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            why = "it is neither a file nor a folder"  # and a file would take its place
        above = next(folder for folder in path.absolute().parents if folder.exists())
        with TemporaryFile(dir=above):
            pass
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise CommandError(
            f"{to_text(path)} cannot be written: {why}; name another place, or let this user write there"
        )


def print_json(document: dict[str, Any] | list[Any]) -> None:
    """One JSON document on one line. Names with undecodable bytes are escaped by who made it."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def console_of_answers() -> Console:
    """As wide as the terminal; where there is none, wide enough to tell a model's version on one line."""
    is_known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_known else _WIDTH)


def table_of_answers(*heads: str, title: str | None = None) -> Table:
    """Of which nothing is cut: what does not fit into a column goes on in its next line."""
    return Table(*(Column(head, overflow="fold") for head in heads), title=title)


@contextmanager
def logged_aside() -> Iterator[None]:
    """What is logged meanwhile goes to the standard error: the standard output is the answer's."""
    structlog.reset_defaults()  # whose processors go with such a logger
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        yield
    finally:
        structlog.reset_defaults()
