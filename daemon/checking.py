"""What would keep the daemon from serving, beyond keys and folders: the model and the database."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from config.addresses import Address, Way
from config.folders import user_in_words
from config.problems import Problem
from config.settings import Settings
from config.sources import Source
from config.text import as_one_line
from config.toml_lines import KeyPath
from config.values import is_loopback
from daemon.process.control import SOCKET
from daemon.process.crashes import TRACE
from daemon.process.instance import LOCK
from daemon.serving import REPLACE_IT, ServingModelError, load_first
from daemon.store.upgrading import find_schema_trouble
from models.taxonomy import KNOWN_DEFECTS

_Problem = tuple[str, str, str, Sequence[KeyPath]]
"""Of an alarm: its key, what is wrong, the remedy, and the other keys that this follows from."""


def camera_problems(settings: Settings, source: Source, skip: frozenset[KeyPath]) -> list[Problem]:
    if settings.cameras or ("cameras",) in skip:
        return []
    what, remedy = "no camera", "Add a table [[cameras]] with a name and a folder for each camera."
    return [source.problem(("cameras",), what, remedy)]


def policy_problems(settings: Settings, source: Source, skip: frozenset[KeyPath]) -> list[Problem]:
    key = ("policy", "normal_classes")
    defects = [name for name in settings.policy.normal_classes if name in KNOWN_DEFECTS]
    if not defects or key in skip:
        return []
    what = f"{', '.join(defects)} is a known defect, and would pass unseen"
    return [source.problem(key, what, "Name only classes that are not defects.")]


def model_problems(settings: Settings, source: Source, skip: frozenset[KeyPath]) -> list[Problem]:
    folder = settings.model.folder
    if skip & {("model", "folder"), ("model", "runtime")}:
        return []
    if folder is not None and not folder.is_dir():  # `config.folders` says so
        return []
    key = ("model", "runtime" if settings.model.runtime == "openvino" else "folder")
    try:
        model, fallen = load_first(settings)
    except ServingModelError as error:
        remedy = "Mend the model as the message says, or remove the key to use the shipped model."
        return [source.problem(key, str(error), remedy)]
    if fallen is None or _is_closed(settings.state_dir):  # `config.folders` says so
        return []
    what = f"{fallen.what}; a start lets {model.version} serve instead"
    return [source.problem(key, what, REPLACE_IT)]


def state_problems(settings: Settings, source: Source, skip: frozenset[KeyPath]) -> list[Problem]:
    """Files without which nothing starts, where a folder lies in their place, or another user left them."""
    if ("state_dir",) in skip:
        return []
    database = settings.database_file
    beside = [database.with_name(f"{database.name}-{end}") for end in ("wal", "shm")]
    own = [] if settings.database_url else [database]  # else `config.folders` looks at it
    lock, trace, socket = (settings.state_dir / name for name in (LOCK, TRACE, SOCKET))
    # A closed folder is closed to this too, and told below or by `config.folders`.
    with suppress(PermissionError):
        for each in (lock, trace, socket):
            if each.is_dir() or each.is_fifo():
                what = f"{as_one_line(str(each))} is no file, and Millwatch keeps one of this name there"
                return [source.problem(("state_dir",), what, "Move it away, then start again.")]
    found = [*own, *beside, lock, trace]
    refused = [
        each
        for each in found
        if os.path.lexists(each) and not _may(each, os.R_OK | os.W_OK) and not _is_read_only(each)
    ]
    if not refused:
        return []
    names, user = ", ".join(as_one_line(str(each)) for each in refused), user_in_words()
    what = f"{names} cannot be read and written by {user}"
    remedy = (
        f"Another user ran Millwatch or copied files there: as root, give {user} all of "
        f"'{refused[0].parent}' (`chown -R`)."
    )
    return [source.problem(("state_dir",), what, remedy)]


def retraining_problems(
    settings: Settings, source: Source, skip: frozenset[KeyPath]
) -> list[Problem]:
    base_set, key = settings.retraining.base_set, ("retraining", "base_set")
    if base_set is None or key in skip or (base_set.is_file() and _may(base_set, os.R_OK)):
        return []
    what = f"{as_one_line(str(base_set))} cannot be read, and no retraining could be done"
    remedy = "Mount its disk, name the manifest that `millwatch prepare` wrote, or remove the key."
    return [source.problem(key, what, remedy, again_helps=True)]


def database_problems(
    settings: Settings, source: Source, skip: frozenset[KeyPath]
) -> list[Problem]:
    if skip & {("database_url",), ("state_dir",)} or _is_closed(settings.database_file):
        return []
    trouble = find_schema_trouble(settings.database_file)
    if trouble is None:
        return []
    key = "state_dir" if settings.database_url is None else "database_url"
    remedy = (
        f"Put back a backup from {settings.state_dir / 'backups'} by `millwatch db restore FILE`, or "
        "set database_url to another file."
    )
    return [source.problem((key,), trouble, remedy)]


def alarm_problems(settings: Settings, source: Source, skip: frozenset[KeyPath]) -> list[Problem]:
    """What alarms and other tables owe each other."""
    if not settings.alarms:
        return []
    return [
        source.problem(("alarms", number, key), what, remedy)
        for number in range(len(settings.alarms))
        for key, what, remedy, rests_on in _contradictions(settings, number)
        # What stands in for a key that was refused proves nothing.
        if not any(_is_in(each, skip) for each in (("alarms", number, key), *rests_on))
    ] + [*_secret_problems(settings, source, skip)]


def _contradictions(settings: Settings, number: int) -> Iterator[_Problem]:
    """Of one alarm."""

    def of_cameras(key: str) -> list[KeyPath]:
        return [("cameras", at, key) for at in range(len(settings.cameras))]

    alarm = settings.alarms[number]
    rates: list[KeyPath] = [("alarms", number, key) for key in ("max_rate", "min_rate")]
    if alarm.name in {each.name for each in settings.alarms[:number]}:
        yield "name", f'another alarm is named "{alarm.name}" already', "Choose another name.", ()
    cameras = sorted(camera.name for camera in settings.cameras)
    if alarm.camera and alarm.camera not in cameras:
        remedy = f"There are {', '.join(cameras) or 'none'}."
        yield "camera", f'there is no camera "{alarm.camera}"', remedy, of_cameras("name")
    if alarm.when == "rate" and (alarm.max_rate, alarm.min_rate) == (1.0, 0.0):
        yield "when", "no rate is out of limits", "Add max_rate, min_rate or both.", rates
    if alarm.min_rate > alarm.max_rate:
        what = (
            f"every rate is out of limits: min_rate ({alarm.min_rate:g}) is above max_rate "
            f"({alarm.max_rate:g})"
        )
        yield "min_rate", what, "Make min_rate at most max_rate, or leave one of them out.", rates
    watched = [each for each in settings.cameras if alarm.camera in ("", each.name)]
    if alarm.when == "silent" and not any(each.silent_after_minutes for each in watched):
        which = f'camera "{alarm.camera}" is never' if alarm.camera else "no camera is ever"
        remedy = "Add silent_after_minutes to the cameras that must not be silent."
        yield "when", f"{which} silent", remedy, of_cameras("silent_after_minutes")
    if not settings.mail.host and any(each.way is Way.MAIL for each in alarm.addresses):
        what = "there is no mail server to hand e-mails to"
        yield "to", what, "Set mail.host.", [("mail", "host")]
    for address in alarm.addresses:
        if not (address.secure or is_loopback(address.host)):
            yield from _in_the_clear(settings, address)


def _in_the_clear(settings: Settings, address: Address) -> Iterator[_Problem]:
    """Of an alarm's address without TLS, on another computer."""
    mqtt, webhook = settings.mqtt, settings.webhook
    if address.way is Way.MQTT and mqtt.user and mqtt.password_file is not None:
        what, remedy = "the brokers' password", 'Write "mqtts://", or empty mqtt.user.'
        rests_on: list[KeyPath] = [("mqtt", "user"), ("mqtt", "password_file")]
    elif address.way is Way.WEBHOOK and webhook.token_for(address.host) is not None:
        what, remedy = (
            "webhook.token_file's token",
            'Write "https://", or list others in webhook.token_hosts.',
        )
        rests_on = [("webhook", "token_file"), ("webhook", "token_hosts")]
    else:
        return
    yield "to", f"{what} would cross the network to {address.host} in the clear", remedy, rests_on


