"""`retrain`: when the next one is due, or one now."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer

from config.settings import Settings
from daemon.cli.options import CommandError, ConfigOption, JsonOption, print_json, settings_of
from daemon.cli.reviewing import settle
from daemon.cli.standing_in import own_database
from daemon.clock import now_utc
from daemon.process.control import NoAnswerError, NoDaemonError, NotAskedError, RefusedError, ask
from daemon.process.health import Health
from daemon.process.instance import AlreadyRunningError
from daemon.retraining.promotion import Promoter
from daemon.retraining.retrainer import Retrainer
from daemon.review.labelling import Labeller

_LOOK_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 60.0


def retrain(
    now: Annotated[
        bool, typer.Option("--now", help="Start one and wait for what comes of it.")
    ] = False,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a new model from what people decided; without --now, say when that is due."""
    settings = settings_of(config)
    try:
        try:
            told = _by_daemon(settings, now=now)
        except NoDaemonError:
            told = _alone(settings, now=now)
    except (RefusedError, NotAskedError, AlreadyRunningError, OSError) as error:
        raise CommandError(f"nothing was retrained: {error}") from error
    except NoAnswerError as error:
        perhaps = "a retraining may have been begun all the same: " if now else ""
        raise CommandError(f"retrain: {perhaps}{error}") from error
    last = told["last_run"] if now else told["last"]
    if now and last["state"] != "done":
        raise CommandError(f"the retraining failed: {last['reason']}")
    if as_json:
        print_json(last if now else told)
    elif now:
        sys.stdout.write(f"{last['reason']}\n")
    else:
        _print(told)


def _by_daemon(settings: Settings, *, now: bool) -> dict[str, Any]:
    def status() -> dict[str, Any]:
        answer: dict[str, Any] = ask(settings.state_dir, "status", seconds=_ANSWER_SECONDS)
        retraining: dict[str, Any] | None = answer["retraining"]
        if retraining is None:
            raise NoAnswerError(
                f"the daemon on {settings.state_dir} cannot read its database now; `millwatch "
                "status` says why"
            )
        return retraining

    if now:
        run = ask(settings.state_dir, "retrain", seconds=_ANSWER_SECONDS)["run"]
        try:
            _wait(status, run)
        except (NoDaemonError, NoAnswerError) as error:
            raise CommandError(
                f"the retraining {run} was begun, and what becomes of it is not known: {error}; "
                "`millwatch retrain` tells it once the daemon answers"
            ) from error
    return status()


def _alone(settings: Settings, *, now: bool) -> dict[str, Any]:
    with _retrainer(settings) as retrainer:
        if now:
            retrainer.recover()
            if retrainer.busy:  # one that systemd ran beside no daemon: see what came of it
                retrainer.step()
            run = retrainer.start()

            def stepped() -> dict[str, Any]:
                retrainer.step()
                return retrainer.status()

            _wait(stepped, run)
        return retrainer.status()


def _wait(status: Callable[[], dict[str, Any]], run: str) -> None:
    """Until a run came to an end, telling on stderr how far it is."""
    told = ""
    while (now := status())["running"] == run:
        progress = now["progress"] or {}
        line = " ".join(str(progress.get(name, "")) for name in ("stage", "done", "of")).strip()
        if line and line != told:
            sys.stderr.write(f"{line}\n")
            told = line
        time.sleep(_LOOK_SECONDS)


@contextmanager
def _retrainer(settings: Settings) -> Iterator[Retrainer]:
    with own_database(settings) as database:
        health = Health()
        promoter = Promoter(settings, database=database, health=health, clock=now_utc)
        retrainer = Retrainer(
            settings, database=database, promoter=promoter, health=health, clock=now_utc
        )
        try:
            labeller = Labeller(settings, database=database, health=health, clock=now_utc)
            settle(settings, database, labeller, health)
            yield retrainer
        finally:
            retrainer.close()


def _print(told: dict[str, Any]) -> None:
    last, last_run = told["last"], told["last_run"]
    lines = [
        f"goes on    {told['running'] or 'none'}",
        f"next due   {told['next_due'] or 'never'}",
        f"new labels {told['new_labels']}",
        f"last       {_came(last)}",
    ]
    if last_run != last:  # a due time since then needed none
        lines.append(f"last run   {_came(last_run)}")
    sys.stdout.write("\n".join([*lines, ""]))


def _came(of: dict[str, Any] | None) -> str:
    return "none" if of is None else f"{of['state']}: {of['reason']}"
