"""`review`: what waits for a label, labels given and taken back, and what is odd in the folder."""

import sys
import threading
import time
from typing import Annotated, Any, Final

import typer

from config.settings import Settings
from config.text import as_one_line, counted, percent
from daemon.cli.options import (
    ConfigOption,
    JsonOption,
    console_of_answers,
    print_json,
    settings_of,
    shown,
    table_of_answers,
    text_alone,
)
from daemon.cli.standing_in import by_daemon_or_alone, user_name
from daemon.clock import now_utc
from daemon.process.control import Handlers
from daemon.process.health import Health
from daemon.reports.words import how_sure
from daemon.review.commands import ReviewCommands
from daemon.review.labelling import Labeller
from daemon.review.reconciling import Reconciler
from daemon.store.database import Database

_SETTLE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.1

review = typer.Typer(
    name="review", no_args_is_help=True, help="Labels: what people decide, and what waits."
)

ImageArgument = Annotated[
    int,
    typer.Argument(
        metavar="IMAGE",
        min=1,
        max=2**63 - 1,  # the largest that SQLite has
        help="Its id, as `review list` and file names tell it.",
    ),
]


@review.command("list")
def list_waiting(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, at most.")] = 20,
    camera: Annotated[
        str | None, typer.Option(metavar="NAME", help="One camera alone.", callback=text_alone)
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="CLASS", help="Predicted so; or unknown.", callback=text_alone
        ),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="With this reason, such as sample.", callback=text_alone
        ),
    ] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what waits for a label, first what teaches most, and how many defects were missed."""
    filters = {"limit": limit, "camera": camera, "class": class_name, "reason": reason}
    told = _ask(settings_of(config), "review list", **filters)
    if as_json:
        print_json(told)
        return
    columns = ("image", "camera", "captured", "verdict", "reason", "predicted", "sure", "path")
    table = table_of_answers(*columns, title=f"Waiting for a label: {told['waiting']}")
    for each in told["images"]:
        sure = "" if each["confidence"] is None else how_sure(each["confidence"])
        place = "missing" if each["missing"] else each["path"]
        names = ("image", "camera", "captured_at", "verdict", "reason", "predicted_class")
        cells = (*(each[name] for name in names), sure, place)
        table.add_row(*map(shown, cells))
    console = console_of_answers()
    console.print(table)
    console.print(_missed_in_words(told["missed_defects"], camera), markup=False, highlight=False)


@review.command("label")
def label(
    image: ImageArgument,
    name: Annotated[str, typer.Argument(metavar="CLASS", help="What it shows; no_defect if none.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Label an image, in place of a label that it may have; its file goes to that class."""
    asked = {"image": image, "label": name, "by": user_name()}
    told = _ask(settings_of(config), "review label", **asked)
    _tell(told, f"image {image} is labelled {told['label']}", as_json=as_json)


@review.command("undo")
def undo(image: ImageArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Take the label of an image back: it waits again."""
    told = _ask(settings_of(config), "review undo", image=image, by=user_name())
    _tell(told, f"image {image} has no label any more", as_json=as_json)


@review.command("conflicts")
def conflicts(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show what in the review folder no model learns from, and why. Nothing of it is touched."""
    found = _ask(settings_of(config), "review conflicts")["conflicts"]
    if as_json:
        print_json(found)
        return
    table = table_of_answers("problem", "image", "why, and what to do", "path", "since")
    for each in found:
        cells = (each[name] or "" for name in ("problem", "image", "reason", "path", "since"))
        table.add_row(*map(shown, cells))
    console_of_answers().print(table if found else "Every file in the review folder is in order.")


@review.command()
def suspects(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show labels that are likely wrong: not learned from yet, or doubted by the latest retraining."""
    told = _ask(settings_of(config), "review suspects")
    if as_json:
        print_json(told)
        return
    table = table_of_answers("image", "label", "looks like", "sure", "according to", "path")
    for each in told["suspects"]:
        sure = "" if each["confidence"] is None else how_sure(each["confidence"])
        who = "the latest retraining" if each["doubted_by"] == "run" else "the model that judged it"
        names = (each["image"], each["label"], each["suggested"], sure, who, each["path"])
        table.add_row(*map(shown, names))
    nothing = "No label looks wrong to the models that judged, nor to the latest retraining."
    console_of_answers().print(table if told["suspects"] else nothing)


def _tell(told: dict[str, Any], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        sys.stdout.write(f"{as_one_line(what)}: {as_one_line(told['path'] or 'no file')}\n")


def _missed_in_words(missed: dict[str, Any], camera: str | None) -> str:
    what = "Missed defects" if camera is None else f"Missed defects of camera {camera}"
    if not missed["labelled"]:
        return (
            f"{what}: not known yet; of {counted(missed['sampled'], 'passed image')} drawn to be looked "
            "at none is labelled"
        )
    return (
        f"{what}: {missed['missed']} of {counted(missed['labelled'], 'passed image')} drawn and labelled, "
        f"{percent(missed['rate'])} (95 % interval {percent(missed['low'])} to {percent(missed['high'])}); "
        f"{missed['passed']} passed in all"
    )


def _ask(settings: Settings, command: str, **arguments: Any) -> dict[str, Any]:
    """By the daemon where one runs, else alone."""

    def handlers(database: Database) -> Handlers:
        health = Health()
        labeller = Labeller(settings, database=database, health=health, clock=now_utc)

        def settled() -> None:
            settle(settings, database, labeller, health)

        return ReviewCommands(
            settings, database=database, labeller=labeller, settled=settled
        ).handlers()

    return by_daemon_or_alone(settings, command, handlers, arguments, changes="by" in arguments)


def settle(settings: Settings, database: Database, labeller: Labeller, health: Health) -> None:
    """Record what people moved in the review folder while no daemon ran."""
    reconciler = Reconciler(
        settings, database=database, labeller=labeller, health=health, clock=now_utc
    )
    until = time.monotonic() + _SETTLE_SECONDS
    pause = threading.Event()
    while reconciler.step(now=time.monotonic()) or not reconciler.is_settled:
        if time.monotonic() > until:
            return
        pause.wait(_PAUSE_SECONDS)
