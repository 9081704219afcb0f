"""`db`: the database backed up, checked, put back, and brought to this version's schema."""

import sys
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from config.logging import configure_logging
from config.settings import Settings
from config.text import counted
from daemon.cli.options import (
    CommandError,
    ConfigOption,
    JsonOption,
    existing_database,
    print_json,
    settings_of,
)
from daemon.clock import now_utc
from daemon.files.shares import Share, SilentError
from daemon.integrity.names import last_id_in_names
from daemon.names import to_text
from daemon.process.control import NoAnswerError, NoDaemonError, NotAskedError, RefusedError, ask
from daemon.process.instance import AlreadyRunningError, instance_lock
from daemon.store.backups import back_up, delete_old_backups, new_backup
from daemon.store.database import StoreError
from daemon.store.restoring import Restored
from daemon.store.restoring import restore as put_back
from daemon.store.soundness import Soundness, examine
from daemon.store.upgrading import MIGRATIONS, DatabaseRefusedError, inspect, prepare_database

db = typer.Typer(
    name="db", no_args_is_help=True, help="The database: backed up, checked, put back."
)


@db.command()
def backup(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="A new file, or a folder for one; else one in state_dir/backups.",
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            min=1,
            help="Then delete all but so many backups of that folder, and the last of each older schema.",
        ),
    ] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Copy the database, whether or not the daemon runs; the copy is checked."""
    settings = settings_of(config)
    try:
        copy, revision, deleted = _copied(settings, file, keep)
    except (CommandError, DatabaseRefusedError, StoreError) as error:
        _tell_daemon(settings, keep, failed=str(error))
        raise
    _tell_daemon(settings, keep, failed="")
    if as_json:
        told = {"backup": to_text(copy), "schema": revision, "bytes": copy.stat().st_size}
        print_json({**told, "deleted": [to_text(each) for each in deleted]})
        return
    sys.stdout.write(f"{to_text(copy)}\n")
    if deleted:
        sys.stdout.write(f"{len(deleted)} older deleted\n")


def _copied(
    settings: Settings, file: Path | None, keep: int | None
) -> tuple[Path, str, list[Path]]:
    """The backup that was made, its schema, and the older ones that were deleted."""
    path = settings.database_file
    try:
        revision = inspect(path, MIGRATIONS)
    except DatabaseRefusedError as error:
        raise DatabaseRefusedError(
            f"nothing is backed up: {error}. {_another_one(None)}"
        ) from error
    if revision is None:
        raise CommandError(f"nothing is backed up: there is no database {path} yet")
    where = settings.state_dir / "backups" if file is None else file.absolute()
    is_folder = file is None or keep is not None or where.is_dir()
    if file is not None and keep is not None and where.is_file():
        raise CommandError("--keep counts the backups of a folder: name a folder, or leave it out")
    folder = where if is_folder else where.parent
    if file is not None and not folder.is_dir():
        # Made, it would lie where a disk belongs that is not mounted.
        raise CommandError(
            f"nothing is backed up: there is no folder {to_text(folder)}; mount its disk, or make it"
        )
    copy = new_backup(path, where, revision, now_utc()) if is_folder else where
    back_up(path, copy)
    inspect(copy, MIGRATIONS)
    return copy, revision, _delete_old(path, copy, keep)


def _tell_daemon(settings: Settings, keep: int | None, *, failed: str) -> None:
    """Of backups that are made again and again, by a timer whose log nobody reads; where a daemon runs."""
    if keep is not None:
        with suppress(NoDaemonError, NoAnswerError, NotAskedError, RefusedError):
            ask(settings.state_dir, "backed up", failed=failed)


@db.command()
def check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A backup; else the database itself."),
    ] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Read all of the database: whether it is whole, of this schema, and counts what it holds."""
    settings = settings_of(config)
    path = settings.database_file if file is None else file.absolute()
    if not path.exists():
        raise CommandError(f"nothing is checked: there is no database {path}")
    try:
        found = examine(path, may_forget=settings.retention.rows_days > 0)
    except DatabaseRefusedError as error:
        raise DatabaseRefusedError(f"{error}. {_another_one(file)}") from error
    if found.revision is None:
        raise CommandError(f"nothing is checked: {path} is empty. {_another_one(file)}")
    if as_json:
        print_json({"database": to_text(path), "sound": found.is_sound, **asdict(found)})
    else:
        _print(path, found)
    if not found.is_sound:
        step = _another_one(file)
        if not found.damage:
            step = "Images and their records are whole; reports may not be. Ask a developer"
        raise CommandError(f"the database {path} is not sound. {step}")


