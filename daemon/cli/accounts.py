"""`users`: who may log in to the page."""

import sys
from typing import Annotated, Any

import typer

from config.settings import Settings
from daemon.cli.options import (
    CommandError,
    ConfigOption,
    JsonOption,
    console_of_answers,
    print_json,
    settings_of,
    table_of_answers,
    text_alone,
)
from daemon.cli.standing_in import by_daemon_or_alone, user_name
from daemon.clock import now_utc
from daemon.process.control import Answer, Handlers, RefusedError
from daemon.store.database import Database
from daemon.store.upgrading import open_existing
from daemon.store.users import User, all_users
from daemon.web.door.users import Role, Users, hash_password

users = typer.Typer(name="users", no_args_is_help=True, help="Who may log in to the page.")

NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="As they log in; in lower case.", callback=text_alone),
]


@users.command("add")
def add(
    name: NameArgument,
    role: Annotated[
        Role | None,
        typer.Option(
            "--role",
            help="label includes look; administer includes both, and promotes. Without it, a user that "
            "exists keeps its own, and a new one may label.",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Give a user that exists another password, or role.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Let somebody log in. Asks for the password, or reads a line where there is no terminal."""
    settings = settings_of(config)
    try:
        hashed = hash_password(_password())
    except RefusedError as error:
        raise CommandError(f"user {name} is not added: {error}") from error
    wanted = None if role is None else role.value
    arguments = {"name": name, "role": wanted, "password_hash": hashed, "replace": replace}
    given = _change(settings, "users add", arguments)["role"]
    sys.stdout.write(f"{name} may now {given}\n")


@users.command("remove")
def remove(name: NameArgument, config: ConfigOption = None) -> None:
    """Let somebody log in no more; their sessions end at once. What they did stays recorded."""
    _change(settings_of(config), "users remove", {"name": name})
    sys.stdout.write(f"{name} may log in no more\n")


@users.command("list")
def list_users(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show who may log in, and what they may do."""
    found = _recorded(settings_of(config))
    if as_json:
        fields = ("name", "role", "added_at")
        print_json([{field: getattr(user, field) for field in fields} for user in found])
        return
    table = table_of_answers("user", "role", "added")
    for user in found:
        table.add_row(user.name, user.role, user.added_at)
    nobody = "nobody yet: `millwatch users add NAME --role administer`"
    console_of_answers().print(table if found else nobody)


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


def _recorded(settings: Settings) -> list[User]:
    if not settings.database_file.exists():
        return []
    with open_existing(settings.database_file) as database:
        return all_users(database)


def _change(settings: Settings, command: str, arguments: dict[str, Any]) -> Answer:
    """By the daemon where one runs, else on the database that it would use."""

    def handlers(database: Database) -> Handlers:
        return Users(database, now_utc).commands()

    asked = {**arguments, "by": user_name()}
    return by_daemon_or_alone(settings, command, handlers, asked, makes=command == "users add")
