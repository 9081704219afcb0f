"""`millwatch`: the commands, and what they exit with."""

import errno
import io
import sys
from collections.abc import Sequence

import typer
from typer.core import TyperGroup

from config.folders import user_in_words
from config.problems import CONFIGURATION_EXIT_STATUS, ConfigurationError
from config.text import as_one_line
from daemon.cli.accounts import users
from daemon.cli.alarming import alarms
from daemon.cli.auditing import audit
from daemon.cli.crossvalidating import crossvalidate
from daemon.cli.database import db
from daemon.cli.demo import demo
from daemon.cli.doctoring import doctor
from daemon.cli.drifting import drift
from daemon.cli.judging import explain, predict
from daemon.cli.learning import evaluate, export, train
from daemon.cli.modelling import models
from daemon.cli.options import CommandError
from daemon.cli.preparing import prepare
from daemon.cli.reporting import report
from daemon.cli.retraining import retrain
from daemon.cli.reviewing import review
from daemon.cli.running import check, run, status
from daemon.process.instance import AlreadyRunningError
from daemon.service import ThreadDiedError
from daemon.serving import ServingModelError
from daemon.store.database import StoreError
from daemon.store.upgrading import DatabaseRefusedError
from models.registry import NotFiniteError
from models.runtimes.protocol import lacks_memory


class _Plain(TyperGroup):
    """Refuses a value in plain words: pydantic, whom typer asks, says first what it is to a programmer."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # its own is private
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    name="millwatch",
    cls=_Plain,
    help="Watches camera folders beside a steel line, judges every image, and loses none.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    *(run, check, status),
    *(predict, explain),
    *(prepare, train, evaluate, crossvalidate, export),
    *(retrain, audit, doctor, demo),
):
    app.command()(command)
for group in (models, drift, review, alarms, report, users, db):
    app.add_typer(group)

# What only an edit or a repair helps with: systemd must not start the service again.
_NEEDS_A_PERSON = (ConfigurationError, ServingModelError, DatabaseRefusedError)
# Of the standard output, most often: whatever has a name is told where it is opened.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FAILED = (CommandError, AlreadyRunningError, ThreadDiedError, StoreError)


def main(arguments: Sequence[str] | None = None) -> None:
    """Exit with 0 done, 1 failed, 2 usage, 78 configuration."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # In a locale of other letters than UTF-8's (LANG=de_DE is Latin-1) an arrow ended a command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(arguments, prog_name="millwatch")
    except _NEEDS_A_PERSON as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(CONFIGURATION_EXIT_STATUS)
    except _FAILED as error:
        sys.stderr.write(f"millwatch: {error}\n")
        sys.exit(1)
    except NotFiniteError as error:
        sys.stderr.write(
            f"millwatch: {error}, so nothing can be judged with it; name another with --model, go back "
            "with `millwatch models rollback`, or retrain\n"
        )
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        sys.stderr.write(f"millwatch: {_too_little_memory(error)}\n")
        sys.exit(1)
    except PermissionError as error:
        sys.stderr.write(f"millwatch: {_denied(error)}\n")
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            name = as_one_line(str(error.filename))
            sys.stderr.write(
                f"millwatch: no file can have a name as long as {name}; choose a shorter one\n"
            )
            sys.exit(1)
        if error.filename is not None or error.errno not in _NO_ROOM:
            raise
        sys.stderr.write(
            f"millwatch: nothing more can be written: {error.strerror}; free space, or send the answer "
            "elsewhere\n"
        )
        sys.exit(1)


def _too_little_memory(error: MemoryError | RuntimeError) -> str:
    """In words; any other error is raised again."""
    if not lacks_memory(error):
        raise error
    said = as_one_line(str(error)) or type(error).__name__
    remedy = "close other programs, or do it where there is more"
    if "CUDA" in said:
        remedy = "close what else uses the GPU, or have the processor do it: set CUDA_VISIBLE_DEVICES to nothing"
    return (
        f"there is too little memory ({said}); {remedy}. A training goes on after the last epoch that was "
        "kept when its command is repeated"
    )


def _denied(error: PermissionError) -> str:
    if error.filename is None:  # in our own words
        return str(error)
    return as_one_line(
        f"{error.filename} is closed to {user_in_words()}; run it as the user that Millwatch runs as"
    )