@db.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Put back a backup. The daemon must not run; the database that was in use is kept beside it."""
    settings = settings_of(config)
    done = _put_back(settings, file.absolute())
    replaced = None if done.replaced is None else to_text(done.replaced)
    if as_json:
        print_json({"replaced": replaced, "images": done.soundness.images})
        return
    sys.stdout.write(f"restored: {counted(done.soundness.images, 'image')}\n")
    if replaced:
        sys.stdout.write(f"the database that was in use is kept as {replaced}\n")
    for remark in done.soundness.differences:
        sys.stdout.write(f"note: {remark}\n")
    sys.stdout.write(
        "Users and passwords are those of the backup: whoever was removed since is back (`millwatch users "
        "list`); everybody logs in anew\n"
        "Now run `millwatch audit`: it finds the images that were recorded after the backup was made\n"
    )


@db.command()
def upgrade(config: ConfigOption = None) -> None:
    """Bring the database to this version's schema, as a start would; an older one is copied first."""
    settings = settings_of(config)
    configure_logging()  # which tells where the copy is
    path = existing_database(settings)
    try:
        with instance_lock(settings.state_dir):
            before = inspect(path, MIGRATIONS)
            prepare_database(path, backups=settings.state_dir / "backups", now=now_utc()).close()
            after = inspect(path, MIGRATIONS)
    except (AlreadyRunningError, OSError) as error:
        raise CommandError(f"the database is not upgraded: {error}") from error
    told = f"already has schema {after}" if before == after else f"was brought to schema {after}"
    sys.stdout.write(f"the database {to_text(path)} {told}\n")


def _another_one(file: Path | None) -> str:
    if file is None:
        return "Put back a backup: `millwatch db restore FILE` keeps the damaged one beside it"
    return "Try another backup"


def _delete_old(path: Path, made: Path, keep: int | None) -> list[Path]:
    if keep is None:
        return []
    try:
        return delete_old_backups(path, made, keep=keep)
    except OSError as error:
        raise CommandError(
            f"the database is backed up, but older backups in {made.parent} are not deleted: {error}; "
            "mend its permissions"
        ) from error


def _put_back(settings: Settings, file: Path) -> Restored:
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        with instance_lock(settings.state_dir):
            return put_back(
                settings.database_file,
                file,
                now=now_utc(),
                given_ids=_given_ids(settings.review_folder),
            )
    except DatabaseRefusedError as error:
        raise DatabaseRefusedError(
            f"nothing is restored: {error}. The database in use is as it was. {_another_one(file)}"
        ) from error
    except (AlreadyRunningError, OSError) as error:
        raise CommandError(f"nothing is restored: {error}") from error


def _given_ids(review: Path) -> int | None:
    """What the names in review tell, if its share answers."""
    try:
        return Share("the review folder", review).follow(partial(last_id_in_names, review))
    except SilentError:
        return None


def _print(path: Path, found: Soundness) -> None:
    facts: dict[str, Any] = {
        "schema": found.revision,
        "size": f"{found.bytes / 1e6:.1f} MB",
        "images": found.images,
    }
    if found.forgotten:
        facts["counted, but deleted for their age"] = found.forgotten
    told = ", ".join(f"{name} {value}" for name, value in facts.items())
    sys.stdout.write(f"{to_text(path)}: {'sound' if found.is_sound else 'NOT sound'}; {told}\n")
    for trouble in (*found.damage, *found.differences):
        sys.stdout.write(f"  {trouble}\n")
    for remark in found.remarks:
        sys.stdout.write(f"  note: {remark}\n")
