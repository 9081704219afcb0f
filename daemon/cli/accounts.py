"""`users`: who may log in to the page."""

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from config.settings import Settings
from daemon.cli.options import CommandError, ConfigOption, JsonOption, print_json, settings_of
from daemon.clock import now_utc
from daemon.control import NoAnswerError, NoDaemonError, RefusedError, ask
from daemon.process import AlreadyRunningError, instance_lock
from daemon.store.upgrading import open_existing, prepare_database
from daemon.store.users import User, all_users
from daemon.users import Role, Users, hash_password

_users = typer.Typer(no_args_is_help=True, help="Who may log in to the page.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As they log in; in lower case.")]


def register(app: typer.Typer) -> None:
    app.add_typer(_users, name="users")


@_users.command("add")
def add(
    name: NameArgument,
    role: Annotated[
        Role,
        typer.Option("--role", help="label includes look; administer includes both, and promotes."),
    ] = Role.LABEL,
    replace: Annotated[
        bool, typer.Option("--replace", help="Give a user that exists another password and role.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Let somebody log in. Asks for the password, or reads a line where there is no terminal."""
    settings = settings_of(config)
    try:
        hashed = hash_password(_password())
    except RefusedError as error:
        raise CommandError(f"user {name} is not added: {error}") from error
    arguments = {"name": name, "role": role.value, "password_hash": hashed, "replace": replace}
    _change(settings, "users add", lambda store: store.add, arguments)
    sys.stdout.write(f"{name} may now {role.value}\n")


@_users.command("remove")
def remove(name: NameArgument, config: ConfigOption = None) -> None:
    """Let somebody log in no more; their sessions end at once. What they did stays recorded."""
    _change(settings_of(config), "users remove", lambda store: store.remove, {"name": name})
    sys.stdout.write(f"{name} may log in no more\n")


@_users.command("list")
def list_users(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show who may log in, and what they may do."""
    found = _recorded(settings_of(config))
    if as_json:
        fields = ("name", "role", "added_at")
        print_json([{field: getattr(user, field) for field in fields} for user in found])
        return
    table = Table("user", "role", "added")
    for user in found:
        table.add_row(user.name, user.role, user.added_at)
    Console().print(table if found else "nobody yet: `millwatch users add NAME --role administer`")


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


def _recorded(settings: Settings) -> list[User]:
    if not settings.database_file.exists():
        return []
    with open_existing(settings.database_file) as database:
        return all_users(database)


def _change(
    settings: Settings,
    command: str,
    method: Callable[[Users], Callable[..., None]],
    arguments: dict[str, Any],
) -> None:
    """By the daemon where one runs, else on the database that it would use."""
    arguments = {**arguments, "by": getpass.getuser()}
    try:
        try:
            ask(settings.state_dir, command, **arguments)
        except NoAnswerError:
            raise
        except NoDaemonError:
            with _alone(settings) as store:
                method(store)(**arguments)
    except (RefusedError, NoAnswerError, AlreadyRunningError, OSError) as error:
        raise CommandError(f"nothing was changed: {error}") from error


@contextmanager
def _alone(settings: Settings) -> Iterator[Users]:
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with instance_lock(settings.state_dir):
        database = prepare_database(
            settings.database_file, backups=settings.state_dir / "backups", now=now_utc()
        )
        try:
            yield Users(database, now_utc)
        finally:
            database.close()
