"""`audit`: whether database and folders agree, and what may safely be mended."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any, Final

import typer

from config.settings import Settings
from config.text import as_one_line, counted
from daemon.cli.options import CommandError, ConfigOption, JsonOption, print_json, settings_of
from daemon.cli.standing_in import user_name
from daemon.clock import now_utc
from daemon.doctor.folders import silent_folders
from daemon.integrity.audit import audit as find_differences
from daemon.integrity.differences import Counts, Difference, Mend
from daemon.integrity.mending import COMMAND, Mender, arguments_of
from daemon.names import to_text
from daemon.process.control import NoAnswerError, NoDaemonError, RefusedError, ask
from daemon.process.instance import AlreadyRunningError, instance_lock
from daemon.store.upgrading import open_existing

_MENDED: Final = "mended"


def audit(
    mend: Annotated[
        bool,
        typer.Option(
            "--mend", help="Let records follow files that were found elsewhere, unchanged."
        ),
    ] = False,
    hashes: Annotated[
        bool, typer.Option("--hashes", help="Read every file; else its size must do.")
    ] = False,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Hold every record against its file and every file against its record.

    Nothing is ever deleted or overwritten. The daemon may run. With --json, one object a line for each
    difference, and one for the whole at the end.
    """
    settings = settings_of(config)
    if not settings.database_file.exists():
        raise CommandError(f"nothing is audited: there is no database {settings.database_file}")
    if silent := silent_folders(settings):
        names = ", ".join(sorted(map(to_text, silent)))
        raise CommandError(
            f"nothing is audited: of {names} the share hangs; see whether its server is up, then try again"
        )
    counts = Counts()
    mended = settled = 0
    mending = _mending(settings) if mend else nullcontext(None)
    try:
        with mending as do, open_existing(settings.database_file) as database:
            for difference in find_differences(settings, database, counts, hashes=hashes):
                outcome = _outcome(difference, do)
                if difference.mend and outcome == _MENDED:
                    mended += 1
                    settled += 2 if difference.mend.finds_what_was_missing else 1
                _tell(difference, outcome, as_json=as_json)
    except (OSError, AlreadyRunningError, NoDaemonError, NoAnswerError) as error:
        raise CommandError(f"the audit is not complete: {error}") from error
    _tell_whole(counts, mended, as_json=as_json)
    if counts.differences.total() > settled:
        raise typer.Exit(1)


@contextmanager
def _mending(settings: Settings) -> Iterator[Callable[[Mend], object]]:
    """What mends: the daemon, or this process in its stead."""
    by = user_name()
    try:
        ask(settings.state_dir, "status")
    except NoDaemonError:
        with (
            instance_lock(settings.state_dir),
            open_existing(settings.database_file, to_write=True) as database,
        ):
            mender = Mender(settings, database=database, clock=now_utc)
            yield lambda mend: mender.mend(arguments_of(mend, by))
        return
    yield lambda mend: ask(settings.state_dir, COMMAND, **arguments_of(mend, by))


def _outcome(difference: Difference, mend: Callable[[Mend], object] | None) -> str:
    if difference.mend is None or mend is None:
        return ""
    try:
        mend(difference.mend)
    except RefusedError as error:
        return f"not mended: {error}"
    return _MENDED


def _tell(difference: Difference, outcome: str, *, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {
            "kind": difference.kind.value,
            "image": difference.image_id,
            "path": to_text(difference.path),
            "what": difference.what,
            "remedy": difference.remedy,
            "command": difference.command,
            "may_be_mended": difference.mend is not None,
            "outcome": outcome or None,
        }
        print_json(told)
        return
    remedy = "" if outcome == _MENDED else difference.remedy
    ends = (outcome, remedy, difference.command)
    lines = (as_one_line(difference.what), *(f"    → {as_one_line(end)}" for end in ends if end))
    sys.stdout.write(f"{difference.kind.value}: " + "\n".join(lines) + "\n")


def _tell_whole(counts: Counts, mended: int, *, as_json: bool) -> None:
    found = {kind.value: number for kind, number in sorted(counts.differences.items())}
    if as_json:
        numbers = {"records": counts.records, "files": counts.files, "pending": counts.pending}
        print_json({"audit": {**numbers, "differences": found, "mended": mended}})
        return
    told = ", ".join(f"{number} {kind}" for kind, number in found.items()) or "all agree"
    sys.stdout.write(
        f"{counted(counts.records, 'record')}, {counted(counts.files, 'file')} in review, archive and quarantine, "
        f"{counts.pending} on their way: {told}{f', {mended} mended' if mended else ''}\n"
    )
