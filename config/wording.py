"""What pydantic found, said plainly: what is wrong with a key, and what to write instead."""

import difflib
from collections.abc import Mapping
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from config.settings import Settings
from config.sources import key_text, setting_path, variable_name
from config.table import LISTS, Table
from config.text import as_one_line
from config.toml_lines import KeyPath
from config.values import shown

_KINDS = {
    "string_type": "must be text in quotes",
    "string_unicode": "must be text",
    "int_type": "must be a whole number without quotes",
    "float_type": "must be a number without quotes",
    "finite_number": "must be a number that is neither infinite nor nan",
    "bool_type": "must be true or false, without quotes",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
}
# What only its user can know, by the list of tables that it is in.
_EXAMPLES = {
    "cameras": {"name": '"top-1"', "folder": '"/srv/cameras/top-1"'},
    "alarms": {"name": '"line stands"', "when": '"trouble"', "to": '["mailto:name@plant.example"]'},
}


def table_model(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of the table, or of the list of tables, that a field holds."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Table):
            return kind
    return None


def _known_keys() -> dict[str, Mapping[str, FieldInfo]]:
    tables: dict[str, Mapping[str, FieldInfo]] = {"": Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if (model := table_model(field)) is not None:
            tables[name] = model.model_fields
    return tables


# The keys of each table, by the table's name; the top of the file is "".
KNOWN_KEYS = _known_keys()


def in_plain_words(error: ErrorDetails) -> tuple[str, str]:
    """Return what is wrong and the remedy for one error of pydantic."""
    path, context = error["loc"], error.get("ctx", {})
    match error["type"]:
        case "refused":
            return context["what"], context["remedy"]
        case "extra_forbidden":
            return "is not a key that Millwatch knows", nearest_key(path)
        case "missing":
            example = _EXAMPLES[str(path[0])][str(path[-1])]
            return "is missing", f"Add a line {path[-1]} = {example} below this [[{path[0]}]]."
        case "model_type":
            header = _header(str(path[0]))
            what = f"must be a table, but is {_got(error['input'])}"
            return what, f"Begin it with a line {header} and put its keys below, one to a line."
    kind = _KINDS.get(error["type"])
    what = kind.format_map(context).replace("'", '"') if kind else as_one_line(error["msg"])
    return f"{what}, but is {_got(error['input'])}", _example(path, error["input"])


def nearest_key(path: KeyPath) -> str:
    """Return the remedy for a key that does not exist: the key that was probably meant."""
    *tables, unknown = (str(part) for part in path if not isinstance(part, int))
    here = tables[0] if tables else ""
    keys = KNOWN_KEYS.get(here, {})
    if close := _closest(unknown, keys, cutoff=0.7):
        return f"Did you mean {_quoted(here, close)}?"
    exact = [table for table, others in KNOWN_KEYS.items() if table != here and unknown in others]
    if exact:
        places = " or ".join(_table_text(table) for table in exact)
        return f"{unknown} belongs {places}: move the line there."
    everywhere = {key: table for table, others in KNOWN_KEYS.items() for key in others}
    if close := _closest(unknown, everywhere, cutoff=0.75):
        return (
            f"Did you mean {_quoted(everywhere[close], close)}, {_table_text(everywhere[close])}?"
        )
    close = _closest(unknown, keys, cutoff=0.0) or next(iter(keys))
    listed = ", ".join(keys)
    return f"Remove it, or correct it: the nearest known key is {close}; known here are {listed}."


def nearest_variable(name: str) -> str:
    """Return the variable that was probably meant by one that names no key."""
    names = [
        variable_name((table, key) if table else (key,))
        for table, keys in KNOWN_KEYS.items()
        for key, field in keys.items()
        if table not in LISTS and table_model(field) is None
    ]
    return _closest(name, names, cutoff=0.0) or names[0]


def _closest(name: str, known: Mapping[str, object] | list[str], *, cutoff: float) -> str | None:
    by_lower = {key.lower(): key for key in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[close[0]] if close else None


def _quoted(table: str, key: str) -> str:
    model = table_model(KNOWN_KEYS[table][key])
    if model is None:
        return key
    return _header(key)


def _table_text(table: str) -> str:
    if not table:
        return "at the top of the file, above the first line in square brackets"
    return f"under {_header(table)}"


def _header(table: str) -> str:
    return f"[[{table}]]" if table in LISTS else f"[{table}]"


def _got(value: object) -> str:
    if isinstance(value, str | bool | int | float):
        return shown(value)
    if isinstance(value, list | tuple):
        return "a list"
    return "a table" if isinstance(value, dict) else f"the value {shown(value)}"


def _example(path: KeyPath, value: object) -> str:
    setting = setting_path(path)
    if setting != path:
        return f"Correct entry {key_text(path)}."
    table, key = (str(path[0]) if len(path) > 1 else ""), str(path[-1])
    field = KNOWN_KEYS[table][key]
    if isinstance(value, str) and (close := _closest(value, _choices(field), cutoff=0.6)):
        return f'Did you mean "{close}"?'
    if field.is_required():
        return f"Write for example {key} = {_EXAMPLES[table][key]}."
    if field.default is None:
        return f"Correct it, or remove the line. {field.description}"
    return f"Write for example {key} = {shown(field.default)}, which is the default."


def _choices(field: FieldInfo) -> list[str]:
    return [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
