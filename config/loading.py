"""From a file and the environment to settings, or to every reason why not."""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config.document import Document, read_document
from config.folders import folder_problems
from config.problems import ConfigurationError, Problem
from config.settings import Settings
from config.sources import PREFIX, Source, setting_path
from config.table import LISTS
from config.toml_lines import KeyPath
from config.wording import KNOWN_KEYS, in_plain_words, nearest_variable

CONFIG_VARIABLE = "MILLWATCH_CONFIG"
# What stands for keys that were refused and have no default, so that the others can still be judged.
_STAND_INS: Mapping[str, Mapping[str, object]] = {
    "cameras": {"name": "camera-{}", "folder": "/"},
    "alarms": {"name": "alarm-{}", "when": "trouble", "to": ["mailto:nobody@localhost"]},
}


Check = Callable[[Settings, Source, frozenset[KeyPath]], list[Problem]]
"""More to check: with the settings, where each was made, and the keys that hold a stand-in."""


def load_settings(
    path: Path | None, environ: Mapping[str, str], *, further: Sequence[Check] = ()
) -> Settings:
    """Return the settings of a file with the environment's overrides, without a look at any folder.

    Without `path` the file is the one that MILLWATCH_CONFIG names; without that, the defaults hold.

    Raises:
        ConfigurationError: with every problem of every key, and what `further` finds that lasts.
    """
    document = _gather(path, environ)
    settings, refused, problems = _judge(document)
    for check in further if document.is_whole else ():
        found = check(settings, document.source, refused)
        problems += [each for each in found if not each.again_helps]
    if problems:
        raise ConfigurationError(in_reading_order(problems))
    return settings


def check_settings(
    path: Path | None, environ: Mapping[str, str], *, further: Sequence[Check] = ()
) -> tuple[Settings | None, list[Problem]]:
    """Return the settings and everything that is wrong with them or with the folders they name.

    Folders are checked as far as the keys that name them are right, and so is what `further` names. The settings are None if any key
    is wrong: a caller must never run on a mixture of what was written and defaults.
    """
    document = _gather(path, environ)
    settings, refused, problems = _judge(document)
    if not document.is_whole:
        return None, problems
    found = folder_problems(settings, document.source, skip=refused)
    for check in further:
        found += check(settings, document.source, refused)
    return (None if problems else settings), in_reading_order([*problems, *found])


def in_reading_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort problems as a person meets them: down the file, then the environment."""
    return sorted(
        problems, key=lambda each: (each.source.startswith("environment "), each.line or 0)
    )


def _gather(path: Path | None, environ: Mapping[str, str]) -> Document:
    if path is not None:
        document = read_document(path, "--config")
    elif named := environ.get(CONFIG_VARIABLE):
        document = read_document(Path(named), CONFIG_VARIABLE)
    else:
        document = Document()
    return _override(document, environ)


def _override(document: Document, environ: Mapping[str, str]) -> Document:
    values = deepcopy(document.values)
    variables: dict[KeyPath, str] = {}
    problems = list(document.problems)
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
            continue
        path = _path_of(name)
        if path is None:
            problems.append(_unknown_variable(name))
            continue
        variables[path] = name
        table = values
        if len(path) == 2:
            table = table.setdefault(str(path[0]), {})
        if isinstance(table, dict):
            table[str(path[-1])] = _value(environ[name])
    return replace(
        document,
        values=values,
        source=replace(document.source, variables=variables),
        problems=tuple(problems),
        refused=document.refused - variables.keys(),
    )


def _path_of(variable: str) -> KeyPath | None:
    *tables, key = variable.removeprefix(PREFIX).split("__")
    table = tables[0].lower() if tables else ""
    is_known = len(tables) < 2 and variable.isupper() and key.lower() in KNOWN_KEYS.get(table, {})
    # A table as a whole cannot be set, nor can one of a list: their keys and lines are in the file.
    if not is_known or table in LISTS or (not table and key.lower() in KNOWN_KEYS):
        return None
    return (table, key.lower()) if table else (key.lower(),)


def _unknown_variable(name: str) -> Problem:
    key = name.removeprefix(PREFIX).lower().replace("__", ".")
    table = key.split(".")[0]
    if table in LISTS:
        what = f"{table} cannot be set by variables"
        remedy = f"Unset it, and describe the {table} in the configuration file."
    elif key and key in KNOWN_KEYS:
        what = f"sets the whole table [{key}]"
        remedy = f"Set its keys one by one, such as {name}__{next(iter(KNOWN_KEYS[key])).upper()}."
    else:
        what = "is not a key that Millwatch knows"
        remedy = f"Unset it, or did you mean {nearest_variable(name)}?"
    return Problem(source=f"environment {name}", line=None, key=key, what=what, remedy=remedy)


def _value(text: str) -> object:
    try:
        document = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return document["value"] if document.keys() == {"value"} else text


def _judge(document: Document) -> tuple[Settings, frozenset[KeyPath], list[Problem]]:
    """Return settings made of all that is right, the keys that were set aside, and the problems."""
    values, refused = deepcopy(document.values), set(document.refused)
    problems = list(document.problems)
    settings, errors = _validate(values)
    for error in errors:
        path = _blamed(error, values)
        if setting_path(path) not in document.refused:
            what, remedy = in_plain_words({**error, "loc": path})
            problems.append(document.source.problem(path, what, remedy))
    while settings is None:
        # Several entries of one list may be wrong: the key goes once.
        for path in {setting_path(_blamed(error, values)) for error in errors}:
            refused.add(path)
            _set_aside(values, path)
        settings, errors = _validate(values)
    return settings, frozenset(refused), in_reading_order(problems)


def _validate(values: dict[str, Any]) -> tuple[Settings | None, list[ErrorDetails]]:
    try:
        return Settings.model_validate(values), []
    except ValidationError as failure:
        return None, failure.errors(include_url=False)


def _blamed(error: ErrorDetails, values: dict[str, Any]) -> KeyPath:
    """Return the key to blame: of two that contradict each other, the one that was set."""
    path, also = error["loc"], error.get("ctx", {}).get("also")
    if also and not _holds(values, path) and _holds(values, (*path[:-1], also)):
        return (*path[:-1], also)
    return path


def _holds(values: Any, path: KeyPath) -> bool:
    return not path or (
        isinstance(values, dict) and path[0] in values and _holds(values[path[0]], path[1:])
    )


def _set_aside(values: dict[str, Any], path: KeyPath) -> None:
    """Remove a key that is wrong. A camera stays, or the cameras after it would change places."""
    name = str(path[0])
    if name in LISTS and len(path) > 1:
        place = int(path[1])
        values[name] = entries = list(values[name])
        stand_ins = {key: _stand_in(value, place) for key, value in _STAND_INS[name].items()}
        if not isinstance(entries[place], dict):
            entries[place] = stand_ins
        elif path[-1] in stand_ins:
            entries[place][path[-1]] = stand_ins[str(path[-1])]
        else:
            entries[place].pop(path[-1])
        return
    table = values if len(path) == 1 else values[name]
    table.pop(str(path[-1]))


def _stand_in(value: object, place: int) -> object:
    return value.format(place + 1) if isinstance(value, str) else value