def _is_in(path: KeyPath, skip: frozenset[KeyPath]) -> bool:
    """Whether a key was refused, by itself or with the table that it is in."""
    return any(path[:length] in skip for length in range(1, len(path) + 1))


def _secret_problems(
    settings: Settings, source: Source, skip: frozenset[KeyPath]
) -> Iterator[Problem]:
    webhook, key = settings.webhook, ("webhook", "token_hosts")
    addresses = [each for alarm in settings.alarms for each in alarm.addresses]
    hosts = sorted({each.host for each in addresses if each.way is Way.WEBHOOK})
    if webhook.token_file and not webhook.token_hosts and len(hosts) > 1 and key not in skip:
        what = f"the token would go to each of {', '.join(hosts)}"
        yield source.problem(key, what, "List the hosts that it is for.")
    files = {
        ("mail", "password_file"): settings.mail.password_file,
        ("mqtt", "password_file"): settings.mqtt.password_file,
        ("webhook", "token_file"): settings.webhook.token_file,
    }
    remedy = "Write the secret into it, readable by Millwatch's user alone."
    for name, file in files.items():
        if file is None or name in skip or (os.access(file, os.R_OK) and file.is_file()):
            continue
        what = f"{as_one_line(str(file))} cannot be read"
        yield source.problem(name, what, remedy, again_helps=True)


def _is_closed(path: Path) -> bool:
    """Whether this user may not read it, which `config.folders` or `state_problems` told."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return not _may(path, os.R_OK)


def _is_read_only(file: Path) -> bool:
    """Whether nobody may write there, which `config.folders` tells of the folder."""
    try:
        return bool(os.statvfs(file).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _may(file: Path, mode: int) -> bool:
    return os.access(file, mode, effective_ids=True)


CHECKS = (
    camera_problems,
    policy_problems,
    alarm_problems,
    model_problems,
    state_problems,
    database_problems,
    retraining_problems,
)
