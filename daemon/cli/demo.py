"""`demo`: the real daemon on a scratch folder, fed by two made-up cameras, and taught by labels."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from daemon.cli.demo_line import Line
from daemon.cli.options import CommandError
from daemon.process.control import ask
from daemon.retraining.gate import Outcome
from daemon.store.upgrading import open_existing
from daemon.store.viewing import Viewed, all_images

_BURST: Final = 128
_SOUND: Final = "no_defect"
_LABELS_OF_SOUND: Final = 70
_LABELS_OF_A_DEFECT: Final = 10
_ANSWER_SECONDS: Final = 120.0
_RETRAINING_STALL_SECONDS: Final = 600.0


def demo(
    seconds: Annotated[float, typer.Option(min=1, help="How long the cameras run.")] = 8.0,
    rate: Annotated[float, typer.Option(min=1, help="Images a second, both together.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the surfaces that are drawn.")] = 1,
    *,
    teach: Annotated[
        bool, typer.Option(help="Also label images, retrain, and show a second pass.")
    ] = True,
) -> None:
    """Run the daemon on drawn steel surfaces, label some, retrain, and show what came of each image."""
    line = Line(root=Path(tempfile.mkdtemp(prefix="millwatch-demo-")), console=Console())
    line.set_up()
    surfaces = _surfaces(seed)
    with line.daemon() as status:
        line.say(f"Daemon ready: model {status['model_version']} on {status['runtime']}")
        line.feed(surfaces, seconds, rate)
        latency = line.wait_for_all()["latency_ms"]
        burst_seconds = line.burst(surfaces, _BURST)
        first = _inspections(line)
        _print_classes(line, first, "First pass: the model that ships knows no sound surface")
        line.say(
            f"Last write to committed row at {rate:g} images/s: median {latency['median']} ms, "
            f"99th percentile {latency['p99']} ms ({latency['images']} images)\n"
            f"A backlog of {_BURST} images: {_BURST / burst_seconds:.0f} images/s"
        )
        if teach:
            _teach(line, first)
            line.burst(surfaces, _BURST)
            second = _inspections(line)[len(first) :]
            _print_classes(line, second, "Second pass: what it lets pass now")
    whole = _account(line, _inspections(line))
    _print_where_to_look(line)
    if not whole:
        raise CommandError(f"not every image is accounted for; see {line.root}")


def _teach(line: Line, seen: list[Viewed]) -> None:
    """Label by moving files, as an operator would, and retrain; the gate decides, or a person."""
    labels = _move_to_labelled(line, seen)
    line.say(f"Labelled by moving files into review/labelled/: {_counts(labels)}")
    line.wait_until(
        lambda status: status["retraining"]["new_labels"] >= len(labels),
        lambda status: status["retraining"]["new_labels"],
    )
    run = ask(line.state_dir, "retrain", seconds=_ANSWER_SECONDS)["run"]
    with line.console.status("millwatch retrain --now"):
        ended = line.wait_until(
            lambda status: status["retraining"]["running"] != run,
            lambda status: status["retraining"]["progress"],
            stall_seconds=_RETRAINING_STALL_SECONDS,
        )
    last = ended["retraining"]["last_run"]
    said = last["reason"]
    if last["state"] != "done":
        raise CommandError(f"the retraining failed: {said}")
    line.say(f"Retrained: {said}")
    version, outcome = ruled(said)
    if outcome is Outcome.NEEDS_A_PERSON:
        line.say(f"You are that person: millwatch models promote {version}")
        ask(line.state_dir, "models promote", seconds=_ANSWER_SECONDS, version=version, by="demo")


def ruled(said: str) -> tuple[str, Outcome]:
    """The version that may serve and the gate's outcome, from what is said of a run that is done.

    Raises CommandError where nothing new may serve: there is no second pass then.
    """
    version, _, rest = said.partition(": ")
    for outcome in (Outcome.PROMOTE, Outcome.NEEDS_A_PERSON):
        if rest.startswith(f"{outcome.value}: "):
            return version, outcome
    raise CommandError(f"what was learned may not serve, so nothing more passes: {said}")


def _move_to_labelled(line: Line, seen: list[Viewed]) -> list[str]:
    """The labels that were given: all drawn defects have ten, sound strip has more."""
    labels: list[str] = []
    for inspection in seen:
        surface = line.dropped[inspection.camera, inspection.filename].surface
        most = _LABELS_OF_SOUND if surface == _SOUND else _LABELS_OF_A_DEFECT
        if inspection.path is None or labels.count(surface) >= most:
            continue
        folder = line.review / "labelled" / surface
        folder.mkdir(parents=True, exist_ok=True)
        inspection.path.rename(folder / inspection.path.name)
        labels.append(surface)
    return labels


def _surfaces(seed: int) -> Iterator[tuple[str, bytes]]:
    from training.synthetic import draw_sequence, encode  # noqa: PLC0415 -- only the demo draws

    for surface, pixels in draw_sequence(seed):
        yield surface, encode(pixels, "jpeg")


def _inspections(line: Line) -> list[Viewed]:
    with open_existing(line.state_dir / "millwatch.db") as database:
        return list(all_images(database))


def _counts(names: Sequence[str]) -> str:
    """Such as `70 no_defect, 10 crazing`, most first."""
    return ", ".join(f"{count} {name}" for name, count in Counter(names).most_common())


def _print_classes(line: Line, inspections: Sequence[Viewed], title: str) -> None:
    """What was drawn, against what was seen."""
    known = {inspection.predicted_class for inspection in inspections}
    seen: dict[str, Counter[str]] = {}
    for inspection in inspections:
        drawn = line.dropped[inspection.camera, inspection.filename].surface
        row = seen.setdefault(drawn, Counter())
        row["images"] += 1
        row[inspection.verdict] += 1
        row["right"] += inspection.predicted_class == drawn
    names = ("images", "defect", "unsure", "pass", "unreadable")
    table = Table("drawn", title=title)
    for name in (*names, "class right"):
        table.add_column(name, justify="right")
    for drawn, row in sorted(seen.items()):
        # Of a class that the model does not know it cannot be right.
        right = str(row["right"]) if drawn in known else "-"
        table.add_row(drawn, *(str(row[name]) for name in names), right)
    line.console.print(table)


def _account(line: Line, inspections: Sequence[Viewed]) -> bool:
    """Whether each image dropped has one record and lies, unchanged, where that says."""
    records = Counter((each.camera, each.filename) for each in inspections)
    in_place = sum(
        each.path is not None
        and hashlib.sha256(each.path.read_bytes()).hexdigest()
        == line.dropped[each.camera, each.filename].sha256
        for each in inspections
    )
    dropped = len(line.dropped)
    line.say(
        f"{dropped} images dropped, {len(inspections)} records, {in_place} files unchanged where "
        "the record says"
    )
    return records == Counter(dict.fromkeys(line.dropped, 1)) and in_place == dropped


def _print_where_to_look(line: Line) -> None:
    line.console.print("Where to look:", style="bold")
    for what, where in (
        ("to check", line.review / "to_check"),
        ("database", line.state_dir / "millwatch.db"),
        ("log", line.root / "daemon.log"),
        ("rates", f"millwatch report rates --config {line.config}"),
    ):
        line.console.print(f"  {what:9} {where}", highlight=False, soft_wrap=True)
