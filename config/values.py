"""The kinds of value that a key may have, and the plain words that refuse any other."""

import difflib
import ipaddress
import re
import zoneinfo
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from config.text import as_one_line, counted

_LONGEST_NAME = 255
_CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CRON_STEP = re.compile(r"(?P<range>\*|(?P<first>\d+)(-(?P<last>\d+))?)(/(?P<step>\d+))?")
_CRON_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
)
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def refuse(what: str, remedy: str, *, also: str = "") -> PydanticCustomError:
    """Make the error by which a validator refuses a value.

    `also` names the other key of the same table when two keys contradict each other: if only that one
    was set, it is the one to blame.
    """
    context = {"what": as_one_line(what), "remedy": as_one_line(remedy), "also": also}
    return PydanticCustomError("refused", "{what}", context)


def shown(value: object) -> str:
    """Return `value` as it would stand in a TOML file, cut short if it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        text = as_one_line(str(value))
        return f'"{text if len(text) <= 120 else text[:117] + "..."}"'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        text = ", ".join(shown(item) for item in value)
        return f"[{text if len(text) <= 120 else text[:117] + '...'}]"
    return str(value)


def _absolute_path(value: object) -> Path:
    if not isinstance(value, str | Path):
        raise refuse(
            f"must be a path in quotes, but is {shown(value)}",
            'Write the whole path from the root, such as "/srv/cameras/top-1".',
        )
    text = str(value)
    if text.startswith("~"):
        raise refuse(
            f'{shown(text)} begins with "~", which is not expanded: a service has no home folder',
            "Write the whole path from the root.",
        )
    if not text.startswith("/"):
        raise refuse(
            f'must be an absolute path (one that begins with "/"), but is {shown(text)}',
            "Write the whole path from the root: a service has no folder of its own to start from.",
        )
    if "\0" in text:
        raise refuse(f"{shown(text)} holds a zero byte", "Remove it: no file name can have one.")
    if any(
        len(part.encode("utf-8", "surrogateescape")) > _LONGEST_NAME for part in text.split("/")
    ):
        raise refuse(
            f"{shown(text)} holds a name of more than {_LONGEST_NAME} bytes, which no disk can have",
            "Choose a shorter one.",
        )
    # POSIX lets "//srv" mean something else than "/srv"; nobody who types it means that.
    return Path("/" + text.lstrip("/"))


def as_tuple(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, tuple):
        return value
    raise refuse(
        f"must be a list, but is {shown(value)}",
        f"Put it in square brackets: [{shown(value)}]."
        if isinstance(value, str)
        else 'Write a list in square brackets, such as ["one", "two"].',
    )


def _camera_name(name: str) -> str:
    if not _CAMERA_NAME.fullmatch(name):
        raise refuse(
            f"{shown(name)} cannot be a camera name: it must begin with a letter or digit and have only"
            ' letters, digits, ".", "_" and "-", at most 64 of them',
            'Choose a short name such as "top-1": it becomes part of file and folder names.',
        )
    if "__" in name or name.endswith("_"):
        raise refuse(
            f'{shown(name)} cannot be a camera name: "__" separates the parts of a review file\'s name,'
            ' so a camera name must not have "__" in it nor end in "_"',
            'Use a single "_", or "-".',
        )
    return name


def _time_zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        close = difflib.get_close_matches(name, zoneinfo.available_timezones(), n=1)
        raise refuse(
            f"{shown(name)} is not a time zone that this computer knows",
            f'Did you mean "{close[0]}"?'
            if close
            else 'Write a name such as "Europe/Berlin"; `timedatectl list-timezones` lists them.',
        ) from None
    return name


def _database_url(url: str) -> str:
    scheme = url.partition(":")[0]
    remedy = 'Write "sqlite:////" and the rest of the path, such as "sqlite:////srv/millwatch.db".'
    if scheme != "sqlite":
        # Only the scheme is shown: the rest may hold a password.
        raise refuse(
            f"names a {shown(scheme)} database, but this version keeps its database in SQLite",
            f"{remedy} Or leave the key out: the database is then in state_dir.",
        )
    if not url.startswith("sqlite:////") or url.endswith("/"):
        raise refuse(f"{shown(url)} does not name a file by an absolute path", remedy)
    if "?" in url or "#" in url or "\0" in url:
        raise refuse(f"{shown(url)} has more than a path", f'{remedy} "?" and "#" cannot be used.')
    _absolute_path(url.removeprefix("sqlite://"))
    return url


def _extension(extension: str) -> str:
    if not re.fullmatch(r"\.[^./\s\0]+", extension):
        raise refuse(
            f"{shown(extension)} is not a file name ending",
            'Write a "." and the letters after it, such as ".png".',
        )
    return extension.lower()


def _at_least_one(extensions: tuple[str, ...]) -> tuple[str, ...]:
    if not extensions:
        raise refuse("is empty, so no file would ever be an image", 'List endings, such as ".png".')
    return extensions


def _name_pattern(pattern: str) -> str:
    if not pattern or "/" in pattern:
        raise refuse(
            f'{shown(pattern)} can match no name: a pattern is held against one name at a time, without "/"',
            'Write one name or pattern, such as "*.tmp".',
        )
    return pattern


def _class_name(name: str) -> str:
    is_short = 0 < len(name) <= 64 and name.isprintable() and name == name.strip()
    if not is_short or name.startswith(".") or "/" in name or name == "unknown":
        raise refuse(
            f"{shown(name)} cannot be a class: a class is the name of a folder under review/labelled/",
            'Write the folder\'s name, such as "no_defect".',
        )
    return name


def _marker_suffix(suffix: str) -> str:
    if "/" in suffix or suffix != suffix.strip():
        raise refuse(
            f"{shown(suffix)} cannot end a file name",
            'Write what the camera adds to the image\'s name, such as ".done", or "" for no markers.',
        )
    return suffix


def _host(host: str) -> str:
    if not host or re.search(r"[\s/]", host):
        raise refuse(
            f"{shown(host)} is not an address to listen on",
            'Write "127.0.0.1" for this computer only, or "0.0.0.0" for every network.',
        )
    return host


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this computer only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?", name):
        raise refuse(
            f"{shown(name)} is not the name of a computer",
            'Write what people type between "//" and the next "/" or ":", such as "line-1.plant".',
        )
    return name.lower()


def _cron(schedule: str) -> str:
    fields = schedule.split()
    remedy = 'Write minute, hour, day, month and weekday, such as "0 3 * * *" for 03:00 every day.'
    if len(fields) != len(_CRON_FIELDS):
        raise refuse(
            f"{shown(schedule)} has {counted(len(fields), 'field')} where a schedule has five",
            remedy,
        )
    named: list[list[int]] = []
    for text, (unit, low, high) in zip(fields, _CRON_FIELDS, strict=True):
        named.append([])
        for part in text.split(","):
            values = _named(part, low, high)
            if not values:
                what = f"{shown(part)} is no {unit} from {low} to {high}, nor steps within them"
                raise refuse(f"{what} in the schedule {shown(schedule)}", remedy)
            named[-1] += values
    _, _, days, months, _ = named
    # Of a weekday without a star and such a day of the month, either is enough.
    if "*" in fields[4] and min(days) > max(_LONGEST_MONTHS[month - 1] for month in months):
        raise refuse(
            f"the schedule {shown(schedule)} never comes: none of its months has a day {min(days)}",
            'Write a day that there is, such as "0 3 28 * *". To retrain only when `millwatch retrain '
            "--now` says so, make min_new_labels 1000000.",
        )
    return schedule


def _named(part: str, low: int, high: int) -> range:
    """What a part of a field stands for; nothing where it is none."""
    found = _CRON_STEP.fullmatch(part)
    if found is None:
        return range(0)
    first, last = low, high
    if found["first"] is not None:
        first = int(found["first"])
        last = int(found["last"] or (high if found["step"] else first))
    step = int(found["step"] or 1)
    # A step beyond the range, every 24 of 24 hours, is what APScheduler does not take.
    steps_within = found["step"] is None or 0 < step <= last - first
    fits = low <= first <= last <= high and steps_within
    return range(first, last + 1, step) if fits else range(0)


def _shift_time(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise refuse(
            f"{shown(text)} is not a time of the day",
            'Write hours and minutes, such as "06:00"; midnight is "00:00".',
        )
    return text


def _in_order(times: tuple[str, ...]) -> tuple[str, ...]:
    if not times or list(times) != sorted(set(times)):
        raise refuse(
            f"{shown(times)} are not the beginnings of shifts in order, each once",
            'List them from midnight on, such as ["06:00", "14:00", "22:00"].',
        )
    return times


AbsolutePath = Annotated[Path, BeforeValidator(_absolute_path)]
CameraName = Annotated[str, AfterValidator(_camera_name)]
ClassName = Annotated[str, AfterValidator(_class_name)]
CronSchedule = Annotated[str, AfterValidator(_cron)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Extension = Annotated[str, AfterValidator(_extension)]
Host = Annotated[str, AfterValidator(_host)]
HostName = Annotated[str, AfterValidator(_host_name)]
MarkerSuffix = Annotated[str, AfterValidator(_marker_suffix)]
ShiftTime = Annotated[str, AfterValidator(_shift_time)]
NamePattern = Annotated[str, AfterValidator(_name_pattern)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]

# TOML gives lists; the tree is frozen, so it keeps tuples.
Extensions = Annotated[
    tuple[Extension, ...], BeforeValidator(as_tuple), AfterValidator(_at_least_one)
]
NamePatterns = Annotated[tuple[NamePattern, ...], BeforeValidator(as_tuple)]
HostNames = Annotated[tuple[HostName, ...], BeforeValidator(as_tuple)]
ClassNames = Annotated[tuple[ClassName, ...], BeforeValidator(as_tuple)]
ShiftTimes = Annotated[tuple[ShiftTime, ...], BeforeValidator(as_tuple), AfterValidator(_in_order)]
